// SPDX-License-Identifier: Apache-2.0
// The keeper: client sockets outlive a SIGKILL of their owner at any instant, also when the keeper
// itself is stopped, and are found by name.
#include "supervisor/edge/keeper.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "edge_fixture.h"
#include "supervisor/edge/socket_state.h"
#include "supervisor/process/proc_info.h"

namespace ftrun::edge {
namespace {

struct Report {  // from the child to the test, once it stands ready
  pid_t keeper;
  uint16_t port;
};

// A child process that plays the sender's supervisor: keeper, edge, a listener, and `named`
// connections; one more is accepted but never named. Then it waits to be killed.
class FakeSender : public EdgeFixture {
 public:
  void TestBody() override {}
  void serve(int report_fd, unsigned named) {
    SetUp();
    Result<KeeperWatch> watch = KeeperWatch::create();
    const int test = static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0));
    if (!watch.ok() || test < 0) {
      _exit(1);
    }
    watch->add(test);  // which takes the sockets
    const Result<pid_t> keeper = start_keeper(*watch);
    if (!keeper.ok()) {
      _exit(1);
    }
    const Report report{*keeper, listen()};
    if (write(report_fd, &report, sizeof(report)) != sizeof(report)) {
      _exit(1);
    }
    run_until([&] { return last_id_ == named; });
    char go = 'g';
    if (write(report_fd, &go, 1) != 1) {
      _exit(1);
    }
    // The connection that comes now is accepted by hand: killed right behind accept().
    const int64_t deadline = link::monotonic_ns() + 10'000'000'000;
    while (link::monotonic_ns() < deadline) {
      for (int fd = 3; fd < 100; ++fd) {
        int listening = 0;
        socklen_t length = sizeof(listening);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0 &&
            accept4(fd, nullptr, nullptr, SOCK_NONBLOCK) >= 0) {
          kill(getpid(), SIGKILL);
        }
      }
    }
    _exit(1);
  }
};

class KeeperTest : public EdgeFixture {};

TEST_F(KeeperTest, SocketsAreTakenFromAStoppedKeeper) {
  constexpr unsigned kNamed = 5;
  int report_pipe[2];
  ASSERT_EQ(pipe(report_pipe), 0);
  const pid_t child = fork();
  if (child == 0) {
    edge_.reset();  // its socket table was inherited from the test
    FakeSender().serve(report_pipe[1], kNamed);
    _exit(1);
  }
  Report report{};
  ASSERT_EQ(read(report_pipe[0], &report, sizeof(report)), ssize_t(sizeof(report)));
  const Result<uint64_t> started = process_start_time(report.keeper);
  ASSERT_TRUE(started.ok());
  const Result<int> keeper = open_process(report.keeper, *started);
  ASSERT_TRUE(keeper.ok());
  EXPECT_FALSE(open_process(report.keeper, *started + 1).ok());

  std::vector<Client> clients;
  for (unsigned i = 0; i < kNamed; ++i) {
    clients.emplace_back(report.port);
    clients.back().say("client " + std::to_string(i));
  }
  char go = 0;
  ASSERT_EQ(read(report_pipe[0], &go, 1), 1);
  clients.emplace_back(report.port);
  clients.back().say("nameless");
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  kill(report.keeper, SIGSTOP);

  Result<std::vector<TakenSocket>> sockets = take_sockets(report.keeper, *keeper);
  ASSERT_TRUE(sockets.ok()) << sockets.error().message;
  ASSERT_TRUE(kill_and_wait(*keeper, 5000).ok());
  const Edge::Adopted adopted = edge_->take(std::move(*sockets));
  EXPECT_EQ(adopted.listeners.size(), 1u);
  ASSERT_EQ(adopted.connections.size(), kNamed + 1);
  for (const unit::AdoptedConnection& connection : adopted.connections) {
    const ConnectionId id = connection.id == 0 ? 100 : connection.id;
    edge_->adopt(connection.handle, id);
    edge_->reoffer_input(id, 0);
    run_until([&] { return seen_[id].input.size() == 8; });
    EXPECT_EQ(connection.id == 0, seen_[id].input == "nameless");
    say(id, "ok");
  }
  for (Client& client : clients) {
    EXPECT_EQ(hear(&client, 2), "ok");
  }
  ::close(*keeper);
  ::close(report_pipe[0]);
  ::close(report_pipe[1]);
}

// SIGURG reaches a supervisor at any time. A killed process takes some milliseconds to give back
// its memory.
TEST(KillAndWait, GoesOnWaitingThroughSignals) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  constexpr size_t kBytes = 256u << 20;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    [[maybe_unused]] const ssize_t said = write(ready[1], &memory, 1);
    pause();
  }
  char go = 0;
  ASSERT_EQ(read(ready[0], &go, 1), 1);
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  const itimerval often{{0, 200}, {0, 200}};
  setitimer(ITIMER_REAL, &often, nullptr);
  const Result<void> ended = kill_and_wait(pidfd, 10'000);
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  EXPECT_TRUE(ended.ok()) << ended.error().message;
  EXPECT_EQ(waitpid(child, nullptr, WNOHANG), child);
  close(pidfd);
  close(ready[0]);
  close(ready[1]);
}

TEST(WaitForEnd, IsNotForEver) {
  const int self = static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0));
  const int64_t before_ns = link::monotonic_ns();
  EXPECT_FALSE(wait_for_end(self, 100));
  EXPECT_GE(link::monotonic_ns() - before_ns, 100'000'000);
  close(self);
}

TEST(OpenEndedProcess, IsGoneAtOnce) {
  const Result<int> pidfd = open_ended_process();
  ASSERT_TRUE(pidfd.ok()) << pidfd.error().message;
  EXPECT_TRUE(kill_and_wait(*pidfd, 0).ok());
  close(*pidfd);
}

TEST(OpenProcess, RefusesAnotherUsersProcess) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "needs root, to be two users";
  }
  const pid_t stranger = fork();
  if (stranger == 0) {
    setuid(12345);
    pause();
    _exit(0);
  }
  const Result<uint64_t> started = process_start_time(stranger);
  ASSERT_TRUE(started.ok());

  for (int i = 0; i < 1000 && process::check_owner(stranger).ok(); ++i) {
    poll(nullptr, 0, 2);
  }
  EXPECT_EQ(process::check_owner(stranger).error().number, EPERM);
  const Result<int> opened = open_process(stranger, *started);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().message.find("belongs to user 12345"), std::string::npos)
      << opened.error().message;
  kill(stranger, SIGKILL);
  waitpid(stranger, nullptr, 0);
}

}  // namespace
}  // namespace ftrun::edge
