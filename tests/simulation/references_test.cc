// SPDX-License-Identifier: Apache-2.0
// Input by reference: turns come out as they went in, whatever is in them; what is damaged on its
// way, or meets another feed, is told apart from what is not.
#include "supervisor/unit/references.h"

#include <gtest/gtest.h>

#include <vector>

#include "eventlog/records.h"
#include "supervisor/unit/limits.h"
#include "tests/fuzz/link_decoders.h"
#include "tests/simulation/idle_host.h"
#include "tests/simulation/random.h"

namespace ftrun::sim {
namespace {

using unit::Referred;
using unit::Restored;

struct Sample {
  std::vector<uint8_t> turns;
  std::vector<uint8_t> input;  // all items in them
};

std::vector<uint8_t> some_bytes(Random* random, uint64_t most) {
  std::vector<uint8_t> bytes(random->below(most + 1));
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random->next());
  }
  return bytes;
}

void add_record(Random* random, Sample* sample) {
  constexpr RecordKind kKinds[] = {
      RecordKind::kArrivals, RecordKind::kArrivals, RecordKind::kTime,       RecordKind::kChoice,
      RecordKind::kSwitch,   RecordKind::kStart,    RecordKind::kTurnEndIdle};
  Record record;
  record.kind = kKinds[random->below(std::size(kKinds))];
  record.delta = random->sized(1000) - 1;
  record.now_delta_ns = random->sized(1 << 20);
  std::vector<uint8_t> payload;
  if (record.kind == RecordKind::kArrivals || record.kind == RecordKind::kChoice) {
    payload = some_bytes(random, random->sized(5000));
    record.length = payload.size();
    record.count = payload.empty() ? 0 : random->below(payload.size());
  }
  uint8_t header[kRecordHeaderBytesMax];
  const size_t length = put_record_header(header, record);
  sample->turns.insert(sample->turns.end(), header, header + length);
  sample->turns.insert(sample->turns.end(), payload.begin(), payload.end());
  if (record.kind == RecordKind::kArrivals) {
    sample->input.insert(sample->input.end(), payload.begin(), payload.end());
  }
}

Sample make_sample(Random* random) {
  Sample sample;
  while (sample.input.empty() || !random->one_in(6)) {
    add_record(random, &sample);
  }
  return sample;
}

unit::Restored restored(const std::vector<uint8_t>& payload, const std::vector<uint8_t>& feed,
                        std::vector<uint8_t>* turns) {
  Referred referred;
  if (!unit::read_referred(payload, &referred) || referred.input > feed.size()) {
    return Restored::kInvalid;
  }
  const auto begin = feed.end() - static_cast<long>(referred.input);
  return unit::restore(referred, {begin, feed.end()}, turns, true);
}

TEST(References, TurnsComeOutAsTheyWentIn) {
  std::vector<uint8_t> payload;
  std::vector<uint8_t> turns;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Random random(seed);
    const Sample sample = make_sample(&random);
    const uint64_t older = random.one_in(2) ? 0 : random.below(sample.input.size());
    unit::refer(sample.turns, older, sample.input.size(), &payload);
    Referred referred;
    ASSERT_TRUE(unit::read_referred(payload, &referred));
    EXPECT_EQ(referred.whole, sample.turns.size());
    EXPECT_EQ(referred.input, sample.input.size() - older);
    ASSERT_EQ(restored(payload, sample.input, &turns), Restored::kWhole) << seed;
    EXPECT_EQ(turns, sample.turns) << seed;
  }
}

// 1 KB of one connection, and the end of the turn.
TEST(References, AreShort) {
  Arrival item;
  item.kind = ArrivalKind::kData;
  item.id = 100;
  item.length = 1024;
  std::vector<uint8_t> items(kArrivalHeaderBytesMax);
  items.resize(put_arrival_header(items.data(), item) + item.length);
  Record record;
  record.kind = RecordKind::kArrivals;
  record.now_delta_ns = 100'000;
  record.count = 1;
  record.length = items.size();
  std::vector<uint8_t> turns(kRecordHeaderBytesMax);
  turns.resize(put_record_header(turns.data(), record));
  turns.insert(turns.end(), items.begin(), items.end());
  turns.push_back(static_cast<uint8_t>(RecordKind::kTurnEndIdle));
  std::vector<uint8_t> payload;
  unit::refer(turns, 0, items.size(), &payload);
  EXPECT_EQ(turns.size(), 1036u);
  EXPECT_EQ(payload.size(), 17u);
}

TEST(References, InputThatDiffersIsNotTaken) {
  std::vector<uint8_t> payload;
  std::vector<uint8_t> turns;
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    Random random(seed);
    Sample sample = make_sample(&random);
    unit::refer(sample.turns, 0, sample.input.size(), &payload);
    sample.input[random.below(sample.input.size())] ^= 1u << random.below(8);
    EXPECT_EQ(restored(payload, sample.input, &turns), Restored::kDiffering) << seed;
  }
}

TEST(References, WhatIsCutShortDoesNotDecode) {
  std::vector<uint8_t> payload;
  std::vector<uint8_t> turns;
  Random random(1);
  const Sample sample = make_sample(&random);
  unit::refer(sample.turns, 0, sample.input.size(), &payload);
  for (size_t length = 0; length < payload.size(); ++length) {
    const std::vector<uint8_t> cut(payload.begin(), payload.begin() + static_cast<long>(length));
    EXPECT_EQ(restored(cut, sample.input, &turns), Restored::kInvalid) << length;
  }
}

TEST(References, LongerTurnsThanAFrameMayHaveAreRefused) {
  uint8_t payload[2 * kVarintBytesMax];
  size_t length = put_varint(payload, unit::kTurnsBytesMax + 1);
  length += put_varint(payload + length, 1);
  Referred referred;
  EXPECT_FALSE(unit::read_referred({payload, length}, &referred));
}

TEST(References, DamageIsNoDanger) {
  std::vector<uint8_t> payload;
  for (uint64_t seed = 1; seed <= 20000; ++seed) {
    Random random(seed);
    const Sample sample = make_sample(&random);
    unit::refer(sample.turns, random.below(sample.input.size()), sample.input.size(), &payload);
    for (uint64_t damages = random.below(5); damages > 0; --damages) {
      payload[random.below(payload.size())] = static_cast<uint8_t>(random.next());
    }
    payload.resize(payload.size() - (random.one_in(4) ? random.below(payload.size()) : 0));
    fuzz::referred(payload.data(), payload.size());
  }
}

// One of three, neither primary nor sender.
class Bystander : public testing::Test {
 protected:
  static unit::CoreConfig config() {
    unit::CoreConfig config = config_for(kB);
    config.view = {1, {kA, kB, kC}, kC};
    config.topology = unit::Topology::kFanout;
    config.tolerance = 2;
    return config;
  }
  bool receive(unit::ReplicaId from, unit::FrameKind kind, const std::vector<uint8_t>& bytes) {
    unit::Frame frame;
    frame.kind = kind;
    frame.epoch = frame.created = 1;
    frame.lsn = 2;
    frame.bytes = bytes;
    return core.on_frame(from, frame);
  }
  std::vector<uint8_t> feed() const {
    const std::vector<uint8_t> turn = one_byte_turn();
    return {turn.begin() + 4, turn.begin() + 4 + kOneByteItemsBytes};
  }
  IdleHost host;
  unit::UnitCore core{config(), &host};
};

TEST_F(Bystander, TakesATurnOnceItsInputIsThere) {
  EXPECT_FALSE(receive(kA, unit::FrameKind::kReferred, one_byte_turn_by_reference()));
  core.flush();
  EXPECT_EQ(host.log_fed, 0u);
  EXPECT_EQ(host.frames, 0);  // it does not say that it has received anything
  EXPECT_TRUE(receive(kC, unit::FrameKind::kInput, feed()));
  EXPECT_EQ(core.status().kept_input_bytes, size_t{kOneByteItemsBytes});
  EXPECT_TRUE(receive(kA, unit::FrameKind::kReferred, one_byte_turn_by_reference()));
  EXPECT_EQ(host.log_fed, one_byte_turn().size());
  EXPECT_EQ(core.status().kept_input_bytes, 0u);
  core.flush();
  EXPECT_EQ(host.frames, 2);  // to sender and primary
  EXPECT_EQ(host.events, "");
}

TEST_F(Bystander, StopsWhenItsInputDiffers) {
  std::vector<uint8_t> other = feed();
  other.back() ^= 1;
  EXPECT_TRUE(receive(kC, unit::FrameKind::kInput, other));
  EXPECT_TRUE(receive(kA, unit::FrameKind::kReferred, one_byte_turn_by_reference()));
  EXPECT_EQ(host.log_fed, 0u);
  EXPECT_EQ(host.stopped, 1);
  EXPECT_EQ(host.events.find("diverged: the input of the turns from log position 0"), 0u)
      << host.events;
}

TEST_F(Bystander, SuspectsWhoFeedsItAndIsNotTheSender) {
  EXPECT_TRUE(receive(kA, unit::FrameKind::kInput, feed()));
  EXPECT_NE(host.events.find("input, not from the sender"), std::string::npos) << host.events;
  EXPECT_EQ(core.status().kept_input_bytes, 0u);
}

}  // namespace
}  // namespace ftrun::sim
