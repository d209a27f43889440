// SPDX-License-Identifier: Apache-2.0
// What calls cost inside the shim, in ns of this process' CPU time: run it natively and under ftrun
// (bench/shim does both). An ordinary program; CPU clocks are true values in both, other clocks are
// virtual under ftrun and would not do.
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

int pipe_fds[2];
char buffer[128];

int64_t cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

template <typename F>
void measure(const char* name, int count, F&& function) {
  for (int i = 0; i < count / 10; ++i) {
    function();
  }
  const int64_t begin = cpu_ns();
  for (int i = 0; i < count; ++i) {
    function();
  }
  const int64_t end = cpu_ns();
  std::printf("{\"operation\":\"%s\",\"ns\":%.1f}\n", name,
              static_cast<double>(end - begin) / count);
}

}  // namespace

int main() {
  if (pipe(pipe_fds) != 0) {
    return 1;
  }
  timespec now;
  measure("clock_gettime", 1'000'000, [&] { clock_gettime(CLOCK_MONOTONIC, &now); });
  measure("a call that fails at once", 1'000'000, [] { (void)getsockname(0, nullptr, nullptr); });
  measure("write + read of 100 bytes", 500'000, [] {
    (void)!write(pipe_fds[1], buffer, 100);
    (void)!read(pipe_fds[0], buffer, 100);
  });
  pollfd polled = {pipe_fds[0], POLLIN, 0};
  measure("poll, nothing ready", 500'000, [&] { poll(&polled, 1, 0); });
  measure("getrandom of 8 bytes (a choice)", 200'000, [] { (void)!getrandom(buffer, 8, 0); });
  measure("CPU clock (a choice)", 200'000, [] { cpu_ns(); });
  const timespec nap = {0, 1};
  measure("sleep of 1 ns (a whole turn)", 5'000, [&] { nanosleep(&nap, nullptr); });
  return 0;
}
