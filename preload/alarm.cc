// SPDX-License-Identifier: Apache-2.0
// The real-time interval timer (setitimer, getitimer, alarm): a virtual deadline and SIGALRM.
// Runs in the application with the token held; no libc.
#include <errno.h>
#include <sys/time.h>

#include "preload/exec/carry.h"
#include "preload/guarded.h"
#include "preload/signals.h"
#include "preload/start.h"
#include "preload/times.h"

namespace ftrun::shim {
namespace {

struct Alarm {
  int64_t deadline_ns = kNoDeadline;
  int64_t interval_ns = 0;
};
Alarm alarm;

}  // namespace

void alarm_carry(Carry& carry) {
  carry.value(alarm);
}

int64_t signals_next_timer_ns() {
  return alarm.deadline_ns;
}

void signals_expire_timers(int64_t now_ns) {
  if (alarm.deadline_ns == kNoDeadline || alarm.deadline_ns > now_ns) {
    return;
  }
  if (alarm.interval_ns > 0) {
    // From the last deadline, not from now: the timer must not drift. Periods missed are skipped.
    periods_over(alarm.deadline_ns, alarm.interval_ns, now_ns, &alarm.deadline_ns);
  } else {
    alarm.deadline_ns = kNoDeadline;
  }
  // Once, however many periods are over: a signal that waits already waits once (pending.h).
  siginfo_t info = {};
  info.si_signo = SIGALRM;
  info.si_code = SI_KERNEL;
  signals_send(nullptr, SIGALRM, &info);
}

namespace {

bool is_known(int which) {
  return which == ITIMER_REAL || which == ITIMER_VIRTUAL || which == ITIMER_PROF;
}

struct itimerval current(int which) {
  if (which != ITIMER_REAL || alarm.deadline_ns == kNoDeadline) {
    return {.it_interval = to_timeval(which == ITIMER_REAL ? alarm.interval_ns : 0)};
  }
  const int64_t left = alarm.deadline_ns - virtual_now_ns();
  return {.it_interval = to_timeval(alarm.interval_ns),
          .it_value = to_timeval(left > 1000 ? left : 1000)};  // armed reads as not zero
}

}  // namespace

long call_getitimer(int which, void* value) {
  if (!is_known(which)) {
    return -EINVAL;
  }
  return put_out(value, current(which)) ? 0 : -EFAULT;
}

long call_setitimer(int which, const void* value, void* old_value) {
  // ORDER: the new value is read before the old one is written: they may be one variable.
  int64_t first = 0;
  int64_t interval = 0;
  struct itimerval wanted = {};
  if (value != nullptr && !get_in(&wanted, value)) {
    return -EFAULT;
  }
  if (to_ns(wanted.it_value, &first) != 0 || to_ns(wanted.it_interval, &interval) != 0) {
    return -EINVAL;
  }
  if (!is_known(which)) {
    return -EINVAL;
  }
  if (which != ITIMER_REAL && first != 0) {
    shim_notice("setitimer: timers on CPU time are not supported: answered EINVAL\n");
    return -EINVAL;
  }
  const struct itimerval old = current(which);
  if (which == ITIMER_REAL) {
    // Virtual time: the deadline is among those that the scheduler looks at (earliest_deadline),
    // and passes at a logged place. The kernel's timer is never set.
    alarm.interval_ns = first == 0 ? 0 : interval;
    alarm.deadline_ns = first == 0 ? kNoDeadline : add_ns(virtual_now_ns(), first);
  }
  return old_value == nullptr || put_out(old_value, old) ? 0 : -EFAULT;
}

long call_alarm(unsigned seconds) {
  struct itimerval old = {};
  const struct itimerval wanted = {.it_value = {.tv_sec = seconds}};
  // Both pointers are the shim's: it cannot fail.
  call_setitimer(ITIMER_REAL, &wanted, &old);
  // To the nearest second, but never 0 for a timer that is armed (alarm_setitimer).
  const bool up =
      old.it_value.tv_usec >= 500'000 || (old.it_value.tv_sec == 0 && old.it_value.tv_usec != 0);
  return old.it_value.tv_sec + (up ? 1 : 0);
}

}  // namespace ftrun::shim
