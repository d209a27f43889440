// SPDX-License-Identifier: Apache-2.0
// Output entries that the own application has issued and that may not be carried out yet, with the
// marks that end their turns; encoded as in the ring, so that they take no more room than there.
// Runs in the supervisor, inside the unit core. Bounded by its owner (limits.h).
#pragma once

#include <cstdint>

#include "eventlog/output.h"
#include "supervisor/base/result.h"
#include "supervisor/unit/fifo.h"

namespace ftrun::unit {

class PendingOutput {
 public:
  void push(const Output& entry) {
    uint8_t header[kOutputHeaderBytesMax];
    bytes_.push(header, put_output_header(header, entry));
    bytes_.push(entry.data, entry.length);
  }
  void push_mark(uint64_t log_position) {
    Output mark;
    mark.value = log_position;
    push(mark);
    marks_.push(log_position);
  }
  // A whole turn is here that ends at or before `log_position`.
  bool has_turn(uint64_t log_position) const {
    return !marks_.empty() && marks_.front() <= log_position;
  }
  size_t bytes() const { return bytes_.size() + marks_.size() * sizeof(uint64_t); }

  // Calls apply(entry) for the entries of the first turn and forgets them. The entry's data is
  // valid during the call. REQUIRES: has_turn().
  template <typename Apply>
  void take_turn(Apply&& apply) {
    for (;;) {
      Output entry;
      const uint8_t* const begin = bytes_.data();
      const uint8_t* const next = get_output(begin, begin + bytes_.size(), &entry);
      FTRUN_ASSERT(next != nullptr);
      if (entry.kind != OutputKind::kMark) {
        apply(entry);
      }
      bytes_.pop(static_cast<size_t>(next - begin));
      if (entry.kind == OutputKind::kMark) {
        marks_.pop();
        return;
      }
    }
  }

 private:
  Fifo<uint8_t> bytes_;
  Fifo<uint64_t> marks_;
};

}  // namespace ftrun::unit
