// SPDX-License-Identifier: Apache-2.0
// Tells when an application computes without making a call that the log has: a thread that waits
// for another by spinning never yields its turn under ftrun, and looks like this; so does a long
// computation, which does no harm. Runs in ftrun (`ftrun check`); pure: callers bring the looks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace ftrun::cli {

// CPU time without a record that is worth a word.
inline constexpr uint64_t kSpinCpuNs = 100'000'000;
// A stretch ends as well when the application uses less of a CPU than one part in this many.
inline constexpr uint64_t kSpinShare = 4;

// One look at an application.
struct ActivityLook {
  int64_t now_ns = 0;
  uint64_t cpu_ns = 0;  // used so far
  // These move with calls.
  uint64_t records = 0;
  uint64_t log_bytes = 0;
  uint64_t kernel_calls = 0;
};

class SpinWatch {
 public:
  // Returns whether the present stretch has just become long.
  bool add(const ActivityLook& look);
  int stretches() const { return stretches_; }
  uint64_t longest_ms() const { return longest_ns_ / 1'000'000; }
  // Of the stretch that has not ended, if it is long enough to count.
  uint64_t present_ms() const { return counted_ ? (last_.cpu_ns - first_.cpu_ns) / 1'000'000 : 0; }

 private:
  ActivityLook first_, last_;  // of the present stretch
  bool any_ = false;
  bool counted_ = false;
  int stretches_ = 0;
  uint64_t longest_ns_ = 0;
};

}  // namespace ftrun::cli
