// SPDX-License-Identifier: Apache-2.0
// The shared region and the supervisor's end of its rings: double mapping, staging, whole items
// only, the digest, and what is refused.
#include "supervisor/region.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "supervisor/app_port.h"

namespace ftrun {
namespace {

class RegionTest : public ::testing::Test, public AppPort::Sink {
 protected:
  void SetUp() override {
    auto region = Region::create(Role::kPrimary, {});
    ASSERT_TRUE(region.ok()) << region.error().message;
    region_ = std::move(*region);
    auto other = Region::attach(dup(region_.fd()));
    ASSERT_TRUE(other.ok()) << other.error().message;
    app_ = std::move(*other);
  }
  void app_output(const Output& entry) override { outputs_.push_back(entry.kind); }
  void app_mark(uint64_t position, uint64_t, uint64_t digest) override {
    marks_.push_back(position);
    digests_.push_back(digest);
  }
  void app_turns(unit::Bytes turns, uint64_t, uint64_t) override { turns_.push_back(turns.size()); }

  static void put_output(RingProducer* ring, OutputKind kind, uint64_t value,
                         const std::string& data) {
    Output entry;
    entry.kind = kind;
    entry.id = kind == OutputKind::kMark ? 0 : 1;
    entry.value = value;
    entry.data = reinterpret_cast<const uint8_t*>(data.data());
    entry.length = data.size();
    uint8_t* at = ring->reserve(kOutputHeaderBytesMax + data.size());
    ASSERT_NE(at, nullptr);
    const size_t bytes = put_output_header(at, entry);
    std::memcpy(at + bytes, data.data(), data.size());
    ring->advance(bytes + data.size());
    ring->publish();
  }

  Region region_, app_;
  std::vector<OutputKind> outputs_;
  std::vector<uint64_t> marks_, digests_;
  std::vector<size_t> turns_;
};

TEST_F(RegionTest, RingDataIsMappedTwice) {
  for (uint32_t ring = 0; ring < kRingCount; ++ring) {
    uint8_t* data = region_.ring_data(static_cast<RingId>(ring));
    data[5] = static_cast<uint8_t>(40 + ring);
    EXPECT_EQ(data[kRingBytes[ring] + 5], 40 + ring);
    EXPECT_EQ(app_.ring_data(static_cast<RingId>(ring))[kRingBytes[ring] + 5], 40 + ring);
  }
}

TEST_F(RegionTest, SizeIsSealed) {
  EXPECT_NE(ftruncate(region_.fd(), 0), 0);
  EXPECT_NE(ftruncate(region_.fd(), static_cast<off_t>(region_file_bytes()) * 2), 0);
}

TEST_F(RegionTest, StagedInputArrivesWholeAndInOrder) {
  AppPort port(&region_, AppPort::Part::kServes);
  RingConsumer input = app_.consumer(kRingInput);
  // More than the ring holds, in items of odd sizes.
  uint64_t fed = 0;
  std::vector<uint8_t> batch;
  for (uint32_t id = 1; fed < 3 * kRingBytes[kRingInput]; ++id) {
    const std::vector<uint8_t> data(1 + id * 7919 % 50000, static_cast<uint8_t>(id));
    Arrival item;
    item.kind = ArrivalKind::kData;
    item.id = id;
    item.length = data.size();
    batch.resize(kArrivalHeaderBytesMax);
    batch.resize(put_arrival_header(batch.data(), item));
    batch.insert(batch.end(), data.begin(), data.end());
    port.feed_input(batch);
    fed += batch.size();
  }
  EXPECT_TRUE(port.staged());
  uint32_t expected = 1;
  while (port.staged() || input.available() > 0) {
    ASSERT_TRUE(port.pump());
    const size_t available = input.available();
    ASSERT_NE(available, kRingCorrupt);
    const uint8_t* cursor = input.data();
    const uint8_t* end = cursor + available;
    while (cursor < end) {
      Arrival item;
      cursor = get_arrival(cursor, end, &item);
      ASSERT_NE(cursor, nullptr) << "an item was cut";
      EXPECT_EQ(item.id, expected++);
      EXPECT_EQ(item.data[item.length - 1], static_cast<uint8_t>(item.id));
    }
    input.consume(available);
  }
}

TEST_F(RegionTest, TurnsWaitForTheirMarkAndMarksForTheirTurns) {
  AppPort port(&region_, AppPort::Part::kServes);
  RingProducer output = app_.producer(kRingOutput);
  RingProducer log = app_.producer(kRingLogOut);
  const auto publish_turn = [&](size_t bytes) {
    std::memset(log.reserve(bytes), static_cast<int>(RecordKind::kTurnEndIdle), bytes);
    log.advance(bytes);
    log.publish();
  };
  publish_turn(10);  // the turn first, then its mark
  ASSERT_TRUE(port.drain(this).ok());
  EXPECT_TRUE(turns_.empty());
  EXPECT_FALSE(port.has_output()) << "would never sleep";
  put_output(&output, OutputKind::kWrite, 0, "hello");
  put_output(&output, OutputKind::kMark, 10, "");
  EXPECT_TRUE(port.has_output());
  ASSERT_TRUE(port.drain(this).ok());
  EXPECT_EQ(turns_, (std::vector<size_t>{10}));
  put_output(&output, OutputKind::kMark, 25, "");  // and the other way round
  ASSERT_TRUE(port.drain(this).ok());
  EXPECT_EQ(turns_.size(), 1u);
  publish_turn(15);
  ASSERT_TRUE(port.drain(this).ok());
  EXPECT_EQ(turns_, (std::vector<size_t>{10, 15}));
}

TEST_F(RegionTest, DigestDependsOnBytesAndNotOnWhenTheyAreRead) {
  auto second = Region::create(Role::kSecondary, {});
  ASSERT_TRUE(second.ok());
  AppPort eager(&region_, AppPort::Part::kServes);
  AppPort lazy(&*second, AppPort::Part::kServes);
  RingProducer left = app_.producer(kRingOutput);
  RingProducer right = second->producer(kRingOutput);
  for (int i = 1; i <= 5; ++i) {
    for (RingProducer* ring : {&left, &right}) {
      put_output(ring, OutputKind::kWrite, 0, std::string(1000 * i, 'x'));
      put_output(ring, OutputKind::kMark, i, "");
    }
    ASSERT_TRUE(eager.drain(this).ok());
  }
  const std::vector<uint64_t> eager_digests = std::exchange(digests_, {});
  ASSERT_TRUE(lazy.drain(this).ok());
  EXPECT_EQ(digests_, eager_digests);
  EXPECT_EQ(digests_.size(), 5u);
}

TEST_F(RegionTest, NonsenseInARingIsAnError) {
  AppPort port(&region_, AppPort::Part::kServes);
  RingProducer output = app_.producer(kRingOutput);
  std::memset(output.reserve(4), 0xff, 4);
  output.advance(4);
  output.publish();
  EXPECT_FALSE(port.drain(this).ok());
  region_.control()->rings[kRingOutput].head.store(uint64_t{1} << 60);
  EXPECT_FALSE(port.drain(this).ok());
}

}  // namespace
}  // namespace ftrun
