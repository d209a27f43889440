// SPDX-License-Identifier: Apache-2.0
// Whole supervisors around fake applications that speak the ring protocol (ring_echo), and
// clients that count every answer exactly once. Own ports and run directories; nothing is left
// behind.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "supervisor/members/founding.h"
#include "supervisor/members/peers.h"

namespace ftrun {

// Programs; defined by each test program, which the build tells where they are.
extern const char* const kSupervisorProgram;
extern const char* const kRingEchoProgram;
extern const char* const kStubPreload;

inline constexpr int64_t kDeadlineNs = 20'000'000'000;

// One client: sends numbered lines, several at a time, and checks each answer.
class LineClient {
 public:
  explicit LineClient(uint16_t port) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    fcntl(fd_, F_SETFL, O_NONBLOCK);
  }
  LineClient(LineClient&& other) noexcept { *this = std::move(other); }
  LineClient& operator=(LineClient&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(connected_, other.connected_);
    std::swap(asked_, other.asked_);
    std::swap(answered_, other.answered_);
    std::swap(input_, other.input_);
    return *this;
  }
  ~LineClient() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  bool connected() const { return connected_; }
  uint64_t answered() const { return answered_; }

  // Sends what keeps `depth` requests open, and takes answers; each number that the server gave is
  // put into `numbers`. Returns what was wrong, or nothing.
  std::string step(unsigned depth, std::set<uint64_t>* numbers) {
    std::string lines;
    while (asked_ - answered_ < depth) {
      lines += "line " + std::to_string(++asked_) + "\n";
    }
    if (!lines.empty() &&
        send(fd_, lines.data(), lines.size(), MSG_NOSIGNAL) != ssize_t(lines.size())) {
      return std::string("send: ") + strerror(errno);
    }
    return take(numbers);
  }
  std::string take(std::set<uint64_t>* numbers) {
    char buffer[65536];
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
    if (got == 0) {
      return "the connection was closed";
    }
    if (got < 0) {
      return errno == EAGAIN ? "" : std::string("recv: ") + strerror(errno);
    }
    input_.append(buffer, static_cast<size_t>(got));
    size_t start = 0;
    for (size_t end; (end = input_.find("\r\n", start)) != std::string::npos; start = end + 2) {
      const std::string answer = input_.substr(start, end - start);
      const size_t space = answer.find(' ');
      if (answer[0] != '+' || space == std::string::npos ||
          answer.substr(space + 1) != "line " + std::to_string(answered_ + 1)) {
        return "answer " + std::to_string(answered_ + 1) + " was \"" + answer + "\"";
      }
      ++answered_;
      if (!numbers->insert(std::stoull(answer.substr(1, space - 1))).second) {
        return "number twice: " + answer;
      }
    }
    input_.erase(0, start);
    return "";
  }
  bool idle() const { return asked_ == answered_; }
  void tell(const std::string& text) { send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }

 private:
  int fd_ = -1;
  bool connected_ = false;
  uint64_t asked_ = 0;
  uint64_t answered_ = 0;
  std::string input_;
};

class SupervisorTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "sup.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    run_dir_ = name;
    port_ = free_port();
  }
  void TearDown() override {
    for (const pid_t child : children_) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
    for (const std::string replica : {"a", "b"}) {
      const nlohmann::json pids = read_json("sup." + replica + ".json");
      if (pids.is_object()) {
        kill(pids["keeper"].get<pid_t>(), SIGKILL);
      }
    }
    std::filesystem::remove_all(run_dir_);
  }
  // Below the range of ports that clients are given, of which tests that run beside this one use
  // thousands: one of them could have it before the application binds it.
  static uint16_t free_port() {
    std::ifstream limits("/proc/sys/net/ipv4/ip_local_port_range");
    uint16_t first = 0;
    EXPECT_TRUE(limits >> first);
    std::random_device random;
    for (;;) {
      const auto port = static_cast<uint16_t>(first / 2 + random() % (first / 2));
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(port);
      const bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
      close(fd);
      if (free) {
        return port;
      }
    }
  }
  virtual std::string program_of(const std::string& /*replica*/) const { return kRingEchoProgram; }
  void start(unsigned replicas) {
    const char* wanted = getenv("FTRUN_TEST_TRANSPORT");
    const std::string transport = wanted == nullptr ? "memory" : wanted;
    Result<Founding> founding = Founding::create(replicas, transport == "tcp", {kRingEchoProgram});
    ASSERT_TRUE(founding.ok()) << founding.error().message;
    for (unsigned i = 0; i < replicas; ++i) {
      start_one(*founding, static_cast<unit::ReplicaId>(i), replicas, transport);
    }
    wait_for([this] { return LineClient(port_).connected(); });
    // The sender may serve clients before the other supervisor can be asked, or is known: the file
    // that names its processes is the last that it makes.
    for (unsigned i = 0; i < replicas; ++i) {
      const std::string file =
          run_dir_ + "/sup." + std::string(1, static_cast<char>('a' + i)) + ".json";
      wait_for([&file] { return std::filesystem::exists(file); });
    }
  }
  // As ftrun does it, but for the program, which may differ between replicas.
  void start_one(const Founding& founding, unit::ReplicaId id, unsigned replicas,
                 const std::string& transport) {
    const std::string replica(1, static_cast<char>('a' + id));
    Result<process::Descriptor> program =
        program_file({program_of(replica), std::to_string(port_)});
    ASSERT_TRUE(program.ok());
    std::vector<std::string> words = {kSupervisorProgram,
                                      "--unit",
                                      "test",
                                      "--run-dir",
                                      run_dir_,
                                      "--replica",
                                      replica,
                                      "--replicas",
                                      std::to_string(replicas),
                                      "--transport",
                                      transport,
                                      "--time-out-ms",
                                      std::to_string(time_out_ms_),
                                      "--preload",
                                      kStubPreload};
    for (std::string& word : founding.options(id)) {
      const bool is_program = words.back() == "--program";
      words.push_back(is_program ? std::to_string(program->get()) : std::move(word));
    }
    std::vector<char*> pointers;
    for (std::string& word : words) {
      pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      founding.pass_on(id);
      fcntl(program->get(), F_SETFD, 0);
      execv(kSupervisorProgram, pointers.data());
      _exit(127);
    }
    children_.push_back(child);
  }
  template <typename Condition>
  void wait_for(const Condition& condition) {
    const int64_t deadline = link::monotonic_ns() + kDeadlineNs;
    while (!condition()) {
      ASSERT_LT(link::monotonic_ns(), deadline) << events();
      poll(nullptr, 0, 2);
    }
  }
  nlohmann::json read_json(const std::string& name) const {
    std::ifstream in(run_dir_ + "/" + name);
    return nlohmann::json::parse(in, nullptr, false);
  }
  std::string events() const {
    std::ifstream in(run_dir_ + "/events.jsonl");
    return {std::istreambuf_iterator<char>(in), {}};
  }
  pid_t pid_of(const std::string& replica, const std::string& process) const {
    return read_json("sup." + replica + ".json")[process].get<pid_t>();
  }
  nlohmann::json ask(const std::string& replica, const std::string& line) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = run_dir_ + "/sup." + replica + ".sock";
    memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    // An excluded supervisor's keeper holds its sockets open: nobody answers, and nothing ends.
    const timeval patience{2, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    nlohmann::json answer;
    char buffer[4096];
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
        send(fd, (line + "\n").data(), line.size() + 1, MSG_NOSIGNAL) > 0) {
      const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
      answer = nlohmann::json::parse(buffer, buffer + std::max<ssize_t>(got, 0), nullptr, false);
    }
    close(fd);
    return answer;
  }

  // Drives all clients until each has `target` answers. Calls `at_half` once on the way.
  template <typename Action>
  void drive(std::vector<LineClient>* clients, uint64_t target, const Action& at_half) {
    bool done_half = false;
    const int64_t deadline = link::monotonic_ns() + kDeadlineNs;
    for (bool more = true; more;) {
      more = false;
      uint64_t least = target;
      for (LineClient& client : *clients) {
        const std::string wrong =
            client.answered() < target ? client.step(8, &numbers_) : std::string();
        ASSERT_EQ(wrong, "") << events();
        more = more || client.answered() < target;
        least = std::min(least, client.answered());
      }
      if (!done_half && least >= target / 2) {
        done_half = true;
        at_half();
      }
      ASSERT_LT(link::monotonic_ns(), deadline) << "stuck\n" << events();
    }
    for (LineClient& client : *clients) {
      wait_for([&] {
        EXPECT_EQ(client.take(&numbers_), "");
        return client.idle();
      });
    }
  }

  std::string run_dir_;
  uint16_t port_ = 0;
  int time_out_ms_ = 150;
  std::vector<pid_t> children_;
  std::set<uint64_t> numbers_;
};

}  // namespace ftrun
