// SPDX-License-Identifier: Apache-2.0
// A byte ring with one producer in memory shared by the shim and supervisors. It has one consumer,
// and may have a trailing one, which reads the same bytes in its own time; the producer writes over
// what both have given back. The data area is mapped twice in a row, so any run of up to `capacity`
// bytes is contiguous and nobody ever handles a wrap. Positions are byte counts since the ring was
// made and never wrap. Runs in all these processes: no libc, no allocation. A supervisor trusts
// nothing in here: a head or tail that is out of bounds is reported (kRingCorrupt, corrupt()),
// never followed.
//
// ORDER: the producer writes bytes, then publishes `head` with release; a consumer reads `head`
// with acquire and may use every byte before it. A consumer publishes its `tail` with release after
// its last use of the bytes. Sleeping and waking is not the ring's business: see shared_region.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>

namespace ftrun {

inline constexpr uint64_t kNoTrail = ~uint64_t{0};

struct RingControl {
  alignas(64) std::atomic<uint64_t> head{0};          // bytes published by the producer
  alignas(64) std::atomic<uint64_t> tail{0};          // bytes given back by the consumer
  alignas(64) std::atomic<uint64_t> trail{kNoTrail};  // by the trailing consumer, if there is one
};
static_assert(sizeof(RingControl) == 192);

class RingProducer {
 public:
  RingProducer() = default;
  // REQUIRES: `capacity` is a power of two and `data` is mapped twice in a row.
  RingProducer(RingControl* control, uint8_t* data, size_t capacity)
      : control_(control), data_(data), capacity_(capacity) {
    written_ = control->head.load(std::memory_order_relaxed);
    tail_seen_ = given_back();
  }
  // Room for `bytes` more, or nullptr when the consumers have not given back enough.
  uint8_t* reserve(size_t bytes) {
    if (!fits(bytes)) {
      tail_seen_ = given_back();
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
  size_t capacity() const { return capacity_; }
  // A consumer's tail is impossible: it has written there what it must not.
  bool corrupt() const { return written_ - given_back() > capacity_; }

 private:
  uint64_t given_back() const {
    const uint64_t tail = control_->tail.load(std::memory_order_acquire);
    const uint64_t trail = control_->trail.load(std::memory_order_acquire);
    return tail < trail ? tail : trail;
  }
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
      : control_(control), end_(&control->tail), data_(data), capacity_(capacity) {
    tail_ = end_->load(std::memory_order_relaxed);
  }
  // The trailing consumer, from the start of the ring. REQUIRES: nothing was written yet.
  static RingConsumer trailing(RingControl* control, const uint8_t* data, size_t capacity) {
    RingConsumer consumer(control, data, capacity);
    consumer.end_ = &control->trail;
    consumer.end_->store(0, std::memory_order_release);
    return consumer;
  }
  // The trailing consumer takes the place of the other one, which is gone, and is the only one.
  void lead() {
    control_->tail.store(tail_, std::memory_order_release);
    control_->trail.store(kNoTrail, std::memory_order_release);
    end_ = &control_->tail;
  }
  // Published bytes not consumed yet (kRingCorrupt if the producer's head is impossible).
  size_t available() const {
    const uint64_t size = control_->head.load(std::memory_order_acquire) - tail_;
    return size <= capacity_ ? size : kRingCorrupt;
  }
  // Nothing waits for this trailing consumer any more.
  void stop() { end_->store(kNoTrail, std::memory_order_release); }
  // The bytes from the current position; valid until consume().
  const uint8_t* data() const { return data_ + (tail_ & (capacity_ - 1)); }
  // Gives `bytes` back to the producer.
  void consume(size_t bytes) {
    tail_ += bytes;
    end_->store(tail_, std::memory_order_release);
  }
  uint64_t position() const { return tail_; }
  size_t capacity() const { return capacity_; }

 private:
  RingControl* control_ = nullptr;
  std::atomic<uint64_t>* end_ = nullptr;  // where it says what it has given back
  const uint8_t* data_ = nullptr;
  size_t capacity_ = 0;
  uint64_t tail_ = 0;
};

}  // namespace ftrun
