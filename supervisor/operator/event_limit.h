// SPDX-License-Identifier: Apache-2.0
// Bounds what one replica writes into the unit's events, so that an application which causes them
// in a loop (notices, options that cannot be set) fills no disk: a burst, then so many a second.
// What is left out is counted and said with the next event that passes. Runs in the supervisor;
// pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ftrun {

inline constexpr int64_t kEventsBurst = 500;
inline constexpr int64_t kEventIntervalNs = 200'000'000;  // one event more for each
inline constexpr size_t kEventTextBytesMax = 4096;

class EventLimit {
 public:
  // Whether an event may be written at this time (CLOCK_MONOTONIC).
  bool take(int64_t now_ns) {
    if (full_at_ns_ - now_ns > (kEventsBurst - 1) * kEventIntervalNs) {
      ++left_out_;
      return false;
    }
    full_at_ns_ = std::max(full_at_ns_, now_ns) + kEventIntervalNs;
    return true;
  }
  // How many were left out since the last call.
  uint64_t left_out() {
    const uint64_t count = left_out_;
    left_out_ = 0;
    return count;
  }

 private:
  int64_t full_at_ns_ = 0;  // when the whole burst is available again
  uint64_t left_out_ = 0;
};

}  // namespace ftrun
