// SPDX-License-Identifier: Apache-2.0
// Output entries that the own application has issued and that may not be carried out yet, with the
// marks that end their turns. Runs in the supervisor, inside the unit core. Bounded by its owner
// (kPendingOutputBytesMax).
#pragma once

#include <cstdint>

#include "eventlog/output.h"
#include "supervisor/unit/fifo.h"

namespace ftrun::unit {

class PendingOutput {
 public:
  void push(const Output& entry) {
    uint8_t address[1 + kAddressBytesMax];
    const uint8_t* data = entry.data;
    size_t length = entry.length;
    if (entry.kind == OutputKind::kBind) {
      length = put_address(address, entry.address);
      data = address;
    }
    entries_.push({entry.kind, entry.id, static_cast<uint32_t>(length), entry.value, entry.value2});
    data_.push(data, length);
  }
  void push_mark(uint64_t log_position) {
    entries_.push({OutputKind::kMark, 0, 0, log_position, 0});
    marks_.push(log_position);
  }
  // A whole turn is here that ends at or before `log_position`.
  bool has_turn(uint64_t log_position) const {
    return !marks_.empty() && marks_.front() <= log_position;
  }
  size_t bytes() const { return data_.size() + entries_.size() * sizeof(Entry); }

  // Calls apply(entry) for the entries of the first turn and forgets them. The entry's data is
  // valid during the call. REQUIRES: has_turn().
  template <typename Apply>
  void take_turn(Apply&& apply) {
    for (;;) {
      const Entry entry = entries_.front();
      if (entry.kind == OutputKind::kMark) {
        entries_.pop();
        marks_.pop();
        return;
      }
      Output output;
      output.kind = entry.kind;
      output.id = entry.id;
      output.value = entry.value;
      output.value2 = entry.value2;
      if (entry.kind == OutputKind::kBind) {
        get_address(data_.data(), data_.data() + entry.length, &output.address);
      } else if (entry.length != 0) {
        output.data = data_.data();
        output.length = entry.length;
      }
      apply(output);
      entries_.pop();
      data_.pop(entry.length);
    }
  }

 private:
  struct Entry {
    OutputKind kind;
    uint32_t id;
    uint32_t length;  // bytes in data_
    uint64_t value;
    uint64_t value2;
  };
  Fifo<Entry> entries_;
  Fifo<uint8_t> data_;
  Fifo<uint64_t> marks_;
};

}  // namespace ftrun::unit
