// SPDX-License-Identifier: Apache-2.0
// Times that a call takes, checked and converted as the kernel does: seconds beyond the clock's
// range are its end (KTIME_MAX), never an overflow. Runs in the application; no libc. SIGNAL-SAFE.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <sys/time.h>
#include <time.h>

#include "preload/guarded.h"

namespace ftrun::shim {

inline constexpr int64_t kNsPerSecond = 1'000'000'000;
inline constexpr int64_t kNsForEver = INT64_MAX;  // a deadline that is never reached

// Sum of two times; the end of the clock's range where it lies beyond.
inline int64_t add_ns(int64_t a, int64_t b) {
  int64_t sum = 0;
  return !__builtin_add_overflow(a, b, &sum) ? sum : (b > 0 ? INT64_MAX : INT64_MIN);
}

// `seconds` and `parts` of which `per_second` make one; the range's end where it lies beyond.
// REQUIRES: neither is negative, parts < per_second.
inline int64_t to_ns(int64_t seconds, int64_t parts, int64_t per_second) {
  return seconds >= kNsForEver / kNsPerSecond
             ? kNsForEver
             : seconds * kNsPerSecond + parts * (kNsPerSecond / per_second);
}

// timespec64_valid() and timeval_valid() of the kernel, and the conversion: 0, or -EINVAL.
[[nodiscard]] inline int to_ns(const struct timespec& time, int64_t* ns) {
  if (time.tv_sec < 0 || time.tv_nsec < 0 || time.tv_nsec >= kNsPerSecond) {
    return -EINVAL;
  }
  *ns = to_ns(time.tv_sec, time.tv_nsec, kNsPerSecond);
  return 0;
}
[[nodiscard]] inline int to_ns(const struct timeval& time, int64_t* ns) {
  if (time.tv_sec < 0 || time.tv_usec < 0 || time.tv_usec >= 1'000'000) {
    return -EINVAL;
  }
  *ns = to_ns(time.tv_sec, time.tv_usec, 1'000'000);
  return 0;
}

inline struct timespec to_timespec(int64_t ns) {
  return {.tv_sec = ns / kNsPerSecond, .tv_nsec = ns % kNsPerSecond};
}
inline struct timeval to_timeval(int64_t ns) {
  return {.tv_sec = ns / kNsPerSecond, .tv_usec = ns % kNsPerSecond / 1000};
}

// The timespec at an address of the application's: 0, -EFAULT or -EINVAL.
[[nodiscard]] inline int read_timespec(long address, int64_t* ns) {
  struct timespec time;
  return get_in(&time, reinterpret_cast<const void*>(address)) ? to_ns(time, ns) : -EFAULT;
}

// The deadline on the virtual clock of an absolute time on one that is `offset_ns` ahead of it.
inline int64_t absolute_deadline(int64_t ns, int64_t offset_ns) {
  if (ns == kNsForEver) {
    return ns;
  }
  const int64_t deadline = add_ns(ns, -offset_ns);
  return deadline > 0 ? deadline : 0;
}

// A periodic timer that was due at `deadline_ns`: how many of its periods are over at `now_ns`, and
// its next deadline, which lies after it (hrtimer_forward). REQUIRES: deadline <= now.
inline uint64_t periods_over(int64_t deadline_ns, int64_t interval_ns, int64_t now_ns,
                             int64_t* next_ns) {
  const int64_t periods = (now_ns - deadline_ns) / interval_ns;
  // Up to now there is no overflow; one interval more may lie beyond the range.
  *next_ns = add_ns(deadline_ns + periods * interval_ns, interval_ns);
  return static_cast<uint64_t>(periods) + 1;
}

}  // namespace ftrun::shim
