// SPDX-License-Identifier: Apache-2.0
// The unit's CLOCK_MONOTONIC, as every replica computes it: it moves only by records and by a step
// with each reading. Only a live replica looks at a clock outside, in order to write a record.
// Runs in the application by the token's holder; no libc.
//
// Why offsets: each host's kernel counts from its own boot, and the log's clock may be ahead of
// this replica's kernel when it goes live: the readings' steps add up, and the dead primary may
// have been on a host that has been up for longer. Time must not go back, and must not stand still
// until the kernel has caught up, or every deadline would be late by the difference. So what the
// log had reached is the kernel's time of going live, for good.
#pragma once

#include <time.h>

#include "eventlog/shared_region.h"
#include "preload/sleep.h"

namespace ftrun::shim {

class VirtualClock {
 public:
  // A reading moves the clock by this, so that no two are equal and a loop that waits for time gets
  // on in every replica without a record.
  static constexpr int64_t kStepNs = 40;
  // How far the clock outside may be ahead before a record says so.
  static constexpr int64_t kQuantumNs = 100'000;

  int64_t now_ns() const { return now_ns_; }
  int64_t realtime_offset_ns() const { return realtime_offset_ns_; }
  void move_to(int64_t now_ns) { now_ns_ = now_ns; }
  void move_by(int64_t step_ns) { now_ns_ += step_ns; }

  // The first primary: from its kernel.
  void start() {
    now_ns_ = kernel_clock_ns(CLOCK_MONOTONIC);
    realtime_offset_ns_ = kernel_clock_ns(CLOCK_REALTIME) - now_ns_;
  }
  // A secondary: from the start record.
  void start_at(int64_t now_ns, int64_t realtime_offset_ns) {
    now_ns_ = now_ns;
    realtime_offset_ns_ = realtime_offset_ns;
  }
  void go_live() {
    const int64_t kernel_now = kernel_clock_ns(CLOCK_MONOTONIC);
    if (kernel_now + offset_ns_ < now_ns_) {
      offset_ns_ = now_ns_ - kernel_now;
    }
  }

  // Live replicas: what time it is outside, never before now_ns().
  int64_t kernel_ns() const {
    const int64_t now = kernel_clock_ns(CLOCK_MONOTONIC) + offset_ns_;
    return now > now_ns_ ? now : now_ns_;
  }
  // The time at which the supervisor passed on what lies in the input ring: no system call. Does
  // not move while the supervisor does nothing, so nobody may wait for it.
  int64_t fed_ns(const Control* control) const {
    const auto seen = static_cast<int64_t>(control->coarse_now_ns.load(std::memory_order_relaxed));
    if (seen == 0) {
      return kernel_ns();
    }
    const int64_t now = seen + offset_ns_;
    return now > now_ns_ ? now : now_ns_;
  }

 private:
  int64_t now_ns_ = 0;
  int64_t offset_ns_ = 0;           // added to the kernel's clock
  int64_t realtime_offset_ns_ = 0;  // CLOCK_REALTIME less this one, for the life of the log
};

}  // namespace ftrun::shim
