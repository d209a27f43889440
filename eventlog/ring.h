// SPDX-License-Identifier: Apache-2.0
// A single-producer, single-consumer byte ring in memory shared by the shim and its supervisor.
// The data area is mapped twice in a row, so any run of up to `capacity` bytes is contiguous and
// nobody ever handles a wrap. Positions are byte counts since the ring was made and never wrap.
// Runs in both processes: no libc, no allocation. The supervisor trusts nothing in here: a head
// or tail that is out of bounds is reported (kRingCorrupt, corrupt()), never followed.
//
// ORDER: the producer writes bytes, then publishes `head` with release; the consumer reads `head`
// with acquire and may use every byte before it. The consumer publishes `tail` with release after
// its last use of the bytes. Sleeping and waking is not the ring's business: see shared_region.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>

namespace ftrun {

struct RingControl {
  alignas(64) std::atomic<uint64_t> head;  // bytes published by the producer
  alignas(64) std::atomic<uint64_t> tail;  // bytes given back by the consumer
};
static_assert(sizeof(RingControl) == 128);

class RingProducer {
 public:
  RingProducer() = default;
  // REQUIRES: `capacity` is a power of two and `data` is mapped twice in a row.
  RingProducer(RingControl* control, uint8_t* data, size_t capacity)
      : control_(control), data_(data), capacity_(capacity) {
    written_ = control->head.load(std::memory_order_relaxed);
    tail_seen_ = control->tail.load(std::memory_order_acquire);
  }
  // Room for `bytes` more, or nullptr when the consumer has not given back enough.
  uint8_t* reserve(size_t bytes) {
    if (!fits(bytes)) {
      tail_seen_ = control_->tail.load(std::memory_order_acquire);
      if (!fits(bytes)) {
        return nullptr;
      }
    }
    return data_ + (written_ & (capacity_ - 1));
  }
  // REQUIRES: reserve(n) with n >= bytes succeeded. The bytes stay invisible until publish().
  void advance(size_t bytes) { written_ += bytes; }
  void publish() { control_->head.store(written_, std::memory_order_release); }
  // Position after the last advanced byte; published or not.
  uint64_t written() const { return written_; }
  uint64_t unpublished() const { return written_ - control_->head.load(std::memory_order_relaxed); }
  // Published bytes that the consumer has not given back.
  uint64_t unread() const {
    return control_->head.load(std::memory_order_relaxed) -
           control_->tail.load(std::memory_order_acquire);
  }
  size_t capacity() const { return capacity_; }
  // The consumer's tail is impossible: it has written there what it must not.
  bool corrupt() const {
    return written_ - control_->tail.load(std::memory_order_relaxed) > capacity_;
  }

 private:
  // Each side of the comparison is bounded by itself: a tail beyond `written_`, or any size, must
  // not wrap around to something that fits.
  bool fits(size_t bytes) const {
    const uint64_t used = written_ - tail_seen_;
    return used <= capacity_ && bytes <= capacity_ - used;
  }

  RingControl* control_ = nullptr;
  uint8_t* data_ = nullptr;
  size_t capacity_ = 0;
  uint64_t written_ = 0;
  uint64_t tail_seen_ = 0;
};

inline constexpr size_t kRingCorrupt = ~size_t{0};

class RingConsumer {
 public:
  RingConsumer() = default;
  RingConsumer(RingControl* control, const uint8_t* data, size_t capacity)
      : control_(control), data_(data), capacity_(capacity) {
    tail_ = control->tail.load(std::memory_order_relaxed);
  }
  // Published bytes not consumed yet (kRingCorrupt if the producer's head is impossible).
  size_t available() const {
    const uint64_t size = control_->head.load(std::memory_order_acquire) - tail_;
    return size <= capacity_ ? size : kRingCorrupt;
  }
  // The bytes from the current position; valid until consume().
  const uint8_t* data() const { return data_ + (tail_ & (capacity_ - 1)); }
  // Gives `bytes` back to the producer.
  void consume(size_t bytes) {
    tail_ += bytes;
    control_->tail.store(tail_, std::memory_order_release);
  }
  uint64_t position() const { return tail_; }
  size_t capacity() const { return capacity_; }

 private:
  RingControl* control_ = nullptr;
  const uint8_t* data_ = nullptr;
  size_t capacity_ = 0;
  uint64_t tail_ = 0;
};

}  // namespace ftrun
