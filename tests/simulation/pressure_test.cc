// SPDX-License-Identifier: Apache-2.0
// What a member that is slow, and an application that puts out more than may leave, do to the
// reading of the application's rings: it stops where others have to go on, and only there.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/simulation/idle_host.h"

namespace ftrun::sim {
namespace {

constexpr size_t kWaitingMax = 1000;
constexpr uint64_t kDigest = 7;

// The sender of three, each of which must hold a turn before its output leaves.
class Pressure : public testing::Test {
 protected:
  static unit::CoreConfig config() {
    unit::CoreConfig config = config_for(kC);
    config.view = {1, {kA, kB, kC}, kC};
    config.topology = unit::Topology::kFanout;
    config.tolerance = 2;
    config.input = unit::Input::kLog;
    config.waiting_output_bytes_max = kWaitingMax;
    return config;
  }
  void receive(unit::ReplicaId from, unit::Frame frame) {
    frame.epoch = 1;
    EXPECT_TRUE(core.on_frame(from, frame));
  }
  // The turn of what the edge has read.
  void receive_turn() {
    const uint8_t byte = 'x';
    ASSERT_EQ(core.on_edge_open(0, {}, {}), 1u);
    core.on_edge_data(1, 0, {&byte, 1});
    core.flush();
    EXPECT_EQ(core.status().unlogged_input_bytes, size_t{kOneByteItemsBytes});
    unit::Frame frame;
    frame.kind = unit::FrameKind::kTurns;
    frame.lsn = 2;
    frame.created = 1;
    frame.digest = kDigest;
    frame.bytes = turn;
    receive(kA, frame);
    EXPECT_EQ(core.status().unlogged_input_bytes, 0u);
  }
  void receive_held(unit::ReplicaId from, uint64_t replayed, uint64_t received) {
    unit::Frame frame;
    frame.kind = unit::FrameKind::kHeld;
    frame.number = replayed;
    frame.trim = received;
    receive(from, frame);
  }
  void put_out(size_t bytes) {
    const std::string text(bytes, 'x');
    Output entry;
    entry.kind = OutputKind::kConsole;
    entry.id = 1;
    entry.data = reinterpret_cast<const uint8_t*>(text.data());
    entry.length = text.size();
    core.on_app_output(entry);
  }
  void end_turn() { core.on_app_mark(turn.size(), 2, kDigest); }

  const std::vector<uint8_t> turn = one_byte_turn();
  IdleHost host;
  unit::UnitCore core{config(), &host};
};

TEST_F(Pressure, OutputThatOthersDoNotHoldStopsTheReading) {
  receive_turn();
  put_out(2 * kWaitingMax);
  EXPECT_TRUE(core.may_read_app_log());  // its turn's end is still to be read
  end_turn();
  EXPECT_FALSE(core.may_read_app_log());
  EXPECT_GT(core.waiting_output_bytes(), kWaitingMax);
  receive_held(kB, 0, turn.size());
  EXPECT_TRUE(core.may_read_app_log());
  EXPECT_EQ(core.status().pending_output_bytes, 0u);
  EXPECT_EQ(host.stopped, 0);
}

TEST_F(Pressure, ALittleThatWaitsDoesNot) {
  receive_turn();
  put_out(kWaitingMax / 2);
  end_turn();
  EXPECT_TRUE(core.may_read_app_log());
  EXPECT_GT(core.waiting_output_bytes(), kWaitingMax / 2);
}

TEST_F(Pressure, TheReadingGoesOnWhenWhoeverWasSlowHasLeft) {
  receive_turn();
  put_out(2 * kWaitingMax);
  end_turn();
  ASSERT_FALSE(core.may_read_app_log());
  core.on_view({2, {kA, kC}, kC});
  EXPECT_TRUE(core.may_read_app_log());
}

TEST_F(Pressure, ATurnThatNeverEndsStopsTheApplication) {
  receive_turn();
  size_t bytes = 0;
  for (; bytes < unit::kPendingOutputBytesMax / 2; bytes += kOutputDataBytesMax) {
    put_out(kOutputDataBytesMax);
  }
  EXPECT_EQ(host.stopped, 0);
  for (; bytes < unit::kPendingOutputBytesMax; bytes += kOutputDataBytesMax) {
    put_out(kOutputDataBytesMax);
  }
  EXPECT_EQ(host.stopped, 1);
  EXPECT_NE(host.events.find("unfinished turns"), std::string::npos) << host.events;
}

// The follower of the sender, where it lags: it holds what it is not fed yet.
class Standby : public Pressure {
 protected:
  Standby() : standby_core(standby_config(), &standby_host) {}
  static unit::CoreConfig standby_config() {
    unit::CoreConfig config = Pressure::config();
    config.self = kB;
    config.standby_lags = true;
    return config;
  }
  IdleHost standby_host;
  unit::UnitCore standby_core;
};

TEST_F(Standby, IsFedWhatTheSenderHasReplayed) {
  unit::Frame turns;
  turns.kind = unit::FrameKind::kTurns;
  turns.epoch = turns.created = 1;
  turns.lsn = 2;
  turns.bytes = turn;
  EXPECT_TRUE(standby_core.on_frame(kA, turns));
  EXPECT_EQ(standby_core.status().received, turn.size());
  EXPECT_EQ(standby_host.log_fed, 0u);
  standby_core.flush();
  EXPECT_EQ(standby_host.frames, 2);  // that it holds the turn, to sender and primary
  unit::Frame held;
  held.kind = unit::FrameKind::kHeld;
  held.epoch = 1;
  held.number = held.trim = turn.size();
  EXPECT_TRUE(standby_core.on_frame(kC, held));
  EXPECT_EQ(standby_host.log_fed, turn.size());
  EXPECT_EQ(standby_host.events, "");
}

}  // namespace
}  // namespace ftrun::sim
