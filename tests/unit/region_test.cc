// SPDX-License-Identifier: Apache-2.0
// The shared region and the supervisor's end of its rings: double mapping, staging, whole items
// only, the digest, and what is refused.
#include "supervisor/rings/region.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "supervisor/rings/app_port.h"
#include "supervisor/rings/output_difference.h"

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

TEST_F(RegionTest, StagedLogArrivesInWholeTurns) {
  AppPort port(&region_, AppPort::Part::kServes);
  RingConsumer log = app_.consumer(kRingLogIn);
  uint64_t fed = 0;
  for (size_t turn = 1; fed < 3 * kRingBytes[kRingLogIn]; ++turn) {
    std::vector<uint8_t> bytes;
    const std::vector<uint8_t> payload(30'000, 'x');
    for (size_t i = 0; i < turn % 40; ++i) {  // up to a megabyte
      Record record;
      record.kind = RecordKind::kChoice;
      record.length = payload.size();
      bytes.resize(bytes.size() + kRecordHeaderBytesMax);
      const size_t header =
          put_record_header(bytes.data() + bytes.size() - kRecordHeaderBytesMax, record);
      bytes.resize(bytes.size() - kRecordHeaderBytesMax + header);
      bytes.insert(bytes.end(), payload.begin(), payload.end());
    }
    bytes.push_back(static_cast<uint8_t>(RecordKind::kTurnEndIdle));
    port.feed_log(bytes);
    fed += bytes.size();
  }
  EXPECT_TRUE(port.staged());
  uint64_t taken = 0;
  while (port.staged() || log.available() > 0) {
    ASSERT_TRUE(port.pump());
    const uint8_t* cursor = log.data();
    const uint8_t* const end = cursor + log.available();
    ASSERT_NE(cursor, end) << "nothing fits into an empty ring";
    Record record;
    size_t turns = 0;
    const uint8_t* turn_end = cursor;
    for (; cursor < end; cursor = get_record(cursor, end, &record)) {
      ASSERT_NE(cursor, nullptr);
    }
    EXPECT_EQ(record.kind, RecordKind::kTurnEndIdle) << "a turn was cut";
    // Takes one turn only, so that the room is of all sizes.
    for (cursor = log.data(); turns == 0;) {
      cursor = get_record(cursor, end, &record);
      turns += record.kind == RecordKind::kTurnEndIdle ? 1 : 0;
      turn_end = cursor;
    }
    taken += static_cast<uint64_t>(turn_end - log.data());
    log.consume(static_cast<size_t>(turn_end - log.data()));
  }
  EXPECT_EQ(taken, fed);
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

// One supervisor serves, the other trails: both see the same turns with the same digests, and what
// was fed stays until the one that trails has seen it in the log.
TEST_F(RegionTest, WhoTrailsSeesTheSameAndTakesOverFromThere) {
  AppPort trails(&app_, AppPort::Part::kTrails);
  AppPort serves(&region_, AppPort::Part::kServes);
  RingProducer output = app_.producer(kRingOutput);
  RingProducer log = app_.producer(kRingLogOut);
  RingConsumer input = app_.consumer(kRingInput);
  const auto publish_turn = [&](uint64_t end) {
    *log.reserve(1) = static_cast<uint8_t>(RecordKind::kTurnEndIdle);
    log.advance(1);
    log.publish();
    put_output(&output, OutputKind::kMark, end, "");
  };
  const std::vector<uint8_t> fin = {1 * 8 + static_cast<uint8_t>(ArrivalKind::kFin)};
  serves.feed_input(fin);
  serves.feed_input(fin);
  ASSERT_TRUE(serves.pump());
  input.consume(1);  // the application has taken one of them
  publish_turn(1);
  publish_turn(2);
  ASSERT_TRUE(serves.drain(this).ok());
  const std::vector<uint64_t> served = std::exchange(digests_, {});
  EXPECT_EQ(serves.trail_lag(), output.written());
  ASSERT_TRUE(trails.drain(this).ok());
  EXPECT_EQ(digests_, served);
  EXPECT_EQ(serves.trail_lag(), 0u);
  trails.forget_input(1);
  std::vector<uint8_t> unlogged;
  ASSERT_TRUE(trails.unlogged_input(&unlogged).ok());
  ASSERT_EQ(unlogged.size(), 1u);

  trails.serve();
  EXPECT_FALSE(trails.trails());
  trails.feed_input(fin);
  ASSERT_TRUE(trails.pump());
  EXPECT_EQ(input.available(), 2u);  // one by each
  publish_turn(3);
  ASSERT_TRUE(trails.drain(this).ok());
  EXPECT_EQ(marks_.back(), 3u);
}

TEST_F(RegionTest, TheFirstDifferenceOfTwoOutputsIsShown) {
  auto second = Region::create(Role::kSecondary, {});
  ASSERT_TRUE(second.ok());
  RingProducer here = app_.producer(kRingOutput);
  RingProducer there = second->producer(kRingOutput);
  for (RingProducer* ring : {&here, &there}) {
    put_output(ring, OutputKind::kWrite, 0, "equal");
    put_output(ring, OutputKind::kMark, 10, "");
  }
  const uint64_t begin = here.written();
  const auto describe = [&] {
    return describe_output_difference(app_, *second, 0, here.written());
  };
  EXPECT_NE(describe().find("equal by now"), std::string::npos) << describe();
  put_output(&here, OutputKind::kWrite, 0, "sum 17\n");
  put_output(&there, OutputKind::kWrite, 0, "sum 25\n");
  EXPECT_EQ(describe(),
            "first difference: write of 7 bytes for connection 1 here, of 7 there, byte 4: "
            "31 37 0a \"17.\" here, 32 35 0a \"25.\" there");
  EXPECT_EQ(describe_output_difference(app_, *second, begin, here.written()), describe());
  put_output(&here, OutputKind::kWrite, 0, std::string(kRingBytes[kRingOutput] / 200, 'x'));
  EXPECT_NE(describe_output_difference(app_, *second, there.written(), here.written())
                .find("nothing there"),
            std::string::npos);
  for (int i = 0; i < 101; ++i) {
    put_output(&here, OutputKind::kWrite, 0, std::string(kRingBytes[kRingOutput] / 200, 'x'));
  }
  EXPECT_NE(describe().find("a ring has gone on too far"), std::string::npos) << describe();
}

TEST_F(RegionTest, TheFirstDifferenceMayBeAnotherEntry) {
  auto second = Region::create(Role::kSecondary, {});
  ASSERT_TRUE(second.ok());
  RingProducer here = app_.producer(kRingOutput);
  RingProducer there = second->producer(kRingOutput);
  put_output(&here, OutputKind::kShutdown, 0, "");
  put_output(&there, OutputKind::kWrite, 0, "more");
  EXPECT_EQ(describe_output_difference(app_, *second, 0, here.written()),
            "first difference: shutdown for connection 1 here, write of 4 bytes for connection 1 "
            "there");
}

TEST_F(RegionTest, AFullRingWaitsForWhoTrails) {
  AppPort trails(&app_, AppPort::Part::kTrails);
  AppPort serves(&region_, AppPort::Part::kServes);
  RingProducer output = app_.producer(kRingOutput);
  const std::string data(kOutputDataBytesMax, 'x');
  while (output.reserve(kOutputHeaderBytesMax + data.size()) != nullptr) {
    put_output(&output, OutputKind::kWrite, 0, data);
    ASSERT_TRUE(serves.drain(this).ok());
  }
  ASSERT_TRUE(trails.drain(this).ok());
  EXPECT_NE(output.reserve(kOutputHeaderBytesMax + data.size()), nullptr);
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
