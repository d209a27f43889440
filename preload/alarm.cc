// SPDX-License-Identifier: Apache-2.0
// The real-time interval timer (setitimer, getitimer, alarm): a virtual deadline and SIGALRM.
// Runs in the application with the token held; no libc.
#include <errno.h>
#include <sys/time.h>

#include "preload/signals.h"
#include "preload/start.h"

namespace ftrun::shim {
namespace {

struct Alarm {
  int64_t deadline_ns = kNoDeadline;
  int64_t interval_ns = 0;
};
Alarm alarm;

int64_t from_timeval(const struct timeval& value) {
  return value.tv_sec * 1'000'000'000 + value.tv_usec * 1000;
}
struct timeval to_timeval(int64_t ns) {
  return {ns / 1'000'000'000, ns % 1'000'000'000 / 1000};
}

}  // namespace

int64_t signals_next_timer_ns() {
  return alarm.deadline_ns;
}

void signals_expire_timers(int64_t now_ns) {
  if (alarm.deadline_ns == kNoDeadline || alarm.deadline_ns > now_ns) {
    return;
  }
  alarm.deadline_ns = alarm.interval_ns > 0 ? now_ns + alarm.interval_ns : kNoDeadline;
  siginfo_t info = {};
  info.si_signo = SIGALRM;
  info.si_code = SI_KERNEL;
  signals_send(nullptr, SIGALRM, &info);
}

long call_getitimer(int which, void* value) {
  if (which != ITIMER_REAL) {
    return -EINVAL;
  }
  if (value == nullptr) {
    return -EFAULT;
  }
  auto* out = static_cast<struct itimerval*>(value);
  const int64_t left = alarm.deadline_ns == kNoDeadline ? 0 : alarm.deadline_ns - virtual_now_ns();
  out->it_value = to_timeval(left > 0 ? left : 0);
  out->it_interval = to_timeval(alarm.interval_ns);
  return 0;
}

long call_setitimer(int which, const void* value, void* old_value) {
  if (which != ITIMER_REAL) {
    if (which == ITIMER_VIRTUAL || which == ITIMER_PROF) {
      shim_notice("setitimer: timers on CPU time are not supported: answered EINVAL\n");
    }
    return -EINVAL;
  }
  // ORDER: the new value is read before the old one is written: they may be one variable.
  const auto* wanted = static_cast<const struct itimerval*>(value);
  const int64_t first = wanted == nullptr ? 0 : from_timeval(wanted->it_value);
  const int64_t interval = wanted == nullptr ? 0 : from_timeval(wanted->it_interval);
  if (old_value != nullptr) {
    call_getitimer(which, old_value);
  }
  alarm.interval_ns = interval;
  alarm.deadline_ns = first == 0 ? kNoDeadline : virtual_now_ns() + first;
  return 0;
}

long call_alarm(unsigned seconds) {
  struct itimerval old = {};
  struct itimerval wanted = {};
  wanted.it_value.tv_sec = seconds;
  call_setitimer(ITIMER_REAL, &wanted, &old);
  return old.it_value.tv_sec + (old.it_value.tv_usec != 0 ? 1 : 0);
}

}  // namespace ftrun::shim
