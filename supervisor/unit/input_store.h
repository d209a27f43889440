// SPDX-License-Identifier: Apache-2.0
// The sender's feed as one member other than the primary has it: the arrivals that the sender has
// fed in this epoch, in the order in which it fed them, from the first one on that no turn here has
// referred to. The primary's application logs its input in just that order, so turns that travel
// name no more than a count of its bytes (references.h). Runs in the supervisor, inside the unit
// core; pure. Owns its bytes; keeps its memory, so no allocation once it has reached its working
// size. Bounded: every connection's part by the edge's window, all of it by kInputStoreBytesMax.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "supervisor/base/result.h"
#include "supervisor/unit/fifo.h"

namespace ftrun::unit {

class InputStore {
 public:
  size_t size() const { return bytes_.size(); }
  void append(std::span<const uint8_t> arrivals) { bytes_.push(arrivals.data(), arrivals.size()); }
  // The oldest `count` bytes, until the next change. REQUIRES: count <= size().
  std::span<const uint8_t> front(size_t count) const {
    FTRUN_ASSERT(count <= size());
    return {bytes_.data(), count};
  }
  // A turn that refers to them is whole. REQUIRES: count <= size().
  void take(size_t count) {
    FTRUN_ASSERT(count <= size());
    bytes_.pop(count);
  }
  // Another epoch: its sender feeds all anew that no turn has.
  void clear() { bytes_.clear(); }

 private:
  Fifo<uint8_t> bytes_;
};

}  // namespace ftrun::unit
