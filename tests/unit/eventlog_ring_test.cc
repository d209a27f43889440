// SPDX-License-Identifier: Apache-2.0
// Tests of the shared-memory ring: bounds, wrap, visibility, a corrupt head, and two threads. Runs
// in the test process only.
#include "eventlog/ring.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <random>
#include <thread>

namespace ftrun {
namespace {

// A ring's memory with its data mapped twice in a row.
class RingMemory {
 public:
  explicit RingMemory(size_t capacity) : capacity_(capacity) {
    const int fd = memfd_create("ring-test", 0);
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(capacity)), 0);
    void* range = mmap(nullptr, 2 * capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    data_ = static_cast<uint8_t*>(range);
    for (uint8_t* half : {data_, data_ + capacity}) {
      EXPECT_EQ(mmap(half, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), half);
    }
    close(fd);
  }
  ~RingMemory() { munmap(data_, 2 * capacity_); }
  RingProducer producer() { return RingProducer(&control, data_, capacity_); }
  RingConsumer consumer() { return RingConsumer(&control, data_, capacity_); }
  RingConsumer trailing() { return RingConsumer::trailing(&control, data_, capacity_); }

  RingControl control{};

 private:
  size_t capacity_;
  uint8_t* data_ = nullptr;
};

constexpr size_t kCapacity = 4096;

TEST(Ring, NothingIsVisibleBeforePublish) {
  RingMemory memory(kCapacity);
  RingProducer producer = memory.producer();
  const RingConsumer consumer = memory.consumer();
  memcpy(producer.reserve(5), "hello", 5);
  producer.advance(5);
  EXPECT_EQ(producer.unpublished(), 5u);
  EXPECT_EQ(consumer.available(), 0u);
  producer.publish();
  EXPECT_EQ(producer.unpublished(), 0u);
  ASSERT_EQ(consumer.available(), 5u);
  EXPECT_EQ(memcmp(consumer.data(), "hello", 5), 0);
}

TEST(Ring, IsFullAtItsCapacityAndNotBefore) {
  RingMemory memory(kCapacity);
  RingProducer producer = memory.producer();
  RingConsumer consumer = memory.consumer();
  EXPECT_EQ(producer.reserve(kCapacity + 1), nullptr);
  ASSERT_NE(producer.reserve(kCapacity), nullptr);
  producer.advance(kCapacity);
  producer.publish();
  EXPECT_EQ(producer.reserve(1), nullptr);
  EXPECT_EQ(consumer.available(), kCapacity);
  consumer.consume(10);
  EXPECT_NE(producer.reserve(10), nullptr);
  EXPECT_EQ(producer.reserve(11), nullptr);
}

TEST(Ring, ARunAcrossTheEndIsContiguous) {
  RingMemory memory(kCapacity);
  RingProducer producer = memory.producer();
  RingConsumer consumer = memory.consumer();
  ASSERT_NE(producer.reserve(kCapacity - 3), nullptr);
  producer.advance(kCapacity - 3);
  producer.publish();
  consumer.consume(kCapacity - 3);
  memcpy(producer.reserve(10), "0123456789", 10);
  producer.advance(10);
  producer.publish();
  ASSERT_EQ(consumer.available(), 10u);
  EXPECT_EQ(memcmp(consumer.data(), "0123456789", 10), 0);
}

TEST(Ring, AnImpossibleHeadIsReported) {
  RingMemory memory(kCapacity);
  RingConsumer consumer = memory.consumer();
  memory.control.head.store(kCapacity);
  EXPECT_EQ(consumer.available(), kCapacity);
  memory.control.head.store(kCapacity + 1);
  EXPECT_EQ(consumer.available(), kRingCorrupt);
  consumer.consume(0);
  memory.control.head.store(~uint64_t{0});  // behind the tail
  EXPECT_EQ(consumer.available(), kRingCorrupt);
}

TEST(Ring, BothEndsContinueWhereARingStands) {
  RingMemory memory(kCapacity);
  memory.control.head.store(1'000'000);
  memory.control.tail.store(999'990);
  EXPECT_EQ(memory.consumer().available(), 10u);
  EXPECT_EQ(memory.consumer().position(), 999'990u);
  EXPECT_EQ(memory.producer().written(), 1'000'000u);
  EXPECT_EQ(memory.producer().reserve(kCapacity - 9), nullptr);
}

TEST(Ring, NothingIsOverwrittenThatTheTrailingConsumerHasNotRead) {
  RingMemory memory(kCapacity);
  RingConsumer trailing = memory.trailing();
  RingProducer producer = memory.producer();
  RingConsumer consumer = memory.consumer();
  memcpy(producer.reserve(5), "hello", 5);
  producer.advance(5);
  producer.publish();
  consumer.consume(5);
  EXPECT_EQ(producer.reserve(kCapacity - 4), nullptr);
  EXPECT_NE(producer.reserve(kCapacity - 5), nullptr);
  ASSERT_EQ(trailing.available(), 5u);
  EXPECT_EQ(memcmp(trailing.data(), "hello", 5), 0);
  trailing.consume(5);
  EXPECT_NE(producer.reserve(kCapacity), nullptr);
}

TEST(Ring, TheTrailingConsumerCanTakeTheOthersPlace) {
  RingMemory memory(kCapacity);
  RingConsumer trailing = memory.trailing();
  RingProducer producer = memory.producer();
  {
    RingConsumer consumer = memory.consumer();
    producer.advance(10);
    producer.publish();
    trailing.consume(10);
    consumer.consume(4);  // and it is gone
  }
  trailing.lead();
  producer.advance(kCapacity);
  producer.publish();
  EXPECT_EQ(producer.reserve(1), nullptr);
  EXPECT_EQ(trailing.available(), kCapacity);
  trailing.consume(1);
  EXPECT_NE(producer.reserve(1), nullptr);
}

TEST(Ring, ATrailThatStopsHoldsNothingBack) {
  RingMemory memory(kCapacity);
  RingConsumer trailing = memory.trailing();
  RingProducer producer = memory.producer();
  RingConsumer consumer = memory.consumer();
  producer.advance(kCapacity);
  producer.publish();
  consumer.consume(kCapacity);
  EXPECT_EQ(producer.reserve(1), nullptr);
  trailing.stop();
  EXPECT_NE(producer.reserve(kCapacity), nullptr);
}

// The producer writes runs of random length of a known sequence, the consumer checks every byte.
TEST(Ring, TwoThreadsSeeEveryByteInOrder) {
  constexpr uint64_t total = 64 << 20;
  auto memory = std::make_unique<RingMemory>(size_t{64} << 10);
  const auto byte_at = [](uint64_t position) {
    return static_cast<uint8_t>((position * 0x9e3779b97f4a7c15) >> 56);
  };
  std::thread writer([&] {
    RingProducer producer = memory->producer();
    std::minstd_rand random(1);
    for (uint64_t written = 0; written < total;) {
      const size_t run = std::min<uint64_t>(1 + random() % 9'000, total - written);
      uint8_t* out = producer.reserve(run);
      if (out == nullptr) {
        producer
            .publish();  // else a consumer that waits for it and a full ring wait for each other
        std::this_thread::yield();
        continue;
      }
      for (size_t i = 0; i < run; ++i) {
        out[i] = byte_at(written + i);
      }
      producer.advance(run);
      written += run;
      if (random() % 3 != 0 || written == total) {
        producer.publish();
      }
    }
  });
  RingConsumer consumer = memory->consumer();
  std::minstd_rand random(2);
  uint64_t wrong = 0;
  for (uint64_t read = 0; read < total;) {
    const size_t available = consumer.available();
    ASSERT_NE(available, kRingCorrupt);
    if (available == 0) {
      std::this_thread::yield();
      continue;
    }
    const size_t run = 1 + random() % available;
    for (size_t i = 0; i < run; ++i) {
      wrong += consumer.data()[i] != byte_at(read + i) ? 1 : 0;
    }
    consumer.consume(run);
    read += run;
  }
  writer.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace ftrun
