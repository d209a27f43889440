// SPDX-License-Identifier: Apache-2.0
// Micro-benchmarks of what the shim does for every record: encode, decode, and the ring between two
// threads. An ordinary process; run it as `bench-eventlog`.
#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "eventlog/arrivals.h"
#include "eventlog/output.h"
#include "eventlog/records.h"
#include "eventlog/ring.h"

namespace ftrun {
namespace {

// A ring with its data mapped twice in a row, in this process only.
class TestRing {
 public:
  explicit TestRing(size_t capacity) : capacity_(capacity) {
    const int fd = memfd_create("bench-ring", 0);
    void* range = mmap(nullptr, 2 * capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    data_ = static_cast<uint8_t*>(range);
    if (fd < 0 || range == MAP_FAILED || ftruncate(fd, static_cast<off_t>(capacity)) != 0 ||
        mmap(data_, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != data_ ||
        mmap(data_ + capacity, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !=
            data_ + capacity) {
      perror("mapping the ring");
      abort();
    }
    close(fd);
  }
  ~TestRing() { munmap(data_, 2 * capacity_); }
  RingProducer producer() { return RingProducer(&control_, data_, capacity_); }
  RingConsumer consumer() { return RingConsumer(&control_, data_, capacity_); }

 private:
  RingControl control_{};
  size_t capacity_;
  uint8_t* data_ = nullptr;
};

constexpr size_t kRingCapacity = size_t{1} << 20;

void encode_time_record(benchmark::State& state) {
  uint8_t out[kRecordHeaderBytesMax];
  Record record{.kind = RecordKind::kTime, .delta = 2, .now_delta_ns = 7'000};
  for (auto _ : state) {
    ++record.now_delta_ns;
    benchmark::DoNotOptimize(put_record_header(out, record));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(encode_time_record);

void decode_time_record(benchmark::State& state) {
  uint8_t out[kRecordHeaderBytesMax];
  const size_t length =
      put_record_header(out, {.kind = RecordKind::kTime, .delta = 2, .now_delta_ns = 7'000});
  Record record;
  for (auto _ : state) {
    benchmark::DoNotOptimize(get_record(out, out + length, &record));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(decode_time_record);

void encode_data_arrival(benchmark::State& state) {
  uint8_t out[kArrivalHeaderBytesMax];
  const uint8_t byte = 0;
  Arrival item{.kind = ArrivalKind::kData, .id = 40, .data = &byte, .length = 140};
  for (auto _ : state) {
    item.id ^= 1;
    benchmark::DoNotOptimize(put_arrival_header(out, item));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(encode_data_arrival);

void decode_data_arrival(benchmark::State& state) {
  uint8_t out[kArrivalHeaderBytesMax + 140] = {};
  const size_t header =
      put_arrival_header(out, {.kind = ArrivalKind::kData, .id = 40, .data = out, .length = 140});
  Arrival item;
  for (auto _ : state) {
    benchmark::DoNotOptimize(get_arrival(out, out + header + 140, &item));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(decode_data_arrival);

// One write of a virtual socket: reserve, header, bytes, advance; published every 16.
void write_output_entry(benchmark::State& state) {
  TestRing ring(kRingCapacity);
  RingProducer producer = ring.producer();
  RingConsumer consumer = ring.consumer();
  static const uint8_t reply[64] = {};
  const Output entry{.kind = OutputKind::kWrite, .id = 7, .data = reply, .length = sizeof reply};
  unsigned count = 0;
  for (auto _ : state) {
    uint8_t* out = producer.reserve(kOutputHeaderBytesMax + sizeof reply);
    if (out == nullptr) {
      producer.publish();
      consumer.consume(consumer.available());
      out = producer.reserve(kOutputHeaderBytesMax + sizeof reply);
    }
    const size_t header = put_output_header(out, entry);
    memcpy(out + header, reply, sizeof reply);
    producer.advance(header + sizeof reply);
    if (++count % 16 == 0) {
      producer.publish();
    }
  }
}
BENCHMARK(write_output_entry);

// Records through the ring to another thread; one item is one record of 3 bytes.
void ring_between_threads(benchmark::State& state) {
  TestRing ring(kRingCapacity);
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    RingConsumer consumer = ring.consumer();
    while (!stop.load(std::memory_order_relaxed)) {
      const size_t available = consumer.available();
      if (available == 0) {
        std::this_thread::yield();
      }
      consumer.consume(available);
    }
  });
  RingProducer producer = ring.producer();
  Record record{.kind = RecordKind::kTime, .delta = 2, .now_delta_ns = 7'000};
  unsigned count = 0;
  for (auto _ : state) {
    uint8_t* out = producer.reserve(kRecordHeaderBytesMax);
    while (out == nullptr) {
      producer.publish();
      std::this_thread::yield();
      out = producer.reserve(kRecordHeaderBytesMax);
    }
    producer.advance(put_record_header(out, record));
    if (++count % 32 == 0) {
      producer.publish();
    }
  }
  producer.publish();
  state.SetItemsProcessed(state.iterations());
  stop = true;
  reader.join();
}
BENCHMARK(ring_between_threads)->UseRealTime();

}  // namespace
}  // namespace ftrun

BENCHMARK_MAIN();
