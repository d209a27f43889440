// SPDX-License-Identifier: Apache-2.0
// An ordinary program: every clock, every way to sleep, every timer. Prints only what is the same
// in each run: that time moved as it should, and error numbers.
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int64_t kMs = 1'000'000;

int64_t now(clockid_t clock) {
  timespec t;
  return clock_gettime(clock, &t) != 0 ? -1 : t.tv_sec * 1'000'000'000 + t.tv_nsec;
}
timespec spec(int64_t ns) {
  return {ns / 1'000'000'000, ns % 1'000'000'000};
}

void clocks() {
  const clockid_t kinds[] = {CLOCK_REALTIME,          CLOCK_MONOTONIC,     CLOCK_PROCESS_CPUTIME_ID,
                             CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                             CLOCK_MONOTONIC_COARSE,  CLOCK_BOOTTIME,      CLOCK_TAI};
  for (const clockid_t kind : kinds) {
    timespec resolution = {};
    const int64_t a = now(kind);
    const int64_t b = now(kind);
    printf("clock %d: reads %d, goes on %d, resolution %d\n", kind, a >= 0, b >= a,
           clock_getres(kind, &resolution) == 0 && resolution.tv_nsec > 0);
  }
  printf("no such clock: %ld", static_cast<long>(now(77)));
  printf(" %s\n", strerror(errno));
  clockid_t own = 0;
  printf("own CPU clock: %d", clock_getcpuclockid(0, &own));
  printf(" %d\n", now(own) >= 0);
  timeval t;
  gettimeofday(&t, nullptr);
  printf("gettimeofday agrees: %d\n", t.tv_sec - time(nullptr) <= 1 && time(nullptr) >= t.tv_sec);
  tms used;
  rusage usage;
  const clock_t ticks = times(&used);
  printf("times: %d, getrusage: %d %d, clock: %d\n", ticks != -1, getrusage(RUSAGE_SELF, &usage),
         getrusage(RUSAGE_THREAD, &usage), clock() != -1);
  printf("getrusage wrongly: %d", getrusage(99, &usage));
  printf(" %s\n", strerror(errno));
  unsigned aux = 1;
  const uint64_t first = __builtin_ia32_rdtsc();
  const uint64_t second = __builtin_ia32_rdtscp(&aux);
  printf("tsc: %d\n", second >= first);
}

void sleeps() {
  const int64_t start = now(CLOCK_MONOTONIC);
  timespec nap = spec(2 * kMs);
  printf("nanosleep: %d", nanosleep(&nap, nullptr));
  printf(" relative: %d", clock_nanosleep(CLOCK_REALTIME, 0, &nap, nullptr));
  nap = spec(now(CLOCK_MONOTONIC) + 2 * kMs);
  printf(" absolute: %d", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &nap, nullptr));
  nap = spec(now(CLOCK_REALTIME) + 2 * kMs);
  printf(" realtime: %d", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &nap, nullptr));
  nap = spec(kMs);
  printf(" past: %d\n", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &nap, nullptr));
  printf("usleep: %d\n", usleep(1000));
  printf("slept: %d\n", now(CLOCK_MONOTONIC) - start >= 9 * kMs);
  nap = {0, 1'000'000'000};
  printf("wrong: %d", nanosleep(&nap, nullptr));
  printf(" %s\n", strerror(errno));
  printf("wrong: %d", clock_nanosleep(77, 0, &nap, nullptr));
  nap = spec(kMs);
  printf(" own thread's CPU: %d\n", clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &nap, nullptr));
}

// What the kernel says where a time or a set should be. By number: the C library's functions would
// read some of them themselves.
void missing() {
  const auto say = [](const char* what, long result) {
    printf("%s: %ld %s\n", what, result, result < 0 ? strerror(errno) : "");
  };
  const timespec nap = spec(kMs);
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  say("no time to sleep", syscall(SYS_nanosleep, nullptr, nullptr));
  say("no time to sleep", syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, nullptr, nullptr));
  say("no time to wake",
      syscall(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, nullptr, nullptr));
  say("no clock and no time", syscall(SYS_clock_nanosleep, 77, 0, nullptr, nullptr));
  say("no room for the time", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, nullptr));
  say("no room for the time", syscall(SYS_clock_gettime, CLOCK_REALTIME_COARSE, nullptr));
  say("no room for CPU time", syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, nullptr));
  say("no room for a resolution", syscall(SYS_clock_getres, CLOCK_MONOTONIC, nullptr));
  say("no room for a timer", syscall(SYS_getitimer, ITIMER_REAL, nullptr));
  say("no timer", syscall(SYS_setitimer, ITIMER_REAL, nullptr, nullptr));
  say("no time for a timer", syscall(SYS_timerfd_settime, timer, 0, nullptr, nullptr));
  say("no room for a timer", syscall(SYS_timerfd_gettime, timer, nullptr));
  say("no set of signals", syscall(SYS_rt_sigtimedwait, nullptr, nullptr, &nap, 8));
  close(timer);
}

volatile sig_atomic_t alarms = 0;

void timers() {
  signal(SIGALRM, [](int) { alarms = alarms + 1; });
  itimerval timer = {{0, 0}, {0, 5000}};
  printf("setitimer: %d\n", setitimer(ITIMER_REAL, &timer, nullptr));
  timespec nap = spec(2000 * kMs);
  timespec left = {};
  printf("interrupted: %d", nanosleep(&nap, &left));
  printf(" %s, left %d, alarms %d\n", strerror(errno), left.tv_sec >= 1, alarms);
  timer.it_value = {100, 0};
  setitimer(ITIMER_REAL, &timer, nullptr);
  itimerval seen;
  getitimer(ITIMER_REAL, &seen);
  printf("getitimer: %d\n", seen.it_value.tv_sec == 99 || seen.it_value.tv_sec == 100);
  const unsigned before = alarm(50);
  printf("alarm: %d, then %d\n", before == 99 || before == 100, alarm(0) == 50);
  getitimer(ITIMER_REAL, &seen);
  printf("off: %ld\n", static_cast<long>(seen.it_value.tv_sec + seen.it_value.tv_usec));
  printf("wrong: %d", setitimer(99, &timer, nullptr));
  printf(" %s\n", strerror(errno));
}

void timer_descriptors() {
  const int periodic = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  const itimerspec each_ms = {spec(kMs), spec(kMs)};
  printf("periodic: %d\n", timerfd_settime(periodic, 0, &each_ms, nullptr));
  uint64_t count = 0;
  uint64_t total = 0;
  for (int i = 0; i < 3; ++i) {
    (void)!read(periodic, &count, sizeof(count));
    total += count;
  }
  printf("expired: %d\n", total >= 3);
  const int absolute = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
  itimerspec at = {{0, 0}, spec(now(CLOCK_REALTIME) + 3 * kMs)};
  timerfd_settime(absolute, TFD_TIMER_ABSTIME, &at, nullptr);
  printf("early: %zd", read(absolute, &count, sizeof(count)));
  printf(" %s\n", strerror(errno));
  itimerspec left = {};
  timerfd_gettime(absolute, &left);
  printf("left: %d\n", left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 3 * kMs);
  usleep(4000);
  printf("late: %zd", read(absolute, &count, sizeof(count)));
  printf(" %ld\n", static_cast<long>(count));
  at = {};
  printf("disarmed: %d", timerfd_settime(periodic, 0, &at, nullptr));
  timerfd_gettime(periodic, &left);
  printf(" %ld\n", static_cast<long>(left.it_value.tv_nsec));
  timeval wait = {0, 2000};
  printf("select as a sleep: %d\n", select(0, nullptr, nullptr, nullptr, &wait));
  close(periodic);
  close(absolute);
}

}  // namespace

int main() {
  clocks();
  sleeps();
  missing();
  timers();
  timer_descriptors();
  return 0;
}
