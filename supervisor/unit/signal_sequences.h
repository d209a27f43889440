// SPDX-License-Identifier: Apache-2.0
// Which signals of the unit a core has seen, by their sequence numbers. Several processes give
// signals to a unit, each under a number of its own, and tell every supervisor: numbers come a
// little out of order, and each more than once. Pure; runs in the unit core.
#pragma once

#include <cstdint>

namespace ftrun::unit {

class SignalSequences {
 public:
  // False if `sequence` was noted before, or lies kWindow and more behind the highest.
  bool note(uint32_t sequence) {
    if (sequence > highest_) {
      const uint32_t ahead = sequence - highest_;
      seen_ = (ahead < kWindow ? seen_ << ahead : 0) | 1;
      highest_ = sequence;
      return true;
    }
    const uint32_t behind = highest_ - sequence;
    const uint64_t bit = behind < kWindow ? uint64_t{1} << behind : 0;
    const bool is_new = bit != 0 && sequence != 0 && (seen_ & bit) == 0;
    seen_ |= bit;
    return is_new;
  }
  uint32_t highest() const { return highest_; }

 private:
  static constexpr uint32_t kWindow = 64;
  uint32_t highest_ = 0;
  uint64_t seen_ = 0;  // bit i: highest_ - i
};

}  // namespace ftrun::unit
