// SPDX-License-Identifier: Apache-2.0
// An ordinary program that gives every call that takes a time the times that it must refuse, those
// that lie beyond the clock's range, and reads what is left of them afterwards. By number where the
// C library would look at the time itself. Prints only what is the same in each run.
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace {

constexpr int64_t kMs = 1'000'000;

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}

int64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

uint32_t word = 0;
sigset_t none;
int poller = -1;
int timer = -1;

// Every call that takes a timespec, on something that never happens.
void each_call(const timespec& time) {
  timespec t = time;
  say(" nanosleep", syscall(SYS_nanosleep, &t, nullptr));
  say(" clock_nanosleep", syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &t, nullptr));
  say(" ... until", syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr));
  say(" ppoll", syscall(SYS_ppoll, nullptr, 0, &(t = time), nullptr, 8));
  say(" pselect6", syscall(SYS_pselect6, 0, nullptr, nullptr, nullptr, &(t = time), nullptr));
  epoll_event event;
  say(" epoll_pwait2", syscall(SYS_epoll_pwait2, poller, &event, 1, &(t = time), nullptr, 8));
  say(" futex", syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, nullptr, 0));
  say(" futex until", syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &t, nullptr, 1));
  say(" futex until, real time",
      syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &t, nullptr, 1));
  say(" rt_sigtimedwait", syscall(SYS_rt_sigtimedwait, &none, nullptr, &t, 8));
  const itimerspec first = {{0, 0}, t};
  const itimerspec interval = {t, {1000, 0}};
  say(" timerfd_settime", syscall(SYS_timerfd_settime, timer, 0, &first, nullptr));
  say(" ... its interval", syscall(SYS_timerfd_settime, timer, 0, &interval, nullptr));
}

void wrong_times() {
  printf("negative seconds\n");
  each_call({-1, 0});
  printf("the most negative seconds\n");
  each_call({LONG_MIN, 0});
  printf("negative nanoseconds\n");
  each_call({0, -1});
  printf("too many nanoseconds\n");
  each_call({0, 1'000'000'000});
  printf("no time\n");
  each_call({0, 0});
  timeval t = {-1, 0};
  say("select", syscall(SYS_select, 0, nullptr, nullptr, nullptr, &t));
  t = {0, -1};
  say("select", syscall(SYS_select, 0, nullptr, nullptr, nullptr, &t));
  t = {0, 1'000'001};
  const int64_t start = now();
  say("select, microseconds", syscall(SYS_select, 0, nullptr, nullptr, nullptr, &t));
  printf("as they are: %d\n", now() - start >= 1000 * kMs);
  const itimerval wrong[] = {{{0, 0}, {-1, 0}}, {{0, 0}, {0, -1}}, {{0, 0}, {0, 1'000'000}},
                             {{-1, 0}, {1, 0}}, {{0, -1}, {1, 0}}, {{0, 1'000'000}, {1, 0}}};
  for (const itimerval& value : wrong) {
    say("setitimer", syscall(SYS_setitimer, ITIMER_REAL, &value, nullptr));
  }
  itimerval seen;
  getitimer(ITIMER_REAL, &seen);
  printf("nothing armed: %ld\n", static_cast<long>(seen.it_value.tv_sec + seen.it_value.tv_usec));
  say("CPU timers are off", getitimer(ITIMER_PROF, &seen));
  say("switched off", setitimer(ITIMER_VIRTUAL, &seen, nullptr));
  const int s = socket(AF_INET, SOCK_STREAM, 0);
  for (const timeval value : {timeval{0, -1}, {0, 1'000'000}, {-1, 0}, {0, 0}, {5, 0}}) {
    say("SO_RCVTIMEO", setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof(value)));
  }
  t = {};
  socklen_t length = sizeof(t);
  getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, &length);
  printf("kept: %ld\n", static_cast<long>(t.tv_sec));
  close(s);
}

// Clocks that cannot be slept on, each with a time that is wrong too: which error comes first.
void wrong_clocks() {
  const timespec wrong = {-1, 0};
  for (const long clock : {CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE,
                           CLOCK_THREAD_CPUTIME_ID, 10, 12, 77}) {
    printf("clock %ld", clock);
    say("", syscall(SYS_clock_nanosleep, clock, 0, &wrong, nullptr));
  }
  say("futex, clock without need",
      syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, nullptr, nullptr, 0));
  const timespec brief = {0, 1};
  say("futex, another clock",
      syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 0, &brief, nullptr, 0));
  const itimerspec value = {};
  say("timerfd_settime, no such flag", syscall(SYS_timerfd_settime, timer, 8, &value, nullptr));
}

// Threads that wait until after the end of time. None may come back.
const timespec kForEver[] = {
    {LONG_MAX, 999'999'999}, {9'223'372'036, 854'775'807}, {9'300'000'000, 0}};
volatile int back = 0;
template <long Kind>
void* waits(void* argument) {
  const auto* time = static_cast<const timespec*>(argument);
  timespec t = *time;
  timeval tv = {time->tv_sec, time->tv_nsec / 1000};
  epoll_event event;
  uint64_t ticks = 0;
  const itimerspec value = {t, t};
  switch (Kind) {
    case 0:
      nanosleep(&t, nullptr);
      break;
    case 1:
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
      break;
    case 2:
      clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, nullptr);
      break;
    case 3:
      ppoll(nullptr, 0, &t, nullptr);
      break;
    case 4:
      select(0, nullptr, nullptr, nullptr, &tv);
      break;
    case 5:
      syscall(SYS_epoll_pwait2, poller, &event, 1, &t, nullptr, 8);
      break;
    case 6:
      syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, nullptr, 0);
      break;
    case 7:
      syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &t, nullptr, 1);
      break;
    case 8:
      sigtimedwait(&none, nullptr, &t);
      break;
    case 9:
      timerfd_settime(timer, 0, &value, nullptr);
      (void)!read(timer, &ticks, sizeof(ticks));
      break;
    default:
      break;
  }
  back = back + 1;
  printf("call %ld came back\n", Kind);
  return nullptr;
}

void for_ever() {
  void* (*const all[])(void*) = {waits<0>, waits<1>, waits<2>, waits<3>, waits<4>,
                                 waits<5>, waits<6>, waits<7>, waits<8>, waits<9>};
  for (const timespec& time : kForEver) {
    for (void* (*const function)(void*) : all) {
      pthread_t thread;
      pthread_create(&thread, nullptr, function, const_cast<timespec*>(&time));
    }
  }
  itimerval alarm = {{LONG_MAX, 999'999}, {LONG_MAX, 999'999}};
  say("an alarm never", setitimer(ITIMER_REAL, &alarm, nullptr));
  getitimer(ITIMER_REAL, &alarm);
  printf("armed: %d\n", alarm.it_value.tv_sec > 9'000'000'000);
  usleep(100'000);
  printf("came back: %d\n", back);
  alarm = {};
  setitimer(ITIMER_REAL, &alarm, nullptr);
}

volatile sig_atomic_t alarms = 0;

// What is left of the time where a call wrote it: all of it, some, nothing.
void left() {
  int p[2];
  (void)!pipe(p);
  fd_set set;
  for (int ready = 1; ready >= 0; --ready) {
    if (ready == 1) {
      (void)!write(p[1], "x", 1);
    } else {
      char byte;
      (void)!read(p[0], &byte, 1);
    }
    const timeval tv = {ready == 1 ? 100 : 0, 2000};
    const timespec ts = {ready == 1 ? 100 : 0, 2 * kMs};
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    timeval v = tv;
    say("select", select(p[0] + 1, &set, nullptr, nullptr, &v));
    printf("left %d %d\n", v.tv_sec >= 99, v.tv_sec == 0 && v.tv_usec == 0);
    FD_SET(p[0], &set);
    timespec s = ts;
    say("pselect6", syscall(SYS_pselect6, p[0] + 1, &set, nullptr, nullptr, &s, nullptr));
    printf("left %d %d\n", s.tv_sec >= 99, s.tv_sec == 0 && s.tv_nsec == 0);
    pollfd one = {p[0], POLLIN, 0};
    s = ts;
    say("ppoll", syscall(SYS_ppoll, &one, 1, &s, nullptr, 8));
    printf("left %d %d\n", s.tv_sec >= 99, s.tv_sec == 0 && s.tv_nsec == 0);
  }
  timespec s = {100, 5};
  FD_ZERO(&set);
  FD_SET(60, &set);
  say("pselect6 that fails", syscall(SYS_pselect6, 61, &set, nullptr, nullptr, &s, nullptr));
  printf("left %d\n", s.tv_sec >= 99);
  // The budget of several waits.
  timeval budget = {0, 30'000};
  int rounds = 0;
  signal(SIGALRM, [](int) { alarms = alarms + 1; });
  itimerval each = {{0, 4000}, {0, 4000}};
  setitimer(ITIMER_REAL, &each, nullptr);
  while (rounds < 50 && select(0, nullptr, nullptr, nullptr, &budget) < 0 && errno == EINTR) {
    ++rounds;
  }
  each = {};
  setitimer(ITIMER_REAL, &each, nullptr);
  printf("used up in a few rounds: %d\n", rounds > 0 && rounds < 20);
  each.it_value = {0, 4000};
  setitimer(ITIMER_REAL, &each, nullptr);
  s = {100, 0};
  say("ppoll interrupted", syscall(SYS_ppoll, nullptr, 0, &s, nullptr, 8));
  printf("left %d\n", s.tv_sec == 99);
  setitimer(ITIMER_REAL, &each, nullptr);
  timespec rest = {};
  const timespec nap = {100, 0};
  say("nanosleep interrupted", syscall(SYS_nanosleep, &nap, &rest));
  printf("left %d\n", rest.tv_sec == 99);
  // With SA_RESTART: a wait with a time-out is not started over.
  struct sigaction action = {};
  action.sa_handler = [](int) { alarms = alarms + 1; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  setitimer(ITIMER_REAL, &each, nullptr);
  say("futex interrupted", syscall(SYS_futex, &word, FUTEX_WAIT, 0, &nap, nullptr, 0));
  close(p[0]);
  close(p[1]);
}

// Periodic timers: as many periods as there were, however late somebody looks.
void periods() {
  constexpr int kPeriods = 100;
  const int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  const itimerspec value = {{0, 2 * kMs}, {0, 2 * kMs}};
  timerfd_settime(fd, 0, &value, nullptr);
  const int64_t start = now();
  uint64_t total = 0;
  while (total < kPeriods) {
    uint64_t count = 0;
    (void)!read(fd, &count, sizeof(count));
    total += count;
    if (total > 50) {
      usleep(5000);
    }
  }
  const int64_t over = (now() - start) / (2 * kMs);
  printf("all periods counted: %d\n", over >= static_cast<int64_t>(total));
  usleep(50'000);
  uint64_t late = 0;
  (void)!read(fd, &late, sizeof(late));
  printf("missed ones too: %d\n", late >= 25);
  itimerspec next = {};
  timerfd_gettime(fd, &next);
  printf("in phase: %d\n", next.it_value.tv_sec == 0 && next.it_value.tv_nsec <= 2 * kMs);
  close(fd);
  alarms = 0;
  const itimerval ticking = {{0, 5000}, {0, 5000}};
  const int64_t begin = now();
  setitimer(ITIMER_REAL, &ticking, nullptr);
  while (alarms < 60) {
    poll(nullptr, 0, 100);
  }
  // Each tick that is late is late by itself: the deadlines stay multiples of the interval.
  itimerval rest;
  getitimer(ITIMER_REAL, &rest);
  const int64_t phase = (now() + rest.it_value.tv_usec * 1000 - begin) % (5 * kMs);
  printf("in phase: %d\n", phase < kMs || phase > 4 * kMs);
  const itimerval off = {};
  setitimer(ITIMER_REAL, &off, nullptr);
  itimerval seconds = {{0, 0}, {7, 600'000}};
  setitimer(ITIMER_REAL, &seconds, nullptr);
  say("to the nearest second", alarm(5));
  seconds.it_value = {0, 300'000};
  setitimer(ITIMER_REAL, &seconds, nullptr);
  say("but not none", alarm(0));
}

}  // namespace

int main() {
  sigemptyset(&none);
  poller = epoll_create1(0);
  timer = timerfd_create(CLOCK_MONOTONIC, 0);
  setbuf(stdout, nullptr);
  wrong_times();
  wrong_clocks();
  left();
  periods();
  for_ever();
  _exit(0);
}
