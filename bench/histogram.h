// SPDX-License-Identifier: Apache-2.0
// A log-linear histogram of durations: 64 steps per power of two, so a quantile is at most 1.6 %
// off. For the load tools (ordinary processes, one thread); never used in the shim or the
// supervisor.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ftrun::load {

class Histogram {
 public:
  void add(uint64_t value_ns) {
    ++counts_[index(value_ns)];
    ++total_;
    max_ = value_ns > max_ ? value_ns : max_;
  }
  uint64_t total() const { return total_; }
  uint64_t max() const { return max_; }
  // The smallest step that holds at least `share` (0 to 1) of all values; 0 when there are none.
  uint64_t quantile(double share) const {
    const auto wanted = static_cast<uint64_t>(share * static_cast<double>(total_) + 0.5);
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= wanted && counts_[i] != 0) {
        return upper(i) < max_ ? upper(i) : max_;
      }
    }
    return max_;
  }

 private:
  static constexpr unsigned kStepBits = 6;
  static constexpr size_t kSteps = size_t{1} << kStepBits;
  static constexpr size_t kBuckets = (64 - kStepBits + 1) * kSteps;

  static size_t index(uint64_t value) {
    if (value < kSteps) {
      return value;
    }
    const unsigned shift = 63 - kStepBits - static_cast<unsigned>(std::countl_zero(value));
    return (shift + 1) * kSteps + ((value >> shift) - kSteps);
  }
  static uint64_t upper(size_t i) {
    if (i < kSteps) {
      return i;
    }
    const size_t shift = i / kSteps - 1;
    return ((i % kSteps + kSteps + 1) << shift) - 1;
  }

  std::array<uint64_t, kBuckets> counts_{};
  uint64_t total_ = 0;
  uint64_t max_ = 0;
};

}  // namespace ftrun::load
