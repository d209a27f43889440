// SPDX-License-Identifier: Apache-2.0
// What comes from another process cannot crash the core: random and damaged frames, logs and output
// entries lead to a report and to a failed replica, never to an assertion.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "supervisor/unit/core.h"
#include "tests/simulation/idle_host.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/random.h"

namespace ftrun::sim {
namespace {

std::vector<uint8_t> random_items(Random* random, bool log) {
  std::vector<uint8_t> out;
  const uint64_t count = random->below(5);
  for (uint64_t i = 0; i < count; ++i) {
    static const uint8_t kData[64] = {};
    uint8_t header[kArrivalHeaderBytesMax];
    Arrival item;
    item.kind = static_cast<ArrivalKind>(random->below(kArrivalKinds));
    item.id = static_cast<uint32_t>(random->below(4));
    item.value = item.kind == ArrivalKind::kSignal ? 1 + random->below(64) : random->sized(300);
    item.length = item.kind == ArrivalKind::kData ? 1 + random->below(sizeof kData) : 0;
    item.data = kData;
    const size_t length = put_arrival_header(header, item);
    out.insert(out.end(), header, header + length);
    out.insert(out.end(), kData, kData + item.length);
  }
  if (!log) {
    return out;
  }
  uint8_t header[kRecordHeaderBytesMax];
  Record record;
  record.kind = RecordKind::kArrivals;
  record.count = count;
  record.length = out.size();
  std::vector<uint8_t> turn(header, header + put_record_header(header, record));
  turn.insert(turn.end(), out.begin(), out.end());
  turn.push_back(static_cast<uint8_t>(RecordKind::kTurnEndIngest));
  return turn;
}

void damage(Random* random, std::vector<uint8_t>* bytes) {
  while (!bytes->empty() && random->one_in(3)) {
    (*bytes)[random->below(bytes->size())] = static_cast<uint8_t>(random->next());
  }
  if (random->one_in(8)) {
    bytes->resize(random->below(bytes->size() + 4));
  }
}

Output random_entry(Random* random) {
  static const uint8_t kData[64] = {};
  Output entry;
  entry.kind = static_cast<OutputKind>(1 + random->below(kOutputKinds - 1));
  entry.id = static_cast<uint32_t>(random->below(4)) | (random->one_in(4) ? kOptionOfSocket : 0);
  entry.value = random->one_in(8) ? random->next() : random->below(100);
  entry.value2 = random->below(10);
  switch (entry.kind) {
    case OutputKind::kWrite:
    case OutputKind::kOption:
    case OutputKind::kConsole:
    case OutputKind::kNotice:
    case OutputKind::kUrgent:
      entry.data = kData;
      entry.length = random->below(sizeof kData);
      break;
    default:
      break;
  }
  return entry;
}

TEST(Robustness, RandomFramesDoNotCrash) {
  for (uint64_t seed = 1; seed <= 4000; ++seed) {
    Random random(seed);
    IdleHost host;
    unit::CoreConfig config = config_for(static_cast<unit::ReplicaId>(random.below(2)));
    if (random.one_in(2)) {
      config.view = {1, {kA, kB, kC}, kC};
      config.self = static_cast<unit::ReplicaId>(random.below(3));
      config.topology = random.one_in(2) ? unit::Topology::kFanout : unit::Topology::kChain;
      config.tolerance = static_cast<unsigned>(random.between(1, 2));
    }
    config.logging = random.one_in(2) ? unit::Logging::kEarly : unit::Logging::kLate;
    unit::UnitCore core(config, &host);
    for (int i = 0; i < 40; ++i) {
      unit::Frame frame;
      frame.kind = static_cast<unit::FrameKind>(random.below(unit::kFrameKindMax + 2));
      frame.epoch = random.one_in(16) ? random.next() : 1;
      frame.number = random.one_in(4) ? random.next() : host.log_fed;
      frame.lsn = random.one_in(4) ? random.next() : static_cast<uint64_t>(i) + 1;
      frame.created = random.one_in(8) ? random.next() : 1;
      frame.trim = random.one_in(4) ? random.next() : frame.number;
      if (random.one_in(16) && host.proposed.epoch != 0) {
        core.on_view(host.proposed);
        core.on_member_gone(host.killed);
      }
      std::vector<uint8_t> bytes =
          random_items(&random, frame.kind == unit::FrameKind::kTurns || random.one_in(4));
      damage(&random, &bytes);
      frame.bytes = bytes;
      (void)core.on_frame(static_cast<unit::ReplicaId>(random.below(3)), frame);
      if (random.one_in(3)) {
        (void)core.on_edge_open(1, Address{}, Address{});
      }
      core.flush();
    }
  }
}

TEST(Robustness, RandomLogsAndOutputOfTheOwnApplicationDoNotCrash) {
  for (uint64_t seed = 1; seed <= 4000; ++seed) {
    Random random(seed);
    IdleHost host;
    const auto self = static_cast<unit::ReplicaId>(random.below(2));
    unit::CoreConfig config = config_for(self);
    config.sender_serves_primary = random.one_in(2);
    unit::UnitCore core(config, &host);
    uint64_t position = 0;
    for (int i = 0; i < 40; ++i) {
      if (self == kB || random.one_in(2)) {
        (void)core.on_edge_open(1, Address{}, Address{});
      }
      for (uint64_t entries = random.below(4); entries > 0; --entries) {
        core.on_app_output(random_entry(&random));
      }
      std::vector<uint8_t> turn = random_items(&random, true);
      damage(&random, &turn);
      position += turn.size();
      if (self == kB && config.sender_serves_primary) {
        core.on_primary_turns(turn, static_cast<uint64_t>(i) + 1, random.below(2));
      } else if (self == kB) {
        unit::Frame frame;
        frame.kind = unit::FrameKind::kTurns;
        frame.epoch = 1;
        frame.number = position - turn.size();
        frame.lsn = static_cast<uint64_t>(i) + 1;
        frame.created = 1;
        frame.digest = random.below(2);
        frame.bytes = turn;
        (void)core.on_frame(kA, frame);
      }
      core.on_app_mark(random.one_in(8) ? random.below(1000) : position,
                       static_cast<uint64_t>(i) + 1, 0);
      if (self == kA && core.status().state == unit::State::kRunning) {
        // The I/O layer hands over turns only behind their mark.
        core.on_app_mark(position + 100000, static_cast<uint64_t>(i) + 1, 0);
        core.on_app_turns(turn, static_cast<uint64_t>(i) + 1, 0);
      }
      core.flush();
    }
  }
}

// --- each kind of damage is reported precisely, and has the right consequence ---

class Secondary : public testing::Test {
 protected:
  bool receive(uint64_t number, uint64_t lsn, const std::vector<uint8_t>& turns,
               uint64_t digest = 0, unit::FrameKind kind = unit::FrameKind::kTurns) {
    unit::Frame frame;
    frame.kind = kind;
    frame.epoch = 1;
    frame.number = number;
    frame.lsn = lsn;
    frame.created = 1;
    frame.digest = digest;
    frame.bytes = turns;
    return core.on_frame(kA, frame);
  }
  IdleHost host;
  unit::UnitCore core{config_for(kB), &host};
};

TEST_F(Secondary, SuspectsAPrimaryWhoseLogDoesNotDecode) {
  receive(0, 1, {0xff, 0xff});
  EXPECT_EQ(host.stopped, 0);
  EXPECT_EQ(host.events.find("protocol: replica a: no valid record 0 bytes after log position 0"),
            0u)
      << host.events;
  EXPECT_EQ(host.proposed, (unit::View{2, {kB}, kB}));
}

TEST_F(Secondary, SuspectsAPrimaryWhoseTurnHasNoEnd) {
  receive(0, 1, {static_cast<uint8_t>(RecordKind::kTime), 5});
  EXPECT_NE(host.events.find("no turn ends within 2 bytes"), std::string::npos) << host.events;
  EXPECT_EQ(host.proposed, (unit::View{2, {kB}, kB}));
}

TEST_F(Secondary, SuspectsAPrimaryWhoseLogHasAGap) {
  receive(7, 1, {static_cast<uint8_t>(RecordKind::kTurnEndIdle)});
  EXPECT_EQ(host.log_fed, 0u);
  EXPECT_NE(host.events.find("from log position 7"), std::string::npos);
  EXPECT_EQ(host.proposed, (unit::View{2, {kB}, kB}));
}

TEST_F(Secondary, SuspectsAPrimaryThatLogsInputThatNeverCame) {
  ASSERT_EQ(core.on_edge_open(1, Address{}, Address{}), 1u);
  receive(0, 2, one_byte_turn());
  EXPECT_NE(host.events.find("input of connection 1 up to 1, of 0 received"), std::string::npos)
      << host.events;
  EXPECT_EQ(host.proposed, (unit::View{2, {kB}, kB}));
}

// The first turn is right, but it came with one that is not: nothing of either was replayed, so
// both replicas do not hold it, and all of it is offered to the survivor.
TEST_F(Secondary, OffersAgainWhatADamagedLogHad) {
  ASSERT_EQ(core.on_edge_open(1, Address{}, Address{}), 1u);
  const std::vector<uint8_t> data = {'x'};
  core.on_edge_data(1, 0, data);
  std::vector<uint8_t> turns = one_byte_turn();
  turns.push_back(0xff);
  receive(0, 3, turns);
  EXPECT_EQ(host.log_fed, 0u);
  EXPECT_EQ(host.released, 0u);
  host.reoffered = 99;
  core.on_view(host.proposed);
  core.on_member_gone(kA);
  EXPECT_GT(host.input_fed, 0u);  // the open
  EXPECT_EQ(host.reoffered, 0u);
}

TEST(ServingSender, ReadsNothingBehindADamagedTurn) {
  IdleHost host;
  unit::CoreConfig config = config_for(kB);
  config.sender_serves_primary = true;
  unit::UnitCore core(config, &host);
  EXPECT_TRUE(core.may_read_primary_log());
  const std::vector<uint8_t> damaged = {0xff, 0xff};
  const std::vector<uint8_t> whole = {static_cast<uint8_t>(RecordKind::kTurnEndIdle)};
  core.on_primary_turns(damaged, 1, 0);
  EXPECT_FALSE(core.may_read_primary_log());
  core.on_primary_turns(whole, 2, 0);
  EXPECT_EQ(host.log_fed, 0u);
  EXPECT_EQ(host.proposed, (unit::View{2, {kB}, kB}));
  EXPECT_EQ(host.stopped, 0);
}

TEST(ServingSender, TakesNoTurnsInFrames) {
  IdleHost host;
  unit::CoreConfig config = config_for(kB);
  config.sender_serves_primary = true;
  unit::UnitCore core(config, &host);
  const std::vector<uint8_t> whole = {static_cast<uint8_t>(RecordKind::kTurnEndIdle)};
  unit::Frame frame;
  frame.kind = unit::FrameKind::kTurns;
  frame.epoch = 1;
  frame.lsn = 1;
  frame.created = 1;
  frame.bytes = whole;
  (void)core.on_frame(kA, frame);
  EXPECT_EQ(host.log_fed, 0u);
  EXPECT_EQ(host.proposed, (unit::View{2, {kB}, kB}));
}

TEST_F(Secondary, KeepsWhatAWholeLogHad) {
  ASSERT_EQ(core.on_edge_open(1, Address{}, Address{}), 1u);
  const std::vector<uint8_t> data = {'x'};
  core.on_edge_data(1, 0, data);
  receive(0, 2, one_byte_turn());
  EXPECT_EQ(host.log_fed, one_byte_turn().size());
  EXPECT_EQ(host.released, 1u);
  core.on_replica_suspected(kA, "dead", unit::Suspicion::kFailed);
  core.on_view(host.proposed);
  core.on_member_gone(kA);
  EXPECT_EQ(host.input_fed, 0u);
  EXPECT_EQ(host.reoffered, 1u);
}

TEST_F(Secondary, StopsWhenItsOutputDiffers) {
  const std::vector<uint8_t> turn = {static_cast<uint8_t>(RecordKind::kTurnEndIdle)};
  receive(0, 1, turn, 5);
  core.on_app_mark(1, 1, 6);
  EXPECT_EQ(host.stopped, 1);
  EXPECT_EQ(host.events.substr(0, 9), "diverged:");
}

TEST_F(Secondary, StopsWhenItsTurnEndsElsewhere) {
  const std::vector<uint8_t> turn(3, static_cast<uint8_t>(RecordKind::kTurnEndIdle));
  receive(0, 3, turn, 5);
  core.on_app_mark(2, 2, 6);  // inside the frame: not compared
  EXPECT_EQ(host.stopped, 0);
  receive(3, 6, turn, 5);
  core.on_app_mark(4, 4, 6);  // the end of the first frame was missed
  EXPECT_EQ(host.stopped, 1);
  EXPECT_NE(host.events.find("ended no turn at log position 3"), std::string::npos) << host.events;
}

TEST_F(Secondary, SuspectsAPrimaryThatRefersToInputThatNeverCame) {
  ASSERT_EQ(core.on_edge_open(1, Address{}, Address{}), 1u);
  EXPECT_TRUE(receive(0, 2, one_byte_turn_by_reference(), 0, unit::FrameKind::kReferred));
  EXPECT_NE(host.events.find("refer to 7 bytes of input, of 0"), std::string::npos) << host.events;
  EXPECT_EQ(host.proposed, (unit::View{2, {kB}, kB}));
}

TEST(Primary, ExcludesASenderThatSendsNonsense) {
  IdleHost host;
  unit::UnitCore core(config_for(kA), &host);
  unit::Frame frame;
  frame.kind = unit::FrameKind::kInput;
  frame.epoch = 1;
  const std::vector<uint8_t> bytes = {7 * 8 + 1, 100, 'x'};
  frame.bytes = bytes;
  (void)core.on_frame(kB, frame);
  EXPECT_EQ(host.input_fed, 0u);
  EXPECT_EQ(host.events.substr(0, 50), "protocol: replica b: input that does not decode\nsu");
  EXPECT_EQ(host.proposed, (unit::View{2, {kA}, kA}));
  EXPECT_EQ(host.killed, unit::kNoReplica);  // not before the view is won
  core.on_view(host.proposed);
  EXPECT_EQ(host.killed, kB);
}

// Else a few clients from the suspect's address would keep all others waiting.
TEST(Quarantine, WhoIsKeptAwayDoesNotCountAgainstTheBacklog) {
  IdleHost host;
  unit::UnitCore core(config_for(kB), &host);
  EXPECT_NE(core.on_edge_open(1, make_address(7000), make_peer(1)), 0u);
  EXPECT_NE(core.on_edge_open(1, make_address(7000), make_peer(1)), 0u);
  EXPECT_NE(core.on_edge_open(1, make_address(7000), make_peer(2)), 0u);
  unit::Frame frame;
  frame.kind = unit::FrameKind::kAppFailed;
  frame.epoch = 1;
  frame.number = 1;
  (void)core.on_frame(kA, frame);
  core.on_view(host.proposed);
  core.on_member_gone(kA);
  EXPECT_NE(core.on_edge_open(1, make_address(7000), make_peer(1)), 0u);
  EXPECT_NE(core.on_edge_open(1, make_address(7000), make_peer(2)), 0u);
  EXPECT_TRUE(host.accepted.empty());  // not while the edge gives them their numbers
  core.flush();
  EXPECT_EQ(host.accepted, (std::vector<ConnectionId>{2, 4}));
}

TEST(Primary, SuspectsAFollowerThatStandsInsideATurn) {
  IdleHost host;
  unit::CoreConfig config = config_for(kA);
  config.view = {1, {kA, kB, kC}, kC};
  unit::UnitCore core(config, &host);
  const std::vector<uint8_t> turns(3, static_cast<uint8_t>(RecordKind::kTurnEndIdle));
  core.on_app_mark(3, 3, 0);
  core.on_app_turns(turns, 3, 0);
  core.on_replica_suspected(kC, "dead", unit::Suspicion::kFailed);
  core.on_view(host.proposed);
  core.on_member_gone(kC);
  unit::Frame frame;
  frame.kind = unit::FrameKind::kPosition;
  frame.epoch = 2;
  frame.number = 2;
  frame.lsn = 2;
  frame.created = 1;
  const uint8_t settled[] = {1, 0, 7, 0, 0};
  frame.bytes = settled;
  EXPECT_TRUE(core.on_frame(kB, frame));
  EXPECT_NE(host.events.find("protocol: replica b: stands at log position 2"), std::string::npos)
      << host.events;
  EXPECT_EQ(host.proposed, (unit::View{3, {kA}, kA}));
}

// A fan-out of two: what the sender holds, its primary holds as well, but not while that gets the
// turns of a dead one from the sender itself.
TEST(Views, ANewPrimaryHoldsNoTurnsBeforeItHasThem) {
  IdleHost host;
  unit::CoreConfig config = config_for(kC);
  config.view = {1, {kA, kB, kC}, kC};
  config.topology = unit::Topology::kFanout;
  config.promotion = unit::Promotion::kDesignated;
  config.tolerance = 2;
  unit::UnitCore core(config, &host);
  ASSERT_EQ(core.on_edge_open(1, Address{}, Address{}), 1u);
  const std::vector<uint8_t> data = {'x'};
  core.on_edge_data(1, 0, data);
  const std::vector<uint8_t> turn = one_byte_turn();
  unit::Frame frame;
  frame.kind = unit::FrameKind::kTurns;
  frame.epoch = frame.created = 1;
  frame.lsn = 2;
  frame.bytes = turn;
  EXPECT_TRUE(core.on_frame(kA, frame));
  core.on_app_mark(turn.size(), 2, 0);
  core.on_replica_suspected(kA, "dead", unit::Suspicion::kFailed);
  core.on_view(host.proposed);
  core.on_member_gone(kA);
  frame = {};
  frame.kind = unit::FrameKind::kPosition;
  frame.epoch = 2;
  const uint8_t settled[] = {1, 0, 7, 0, 0};
  frame.bytes = settled;
  EXPECT_TRUE(core.on_frame(kB, frame));
  core.flush();
  EXPECT_EQ(core.status().primary_id, kB);
  EXPECT_EQ(host.released, 0u);
  frame.kind = unit::FrameKind::kHeld;
  frame.trim = turn.size();
  EXPECT_TRUE(core.on_frame(kB, frame));
  EXPECT_EQ(host.released, 1u);
  EXPECT_EQ(host.events.find("protocol"), std::string::npos) << host.events;
}

TEST(Views, LoserStopsAndKillsNobody) {
  IdleHost host;
  unit::UnitCore core(config_for(kB), &host);
  core.on_replica_suspected(kA, "silent", unit::Suspicion::kSilent);
  core.on_view({2, {kA}, kA});
  EXPECT_EQ(host.killed, unit::kNoReplica);
  EXPECT_EQ(host.stopped, 1);
  EXPECT_EQ(core.status().state, unit::State::kExcluded);
}

TEST(Views, FramesOfAnOlderEpochAreDroppedAndThoseOfANewerOneWait) {
  IdleHost host;
  unit::CoreConfig config = config_for(kB);
  config.view.epoch = 2;
  unit::UnitCore core(config, &host);
  unit::Frame frame;
  frame.kind = unit::FrameKind::kTurns;
  frame.epoch = 1;
  EXPECT_TRUE(core.on_frame(kA, frame));
  frame.epoch = 3;
  EXPECT_FALSE(core.on_frame(kA, frame));
  EXPECT_EQ(host.events, "");
}

// The first record of one_byte_turn(), fed ahead of it.
unit::Frame part_of(const std::vector<uint8_t>& turn) {
  unit::Frame frame;
  frame.kind = unit::FrameKind::kPart;
  frame.epoch = 1;
  frame.bytes = unit::Bytes(turn).first(turn.size() - 1);
  return frame;
}

TEST(Parts, ATurnThatIsNotWhatWasReplayedOfItIsADivergence) {
  for (const bool differs : {false, true}) {
    IdleHost host;
    unit::CoreConfig config = config_for(kB);
    config.view = {1, {kA, kB, kC}, kC};
    config.input = unit::Input::kLog;
    config.logging = unit::Logging::kEarly;
    unit::UnitCore core(config, &host);
    std::vector<uint8_t> turn = one_byte_turn();
    const std::vector<uint8_t> fed = turn;
    EXPECT_TRUE(core.on_frame(kA, part_of(fed)));
    EXPECT_EQ(host.ahead.size(), fed.size() - 1);
    EXPECT_EQ(host.log_fed, 0u);
    EXPECT_EQ(core.status().received, 0u) << "a part counts for nothing";
    turn[turn.size() - 2] = differs ? 'y' : 'x';
    unit::Frame frame;
    frame.kind = unit::FrameKind::kTurns;
    frame.epoch = frame.created = 1;
    frame.lsn = 2;
    frame.bytes = turn;
    EXPECT_TRUE(core.on_frame(kA, frame));
    EXPECT_EQ(host.stopped, differs ? 1 : 0) << host.events;
    EXPECT_EQ(host.log_fed, differs ? 0u : turn.size());
  }
}

TEST(Parts, OneWithATurnsEndOrNoRecordsIsItsSendersFailure) {
  for (const bool ends : {false, true}) {
    IdleHost host;
    unit::CoreConfig config = config_for(kB);
    config.logging = unit::Logging::kEarly;
    unit::UnitCore core(config, &host);
    const std::vector<uint8_t> turn = one_byte_turn();
    unit::Frame frame = part_of(turn);
    frame.bytes = ends ? unit::Bytes(turn) : unit::Bytes(turn).first(3);
    EXPECT_TRUE(core.on_frame(kA, frame));
    EXPECT_NE(host.events.find("suspect: replica a: a part of a turn"), std::string::npos);
    EXPECT_TRUE(host.ahead.empty());
  }
}

TEST(Parts, OneOfAnotherTurnOrBehindAGapIsDropped) {
  IdleHost host;
  unit::CoreConfig config = config_for(kB);
  config.logging = unit::Logging::kEarly;
  unit::UnitCore core(config, &host);
  const std::vector<uint8_t> turn = one_byte_turn();
  unit::Frame frame = part_of(turn);
  frame.lsn = 1;
  EXPECT_TRUE(core.on_frame(kA, frame));
  frame.lsn = 0;
  frame.number = 1;
  EXPECT_TRUE(core.on_frame(kA, frame));
  EXPECT_TRUE(host.ahead.empty());
  EXPECT_EQ(host.events, "");
}

}  // namespace
}  // namespace ftrun::sim
