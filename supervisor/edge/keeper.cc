// SPDX-License-Identifier: Apache-2.0
// The keeper and what is done with a dead supervisor's one: see keeper.h. Supervisor only.
#include "supervisor/edge/keeper.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <new>
#include <numeric>
#include <string>

#include "supervisor/edge/outside_locks.h"
#include "supervisor/members/liveness.h"
#include "supervisor/members/peers.h"
#include "supervisor/process/proc_info.h"

namespace ftrun::edge {

namespace {

constexpr int kKeeperLookMs = 1'000;
constexpr int kEndLookMs = 20;

int open_pidfd(pid_t pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

// 0 where /proc does not say.
pid_t process_of(int pidfd) {
  std::ifstream file("/proc/self/fdinfo/" + std::to_string(pidfd));
  pid_t pid = 0;
  for (std::string word; file >> word;) {
    if (word == "Pid:") {
      file >> pid;
      break;
    }
  }
  return pid;
}

// All that may be open in `pid`, where /proc does not say: asking for one that is not costs little.
std::vector<int> possible_descriptors() {
  std::vector<int> numbers(kSocketTableLines);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

std::vector<int> descriptors_of(pid_t pid) {
  std::vector<int> numbers;
  DIR* directory = opendir(("/proc/" + std::to_string(pid) + "/fd").c_str());
  if (directory == nullptr) {
    return possible_descriptors();
  }
  while (const dirent* entry = readdir(directory)) {
    int number = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, number).ptr == end) {
      numbers.push_back(number);
    }
  }
  closedir(directory);
  std::sort(numbers.begin(), numbers.end());
  return numbers.empty() ? possible_descriptors() : numbers;
}

int fetch(int keeper_pidfd, int number) {
  return static_cast<int>(syscall(SYS_pidfd_getfd, keeper_pidfd, number, 0));
}

Result<SocketTable> fetch_table(int keeper_pidfd, const std::vector<int>& numbers) {
  for (const int number : numbers) {
    const int fd = fetch(keeper_pidfd, number);
    if (fd < 0 && errno != EBADF) {
      return system_error("pidfd_getfd of the socket table", errno);
    }
    Result<SocketTable> table = fd < 0 ? Error{"not open"} : SocketTable::attach(fd);
    if (table.ok()) {
      return table;
    }
  }
  return Error{"the keeper holds no socket table"};
}

// A TCP socket that is connected and came from an accept, as far as the socket itself can tell.
bool may_be_client(int fd) {
  int protocol = 0;
  int accepting = 0;
  socklen_t length = sizeof(protocol);
  if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) != 0 || protocol != IPPROTO_TCP) {
    return false;
  }
  length = sizeof(accepting);
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &length) == 0 && accepting == 0;
}

}  // namespace

Result<KeeperWatch> KeeperWatch::create() {
  void* memory =
      mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return system_error("mmap for the keeper", errno);
  }
  KeeperWatch watch;
  watch.page_ = new (memory) Page{};
  watch.page_->supervisor = open_pidfd(getpid());
  return watch.page_->supervisor >= 0 ? Result<KeeperWatch>(std::move(watch))
                                      : system_error("pidfd_open of the supervisor itself", errno);
}

KeeperWatch& KeeperWatch::operator=(KeeperWatch&& other) noexcept {
  std::swap(page_, other.page_);
  return *this;
}

KeeperWatch::~KeeperWatch() {
  if (page_ != nullptr) {
    close(page_->supervisor);
    munmap(page_, sizeof(Page));
  }
}

void KeeperWatch::add(int pidfd) {
  const unsigned count = page_->count.load();
  FTRUN_ASSERT(count < kOthersMax);
  page_->others[count] = pidfd;
  page_->count.store(count + 1, std::memory_order_release);
}

// Runs in the keeper: raw system calls only, on the copy of the caller's stack.
void KeeperWatch::keep(const Page* page) {
  setsid();
  prctl(PR_SET_NAME, "ftrun-keeper");
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // Yama: the taker is not our parent
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  pollfd supervisor{page->supervisor, POLLIN, 0};
  while (poll(&supervisor, 1, -1) != 1 || supervisor.revents == 0) {
  }
  pollfd others[kOthersMax];
  unsigned left = page->count.load(std::memory_order_acquire);
  for (unsigned i = 0; i < left; ++i) {
    others[i] = {page->others[i], POLLIN, 0};
  }
  for (int waited_ms = 0; waited_ms < kKeeperLingerMs && left > 0; waited_ms += kKeeperLookMs) {
    poll(others, left, kKeeperLookMs);
    unsigned alive = 0;
    for (unsigned i = 0; i < left; ++i) {
      if (others[i].revents == 0) {
        others[alive++] = others[i];
      }
    }
    left = alive;
  }
  _exit(0);
}

Result<pid_t> start_keeper(const KeeperWatch& watch) {
  const long pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid < 0) {
    return fork_error("clone of the keeper", errno);
  }
  if (pid == 0) {
    KeeperWatch::keep(watch.page_);
  }
  return static_cast<pid_t>(pid);
}

void add_taken(const TakenSocket& socket, std::vector<TakenSocket>* sockets) {
  for (TakenSocket& known : *sockets) {
    const bool is_lock = known.kind == SocketKind::kLock;
    if (known.cookie == socket.cookie && is_lock == (socket.kind == SocketKind::kLock)) {
      const int fd = known.fd;
      known = known.kind == SocketKind::kNone ? socket : known;
      known.fd = fd;
      ::close(socket.fd);
      return;
    }
  }
  sockets->push_back(socket);
}

Result<std::vector<TakenSocket>> take_sockets(pid_t keeper, int keeper_pidfd) {
  pollfd gone{keeper_pidfd, POLLIN, 0};
  if (poll(&gone, 1, 0) != 0) {
    return std::vector<TakenSocket>();
  }
  const std::vector<int> numbers = descriptors_of(keeper);
  Result<SocketTable> table = fetch_table(keeper_pidfd, numbers);
  if (!table.ok()) {
    return table.error();
  }
  std::vector<TakenSocket> sockets;
  for (const int number : numbers) {
    if (number >= static_cast<int>(kSocketTableLines)) {
      continue;
    }
    const SocketLine& line = table->line(number);
    const uint64_t cookie = line.cookie.load(std::memory_order_acquire);
    const int fd = fetch(keeper_pidfd, number);
    if (fd < 0 && errno == EBADF) {
      continue;
    }
    if (fd < 0) {
      return system_error("pidfd_getfd of a client socket", errno);
    }
    TakenSocket socket;
    socket.fd = fd;
    socket.cookie = line.kind == SocketKind::kLock ? file_cookie(fd) : socket_cookie(fd);
    if (cookie != 0 && cookie == socket.cookie) {
      socket.kind = line.kind;
      socket.id = line.id;
      socket.listener = line.listener;
      socket.flags = line.flags.load(std::memory_order_acquire);
    } else if (!may_be_client(fd)) {
      ::close(fd);
      continue;
    }
    sockets.push_back(socket);
  }
  return sockets;
}

bool wait_for_end(int pidfd, int patience_ms) {
  const pid_t pid = process_of(pidfd);
  int64_t left_ns = int64_t{patience_ms} * 1'000'000;
  for (;;) {
    const int64_t before_ns = link::monotonic_ns();
    pollfd gone{pidfd, POLLIN, 0};
    if (poll(&gone, 1, left_ns > 0 ? kEndLookMs : 0) > 0) {
      return true;
    }
    if (left_ns <= 0) {
      return false;
    }
    // Longer than asked for: it was us who did not run.
    const int64_t waited_ns =
        std::min(link::monotonic_ns() - before_ns, int64_t{kEndLookMs} * 1'000'000);
    const process::ProcessLook look = process::look_at_process(pid);
    left_ns -= look.runnable || look.waits_for_disk ? waited_ns / kStarvedPatience : waited_ns;
  }
}

Result<void> kill_and_wait(int pidfd, int patience_ms) {
  if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0) != 0 && errno != ESRCH) {
    return system_error("pidfd_send_signal", errno);
  }
  return wait_for_end(pidfd, patience_ms)
             ? Result<void>()
             : Error{"a killed process did not end in time", ETIMEDOUT};
}

Result<uint64_t> process_start_time(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return system_error(path, errno);
  }
  char text[1024];
  const ssize_t length = read(fd, text, sizeof(text) - 1);
  const int error = errno;
  close(fd);
  if (length <= 0) {
    return system_error(path, length < 0 ? error : ESRCH);
  }
  text[length] = '\0';
  // The name in parentheses may hold anything; fields are counted from behind it: it is field 2.
  const char* cursor = std::strrchr(text, ')');
  for (int field = 2; cursor != nullptr && field < 22; ++field) {
    cursor = std::strchr(cursor + 1, ' ');
  }
  uint64_t value = 0;
  if (cursor == nullptr || std::from_chars(cursor + 1, text + length, value).ec != std::errc()) {
    return Error{path + ": no start time"};
  }
  return value;
}

Result<int> open_process(pid_t pid, uint64_t start_time) {
  const int pidfd = open_pidfd(pid);
  if (pidfd < 0) {
    return system_error("pidfd_open of process " + std::to_string(pid), errno);
  }
  // ORDER: the start time is read while the pidfd holds the process; another one that got the same
  // number before has another start time.
  const Result<uint64_t> found = process_start_time(pid);
  if (!found.ok() || *found != start_time) {
    close(pidfd);
    return Error{"process " + std::to_string(pid) + " is not the one that was announced", ESRCH};
  }
  const Result<void> ours = process::check_owner(pid);
  if (!ours.ok()) {
    close(pidfd);
    return ours.error();
  }
  return pidfd;
}

Result<int> open_ended_process() {
  const pid_t pid = fork();
  if (pid == 0) {
    _exit(0);
  }
  // ORDER: opened before it is collected, while the number is still its own.
  const int pidfd = pid < 0 ? -1 : open_pidfd(pid);
  const int error = errno;
  if (pid > 0) {
    waitpid(pid, nullptr, 0);
  }
  return pidfd < 0 ? Result<int>(system_error("pidfd of an ended process", error)) : pidfd;
}

}  // namespace ftrun::edge
