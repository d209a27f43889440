// SPDX-License-Identifier: Apache-2.0
// How the application sleeps until the other end of a ring has done something, and how it wakes
// that end. Runs in the application by the token's holder. No record depends on any of it: it
// decides when a replica runs, not what it does.
#pragma once

#include <linux/futex.h>
#include <time.h>

#include <atomic>

#include "eventlog/shared_region.h"
#include "eventlog/spin.h"
#include "preload/raw.h"

namespace ftrun::shim {

inline int64_t kernel_clock_ns(clockid_t clock) {
  struct timespec now;
  raw(__NR_clock_gettime, clock, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

class Sleeper {
 public:
  void attach(Control* control) { control_ = control; }

  // Wakes whoever serves the rings, if it sleeps.
  // ORDER: what was published, a full fence, then the word (shared_region.h).
  void wake_supervisor() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (control_->supervisor_asleep.load(std::memory_order_relaxed) != 0 &&
        control_->supervisor_asleep.exchange(0, std::memory_order_relaxed) != 0) {
      const uint64_t one = 1;
      wake_calls_++;
      raw(__NR_write, control_->doorbell_fd, &one, sizeof(one));
    }
  }

  // Sleeps until the supervisor wakes us, `ready()` holds or `timeout_ns` (< 0: none) has passed.
  // It may return early.
  template <typename Ready>
  void until(Ready&& ready, int64_t timeout_ns) {
    const int64_t spent_ns = spin(ready, timeout_ns);
    if (spent_ns == kIsReady || (timeout_ns >= 0 && spent_ns >= timeout_ns)) {
      return;
    }
    control_->app_asleep.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!ready()) {
      const int64_t left_ns = timeout_ns - spent_ns;
      struct timespec timeout = {left_ns / 1'000'000'000, left_ns % 1'000'000'000};
      wake_calls_++;
      raw(__NR_futex, &control_->app_asleep, FUTEX_WAIT, 1, timeout_ns < 0 ? nullptr : &timeout);
    }
    control_->app_asleep.store(0, std::memory_order_relaxed);
  }

  // For a call that the caller makes in order to sleep.
  void count_call() { wake_calls_++; }
  // System calls for sleeping and waking, and, while there was nothing to do, for looking around.
  uint64_t wake_calls() const { return wake_calls_; }
  uint64_t spin_calls() const { return spin_calls_; }

 private:
  // About twice the time in which a batch of requests comes round (measured with 50 clients).
  static constexpr int64_t kSpinNs = 150'000;
  static constexpr int64_t kIsReady = -1;
  static constexpr int kLooksPerRound = 30;  // one or two microseconds

  int64_t clock() {
    spin_calls_++;
    return kernel_clock_ns(CLOCK_MONOTONIC);
  }

  // Looks around for a moment, but not beyond `timeout_ns`. Returns the time that it took, or
  // kIsReady.
  template <typename Ready>
  int64_t spin(Ready& ready, int64_t timeout_ns) {
    const int64_t start_ns = clock();
    int64_t now_ns = start_ns;
    bool go_on = spinner_.start(start_ns);
    while (go_on && (timeout_ns < 0 || now_ns - start_ns < timeout_ns)) {
      for (int look = 0; look < kLooksPerRound; ++look) {
        if (ready()) {
          return kIsReady;
        }
        __builtin_ia32_pause();
      }
      spin_calls_++;
      raw(__NR_sched_yield);
      now_ns = clock();
      go_on = spinner_.go_on(now_ns);
    }
    return now_ns - start_ns;
  }

  Control* control_ = nullptr;
  Spinner spinner_{kSpinNs};
  uint64_t wake_calls_ = 0;
  uint64_t spin_calls_ = 0;
};

}  // namespace ftrun::shim
