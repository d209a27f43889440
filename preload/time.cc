// SPDX-License-Identifier: Apache-2.0
// Reading clocks and sleeping: all on the virtual clock, but for clocks of CPU time, which are
// choices. Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/env.h"
#include "preload/exec/carry.h"
#include "preload/guarded.h"
#include "preload/raw.h"
#include "preload/start.h"
#include "preload/thread.h"
#include "preload/times.h"

namespace ftrun::shim {
namespace {

template <typename T>
T* at(long value) {
  return reinterpret_cast<T*>(value);
}

// A clock that the shim does not have: the kernel's, from the log.
long choose_time(long number, const long* a) {
  // Into the shim's memory, then out in every replica: a kernel that wrote to the application's
  // would do so in the primary only.
  struct timespec time = {};
  const long result = choose(number, &time, sizeof(time), [&] { return raw(number, a[0], &time); });
  const bool is_optional = number == __NR_clock_getres && a[1] == 0;
  return result < 0 || is_optional || put_out(at<void>(a[1]), time) ? result : -EFAULT;
}

constinit CpuClock g_process_cpu_clock = {};

// The calling thread's CPU time, or the process's: nullptr if it is another clock.
CpuClock* own_cpu_clock(long clock) {
  return clock == CLOCK_PROCESS_CPUTIME_ID  ? &g_process_cpu_clock
         : clock == CLOCK_THREAD_CPUTIME_ID ? &self()->cpu_clock
                                            : nullptr;
}

// A replica that has gone live may have used less CPU time than the primary, whose clock the
// program has seen: its clock goes on from there.
long choose_cpu_time(long number, const long* a, CpuClock* clock) {
  struct timespec time = {};
  const long result = choose(number, &time, sizeof(time), [&] {
    // Inside the choice, so only where this replica decides: `ahead_ns` is of its own kernel, and
    // secondaries take the sum from the log. `shown_ns` moves in all of them (below).
    const long read = raw(number, a[0], &time);
    const int64_t used_ns = to_ns(time.tv_sec, time.tv_nsec, kNsPerSecond);
    if (read == 0 && used_ns + clock->ahead_ns < clock->shown_ns) {
      clock->ahead_ns = clock->shown_ns + 1 - used_ns;
    }
    time = to_timespec(used_ns + clock->ahead_ns);
    return read;
  });
  if (result == 0) {
    clock->shown_ns = to_ns(time.tv_sec, time.tv_nsec, kNsPerSecond);
  }
  return result < 0 || put_out(at<void>(a[1]), time) ? result : -EFAULT;
}

// One clock behind all of these. CLOCK_TAI is CLOCK_REALTIME, as on a host that nobody has told of
// leap seconds; CLOCK_BOOTTIME is CLOCK_MONOTONIC, as on one that has not slept.
bool is_realtime(long clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}
bool is_monotonic(long clock) {
  return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE ||
         clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME;
}

}  // namespace

void time_carry(Carry& carry) {
  carry.value(g_process_cpu_clock);
  carry.value(self()->cpu_clock);
}

long do_clock_gettime(long number, const long* a) {
  if (CpuClock* const clock = own_cpu_clock(a[0])) {
    return choose_cpu_time(number, a, clock);
  }
  if (!is_monotonic(a[0]) && !is_realtime(a[0])) {
    return choose_time(number, a);
  }
  const int64_t offset_ns = is_realtime(a[0]) ? realtime_offset_ns() : 0;
  return put_out(at<void>(a[1]), to_timespec(doors_clock_ns() + offset_ns)) ? 0 : -EFAULT;
}

long do_gettimeofday(long, const long* a) {
  const int64_t now = doors_clock_ns() + realtime_offset_ns();
  if (a[0] != 0 && !put_out(at<void>(a[0]), to_timeval(now))) {
    return -EFAULT;
  }
  return a[1] == 0 || put_out(at<void>(a[1]), (struct timezone){}) ? 0 : -EFAULT;
}

long do_time(long, const long* a) {
  const int64_t seconds = (doors_clock_ns() + realtime_offset_ns()) / 1'000'000'000;
  return a[0] == 0 || put_out(at<void>(a[0]), seconds) ? seconds : -EFAULT;
}

long do_clock_getres(long number, const long* a) {
  // Constants (HZ is 250 here): the host's may differ.
  const bool coarse = a[0] == CLOCK_REALTIME_COARSE || a[0] == CLOCK_MONOTONIC_COARSE;
  if (!is_realtime(a[0]) && !is_monotonic(a[0])) {
    return choose_time(number, a);
  }
  return a[1] == 0 || put_out(at<void>(a[1]), to_timespec(coarse ? 4'000'000 : 1)) ? 0 : -EFAULT;
}

namespace {

// What the kernel says of its clock, with the time of the virtual one.
long choose_adjustment(long number, const long* a, int which) {
  struct timex clock = {};
  if (!get_in(&clock, at<void>(a[which]))) {
    return -EFAULT;
  }
  constexpr unsigned kOffsetRead = ADJ_OFFSET_SS_READ;
  if (clock.modes != 0 && clock.modes != kOffsetRead) {
    shim_notice("refused: setting the host's clock (adjtimex): answered EPERM\n");
    return -EPERM;
  }
  const long result = choose(number, &clock, sizeof(clock), [&] {
    return which == 0 ? raw(number, &clock) : raw(number, a[0], &clock);
  });
  if (result < 0) {
    return result;
  }
  // Status and frequency are the host's, the time is not: it would contradict clock_gettime().
  const int64_t now = doors_clock_ns() + realtime_offset_ns();
  clock.time.tv_sec = now / kNsPerSecond;
  clock.time.tv_usec = now % kNsPerSecond / ((clock.status & STA_NANO) != 0 ? 1 : 1000);
  return put_out(at<void>(a[which]), clock) ? result : -EFAULT;
}

}  // namespace

long do_adjtimex(long number, const long* a) {
  return choose_adjustment(number, a, 0);
}
long do_clock_adjtime(long number, const long* a) {
  return is_realtime(a[0]) ? choose_adjustment(number, a, 1)
                           : choose(number, [&] { return raw(number, a[0], a[1]); });
}

namespace {

long sleep_until_ns(int64_t deadline, timespec* remaining) {
  // A sleep is a wait like others: signals that have come are taken before it.
  ingest_point();
  if (sched_wait(nullptr, deadline) == -ETIMEDOUT) {
    return 0;
  }
  // Woken by a signal. The clock may have passed the deadline at the same ingest point: then the
  // sleep is over, and nothing is left to be told.
  const int64_t left = deadline - virtual_now_ns();
  if (left <= 0) {
    return 0;
  }
  return remaining == nullptr || put_out(remaining, to_timespec(left)) ? -EINTR : -EFAULT;
}

// Clocks that can be slept on; 0 or -errno. The others are CPU clocks, or have no timers.
long check_sleep_clock(long clock) {
  switch (static_cast<int>(clock)) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
      return 0;
    default:
      return clock >= CLOCK_TAI || clock == 10 /* once CLOCK_SGI_CYCLE */ ? -EINVAL : -EOPNOTSUPP;
  }
}

}  // namespace

long do_nanosleep(long, const long* a) {
  int64_t ns = 0;
  if (const int error = read_timespec(a[0], &ns)) {
    return error;
  }
  return sleep_until_ns(add_ns(doors_clock_ns(), ns), at<timespec>(a[1]));
}

long do_clock_nanosleep(long, const long* a) {
  if (const long error = check_sleep_clock(a[0])) {
    return error;
  }
  int64_t ns = 0;
  if (const int error = read_timespec(a[2], &ns)) {
    return error;
  }
  if ((a[1] & TIMER_ABSTIME) == 0) {
    return sleep_until_ns(add_ns(doors_clock_ns(), ns), at<timespec>(a[3]));
  }
  const int64_t deadline = absolute_deadline(ns, is_realtime(a[0]) ? realtime_offset_ns() : 0);
  // An absolute sleep says nothing about the rest: it can be made again as it is.
  return deadline <= doors_clock_ns() ? 0 : sleep_until_ns(deadline, nullptr);
}

}  // namespace ftrun::shim
