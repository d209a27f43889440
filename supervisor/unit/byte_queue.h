// SPDX-License-Identifier: Apache-2.0
// A queue of bytes that knows its position in a stream: the resend queue of one connection.
// Runs in the supervisor. Grows by doubling up to what its owner puts in; the owner bounds that
// (kSendWindowBytes). No allocation once it has reached its working size.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "supervisor/base/result.h"

namespace ftrun::unit {

class ByteQueue {
 public:
  uint64_t start() const { return start_; }  // stream position of the first byte kept
  uint64_t end() const { return end_; }      // stream position after the last byte
  size_t size() const { return end_ - start_; }

  // An empty queue whose next byte has this position.
  void restart(uint64_t position) { start_ = end_ = position; }

  void append(std::span<const uint8_t> bytes) {
    if (size() + bytes.size() > buffer_.size()) {
      grow(size() + bytes.size());
    }
    const size_t at = end_ & (buffer_.size() - 1);
    const size_t first = std::min(bytes.size(), buffer_.size() - at);
    if (first != 0) {
      std::memcpy(buffer_.data() + at, bytes.data(), first);
    }
    if (first != bytes.size()) {
      std::memcpy(buffer_.data(), bytes.data() + first, bytes.size() - first);
    }
    end_ += bytes.size();
  }

  // Forgets everything before `position`. REQUIRES: start() <= position <= end().
  void trim(uint64_t position) {
    FTRUN_ASSERT(position >= start_ && position <= end_);
    start_ = position;
  }

  // The bytes from `position` on, in one or two pieces. REQUIRES: start() <= position <= end().
  std::pair<std::span<const uint8_t>, std::span<const uint8_t>> from(uint64_t position) const {
    FTRUN_ASSERT(position >= start_ && position <= end_);
    if (position == end_) {
      return {};
    }
    const size_t count = end_ - position;
    const size_t at = position & (buffer_.size() - 1);
    const size_t first = std::min(count, buffer_.size() - at);
    return {{buffer_.data() + at, first}, {buffer_.data(), count - first}};
  }

 private:
  void grow(size_t wanted) {
    size_t capacity = buffer_.empty() ? 512 : buffer_.size();
    while (capacity < wanted) {
      capacity *= 2;
    }
    std::vector<uint8_t> bigger(capacity);
    for (uint64_t p = start_; p < end_;) {  // at most three runs: two wraps
      const size_t from_at = p & (buffer_.size() - 1);
      const size_t to_at = p & (capacity - 1);
      const size_t run =
          std::min<uint64_t>(end_ - p, std::min(buffer_.size() - from_at, capacity - to_at));
      std::memcpy(bigger.data() + to_at, buffer_.data() + from_at, run);
      p += run;
    }
    buffer_.swap(bigger);
  }

  std::vector<uint8_t> buffer_;  // size 0 or a power of two; position p is at p mod size
  uint64_t start_ = 0;
  uint64_t end_ = 0;
};

}  // namespace ftrun::unit
