// SPDX-License-Identifier: Apache-2.0
// What calls cost inside the shim, in ns of this process' CPU time: bench/run runs it natively and
// under ftrun. An ordinary program; CPU clocks are true values in both, other clocks are virtual
// under ftrun and would not do.
//   bench-shim-cost PORT [filtered|walled]  listens there for one client, which sends kRoundBytes
//                                           per round and reads as many back
// filtered: with Syscall User Dispatch armed, as under the shim, but for no address. What the
// kernel takes for that is part of every call that the shim makes. walled: with the filter of
// supervisor/process/call_wall.h besides.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "supervisor/process/call_wall.h"

namespace {

constexpr int kRounds = 200;
constexpr int kRoundBytes = 64'000;  // less than any window, so that nothing waits inside a round
constexpr int kCallBytes = 100;
constexpr int kCallsPerRound = kRoundBytes / kCallBytes;
constexpr int kBatches = 40;  // into which the calls of one measurement are divided

int pipe_fds[2];
char buffer[128];

int64_t cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

void raise_wall() {
  const auto program = ftrun::process::build_call_wall();
  if (!program.ok() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    std::fprintf(stderr, "no filter of system calls\n");
    std::exit(1);
  }
  std::vector<sock_filter> rules = *program;
  const sock_fprog wall{static_cast<unsigned short>(rules.size()), rules.data()};
  if (ftrun::process::raise_call_wall(wall) != 0) {
    std::perror("seccomp");
    std::exit(1);
  }
}

void arm_dispatch() {
  if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, ~0UL, nullptr) != 0) {
    std::perror("Syscall User Dispatch");
    std::exit(1);
  }
}

// Prints the lower quartile of the batches: a mean would have in it what else the machine did.
template <size_t kCount>
void print(const char* name, std::array<int64_t, kCount> batches_ns, int calls_per_batch) {
  const auto quartile = batches_ns.begin() + kCount / 4;
  std::nth_element(batches_ns.begin(), quartile, batches_ns.end());
  std::printf("{\"operation\":\"%s\",\"ns\":%.1f}\n", name,
              static_cast<double>(*quartile) / calls_per_batch);
}

template <typename F>
void measure(const char* name, int count, F&& function) {
  for (int i = 0; i < count / 10; ++i) {
    function();
  }
  std::array<int64_t, kBatches> batches_ns;
  for (int64_t& batch_ns : batches_ns) {
    const int64_t begin = cpu_ns();
    for (int i = 0; i < count / kBatches; ++i) {
      function();
    }
    batch_ns = cpu_ns() - begin;
  }
  print(name, batches_ns, count / kBatches);
}

int accept_client(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener, 1) != 0) {
    std::perror("listening");
    std::exit(1);
  }
  return accept(listener, nullptr, nullptr);
}

// Reads and writes that find everything there: no call of a round waits.
void measure_connection(int fd) {
  std::array<int64_t, kRounds> reading_ns;
  std::array<int64_t, kRounds> writing_ns;
  pollfd input = {fd, POLLIN, 0};
  for (int round = 0; round < kRounds; ++round) {
    int there = 0;
    while (there < kRoundBytes) {
      poll(&input, 1, 1);
      ioctl(fd, FIONREAD, &there);
    }
    const int64_t begin = cpu_ns();
    for (int i = 0; i < kCallsPerRound; ++i) {
      (void)!read(fd, buffer, kCallBytes);
    }
    const int64_t middle = cpu_ns();
    for (int i = 0; i < kCallsPerRound; ++i) {
      (void)!write(fd, buffer, kCallBytes);
    }
    reading_ns[static_cast<size_t>(round)] = middle - begin;
    writing_ns[static_cast<size_t>(round)] = cpu_ns() - middle;
  }
  print("TCP read of 100 bytes", reading_ns, kCallsPerRound);
  print("TCP write of 100 bytes", writing_ns, kCallsPerRound);
}

}  // namespace

int main(int argc, char** argv) {
  const bool walled = argc == 3 && std::strcmp(argv[2], "walled") == 0;
  const bool filtered = walled || (argc == 3 && std::strcmp(argv[2], "filtered") == 0);
  const int port = argc < 2 ? 0 : std::atoi(argv[1]);
  if (argc != 2 + (filtered ? 1 : 0) || port <= 0 || port > 65535) {
    std::fprintf(stderr, "usage: bench-shim-cost PORT [filtered|walled]\n");
    return 2;
  }
  if (pipe(pipe_fds) != 0) {
    std::perror("pipe");
    return 1;
  }
  if (filtered) {
    arm_dispatch();
  }
  if (walled) {
    raise_wall();
  }
  measure_connection(accept_client(port));
  timespec now;
  measure("clock_gettime", 1'000'000, [&] { clock_gettime(CLOCK_MONOTONIC, &now); });
  measure("a call that fails at once", 1'000'000, [] { (void)getsockname(0, nullptr, nullptr); });
  measure("pipe write + read of 100 bytes", 500'000, [] {
    (void)!write(pipe_fds[1], buffer, kCallBytes);
    (void)!read(pipe_fds[0], buffer, kCallBytes);
  });
  pollfd polled = {pipe_fds[0], POLLIN, 0};
  measure("poll, nothing ready", 500'000, [&] { poll(&polled, 1, 0); });
  measure("getrandom of 8 bytes (a choice)", 200'000, [] { (void)!getrandom(buffer, 8, 0); });
  measure("CPU clock (a choice)", 200'000, [] { cpu_ns(); });
  const timespec nap = {0, 1};
  measure("sleep of 1 ns (a turn)", 5'000, [&] { nanosleep(&nap, nullptr); });
  return 0;
}
