// SPDX-License-Identifier: Apache-2.0
// Early logging at the supervisor's end of the rings: parts of turns go out and in, the whole turn
// follows, and an application that goes live in the middle of a turn gives all of it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "supervisor/rings/app_port.h"
#include "supervisor/rings/region.h"

namespace ftrun {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes record(RecordKind kind, uint64_t count = 0) {
  Record record;
  record.kind = kind;
  record.count = count;
  Bytes bytes(kRecordHeaderBytesMax);
  bytes.resize(put_record_header(bytes.data(), record));
  return bytes;
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

class RegionEarlyTest : public ::testing::Test, public AppPort::Sink {
 protected:
  void SetUp() override {
    auto region = Region::create(Role::kPrimary, {});
    ASSERT_TRUE(region.ok()) << region.error().message;
    region_ = std::move(*region);
    region_.control()->logs_early = 1;
    auto other = Region::attach(dup(region_.fd()));
    ASSERT_TRUE(other.ok()) << other.error().message;
    app_ = std::move(*other);
  }
  void app_output(const Output&) override {}
  void app_mark(uint64_t, uint64_t, uint64_t) override {}
  void app_turns(unit::Bytes turns, uint64_t, uint64_t) override {
    turns_.emplace_back(turns.begin(), turns.end());
  }

  static void put(RingProducer* ring, const Bytes& bytes) {
    std::copy(bytes.begin(), bytes.end(), ring->reserve(bytes.size()));
    ring->advance(bytes.size());
    ring->publish();
  }
  void mark(uint64_t log_position) {
    Output entry;
    entry.kind = OutputKind::kMark;
    entry.value = log_position;
    entry.value2 = 1;
    Bytes bytes(kOutputHeaderBytesMax);
    bytes.resize(put_output_header(bytes.data(), entry));
    put(&output_, bytes);
  }
  // What the application was given to replay since the last time.
  Bytes given() {
    RingConsumer log = app_.consumer(kRingLogIn);
    const Bytes bytes(log.data(), log.data() + log.available());
    log.consume(bytes.size());
    return bytes;
  }

  const Bytes first_ = record(RecordKind::kSwitch, 1);
  const Bytes second_ = record(RecordKind::kSwitch, 2);
  const Bytes third_ = record(RecordKind::kSwitch, 3);
  const Bytes end_ = record(RecordKind::kTurnEndIdle);
  Region region_, app_;
  RingProducer output_;
  std::vector<Bytes> turns_;
};

TEST_F(RegionEarlyTest, APartIsWhatCameSinceAndNeverATurnsEnd) {
  AppPort port(&region_, AppPort::Part::kServes);
  RingProducer log = app_.producer(kRingLogOut);
  output_ = app_.producer(kRingOutput);
  Bytes part;
  put(&log, first_);
  EXPECT_TRUE(*port.next_part(&part));
  EXPECT_EQ(part, first_);
  EXPECT_TRUE(*port.next_part(&part));
  EXPECT_TRUE(part.empty());
  put(&log, second_ + end_ + third_);
  EXPECT_FALSE(*port.next_part(&part)) << "what is behind the turn's end is not all";
  EXPECT_EQ(part, second_);
  mark((first_ + second_ + end_).size());
  ASSERT_TRUE(port.drain(this).ok());
  EXPECT_EQ(turns_, std::vector<Bytes>{first_ + second_ + end_});
  EXPECT_TRUE(*port.next_part(&part));
  EXPECT_EQ(part, third_);
}

TEST_F(RegionEarlyTest, WhatWasFedOfATurnIsNotFedAgain) {
  AppPort port(&region_, AppPort::Part::kServes);
  port.feed_part(first_);
  port.tell_points(7);
  ASSERT_TRUE(port.pump());
  EXPECT_EQ(given(), first_);
  EXPECT_EQ(app_.control()->points_known.load(), 7u);
  port.feed_part(second_);
  EXPECT_TRUE(port.goes_on_with(first_ + second_ + third_ + end_));
  EXPECT_FALSE(port.goes_on_with(first_ + third_ + end_)) << "another turn";
  EXPECT_FALSE(port.goes_on_with(first_)) << "less than was fed";
  port.feed_log(first_ + second_ + third_ + end_);
  ASSERT_TRUE(port.pump());
  EXPECT_EQ(given(), second_ + third_ + end_);
  EXPECT_TRUE(port.fed_ahead().empty());
}

TEST_F(RegionEarlyTest, PointsAreKnownOnceTheLogIsInTheRing) {
  AppPort port(&region_, AppPort::Part::kServes);
  Bytes records;
  while (records.size() < kRingBytes[kRingLogIn]) {
    records.insert(records.end(), first_.begin(), first_.end());
  }
  port.feed_part(records);
  port.feed_part(second_);
  port.tell_points(9);
  ASSERT_TRUE(port.pump());
  EXPECT_TRUE(port.staged());
  EXPECT_EQ(app_.control()->points_known.load(), 0u);
  while (port.staged()) {
    given();
    ASSERT_TRUE(port.pump());
  }
  EXPECT_EQ(app_.control()->points_known.load(), 9u);
}

TEST_F(RegionEarlyTest, ATurnInWhichItGoesLiveIsWhole) {
  AppPort port(&region_, AppPort::Part::kServes);
  output_ = app_.producer(kRingOutput);
  port.feed_log(first_ + end_);
  port.feed_part(first_ + second_);
  port.go_live();
  ASSERT_TRUE(port.pump());
  EXPECT_EQ(app_.control()->go_live.load(), 1u);
  // The application has replayed all of it and writes the rest, then another turn.
  RingProducer log = app_.producer(kRingLogOut);
  const uint64_t turn_end = (first_ + end_ + first_ + second_ + third_ + end_).size();
  put(&log, third_ + end_);
  mark(turn_end);
  ASSERT_TRUE(port.drain(this).ok());
  EXPECT_EQ(turns_, std::vector<Bytes>{first_ + second_ + third_ + end_});
  put(&log, first_ + end_);
  mark(turn_end + (first_ + end_).size());
  ASSERT_TRUE(port.drain(this).ok());
  ASSERT_EQ(turns_.size(), 2u);
  EXPECT_EQ(turns_.back(), first_ + end_);
}

TEST_F(RegionEarlyTest, NonsenseInAPartIsAnError) {
  AppPort port(&region_, AppPort::Part::kServes);
  RingProducer log = app_.producer(kRingLogOut);
  Bytes part;
  put(&log, first_ + Bytes{0xff});
  EXPECT_FALSE(port.next_part(&part).ok());
  app_.control()->rings[kRingLogOut].head.store(uint64_t{1} << 40);
  EXPECT_FALSE(port.next_part(&part).ok());
}

TEST_F(RegionEarlyTest, AMarkInsideAPartThatWasFedIsAnError) {
  AppPort port(&region_, AppPort::Part::kServes);
  output_ = app_.producer(kRingOutput);
  port.feed_part(first_ + second_);
  port.go_live();
  ASSERT_TRUE(port.pump());
  RingProducer log = app_.producer(kRingLogOut);
  put(&log, end_);
  mark(1);
  EXPECT_FALSE(port.drain(this).ok());
}

}  // namespace
}  // namespace ftrun
