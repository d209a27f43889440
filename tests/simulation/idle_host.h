// SPDX-License-Identifier: Apache-2.0
// What tests of single cores share: a host that does nothing, and the smallest turn with input.
// Test program only.
#pragma once

#include <string>
#include <vector>

#include "supervisor/unit/core.h"
#include "supervisor/unit/references.h"

namespace ftrun::sim {

// Does nothing, and remembers what it was told.
class IdleHost : public unit::Host {
 public:
  void send(unit::ReplicaId, const unit::Frame&) override { ++frames; }
  void propose_view(const unit::View& view) override { proposed = view; }
  void read_view() override {}
  void fence(unit::ReplicaId member) override { killed = member; }
  void bury(unit::ReplicaId) override {}
  void feed_primary(unit::Bytes) override {}
  void feed_input(unit::Bytes arrivals) override { input_fed += arrivals.size(); }
  unit::Bytes fed_input() override { return {}; }
  void feed_log(unit::Bytes turns) override {
    log_fed += turns.size();
    ahead.clear();
  }
  void feed_part(unit::Bytes records, uint64_t) override {
    ahead.insert(ahead.end(), records.begin(), records.end());
  }
  unit::Bytes fed_ahead() const override { return ahead; }
  void want_point(uint64_t) override {}
  void go_live() override {}
  void step_down() override {}
  void stay() override {}
  void stop_application(std::string_view) override { ++stopped; }
  void edge_take_over(const std::vector<unit::ReplicaId>&) override { ++takeovers; }
  std::vector<unit::Unwritten> edge_let_go() override { return {}; }
  void edge_forget() override {}
  void edge_bind(uint32_t, uint32_t, const Address&) override {}
  void edge_listen(uint32_t, int) override {}
  void edge_accepted(ConnectionId connection) override { accepted.push_back(connection); }
  void edge_unlisten(uint32_t) override {}
  void edge_option(uint32_t, int, int, unit::Bytes) override {}
  void edge_write(ConnectionId, uint64_t, unit::Bytes) override {}
  void edge_urgent(ConnectionId, uint64_t) override {}
  void edge_shutdown(ConnectionId) override {}
  void edge_close(ConnectionId, uint64_t, unit::Ending) override {}
  void edge_release_input(ConnectionId, uint64_t position) override { released = position; }
  void edge_reoffer_input(ConnectionId, uint64_t position) override { reoffered = position; }
  void edge_input_limit(ConnectionId, uint64_t) override {}
  void edge_adopt(uint64_t, ConnectionId) override {}
  void edge_discard(uint64_t) override {}
  void edge_quarantine(ConnectionId, uint64_t) override {}
  void console(int, unit::Bytes) override {}
  void event(std::string_view kind, std::string_view text) override {
    events += std::string(kind) + ": " + std::string(text) + "\n";
  }
  void finished(int) override {}

  int frames = 0;
  int stopped = 0;
  int takeovers = 0;
  uint64_t log_fed = 0;
  uint64_t input_fed = 0;
  uint64_t released = 0;
  uint64_t reoffered = 0;
  std::vector<ConnectionId> accepted;
  unit::ReplicaId killed = unit::kNoReplica;
  unit::View proposed;
  std::string events;
  std::vector<uint8_t> ahead;
};

inline constexpr unit::ReplicaId kA = 0;
inline constexpr unit::ReplicaId kB = 1;
inline constexpr unit::ReplicaId kC = 2;

inline unit::CoreConfig config_for(unit::ReplicaId self) {
  unit::CoreConfig config;
  config.self = self;
  config.view = {1, {kA, kB}, kB};
  return config;
}

// One byte of data for connection 1, which was opened without listener or addresses; and its turn.
inline constexpr uint8_t kOneByteItemsBytes = 7;
inline std::vector<uint8_t> one_byte_turn() {
  return {static_cast<uint8_t>(RecordKind::kArrivals),
          0,
          2,
          kOneByteItemsBytes,
          1 * 8 + 0,
          0,
          0,
          0,
          1 * 8 + 1,
          1,
          'x',
          static_cast<uint8_t>(RecordKind::kTurnEndIdle)};
}

// The turn of one_byte_turn(), whose input is elsewhere.
inline std::vector<uint8_t> one_byte_turn_by_reference() {
  const std::vector<uint8_t> turn = one_byte_turn();
  std::vector<uint8_t> payload;
  unit::refer(turn, 0, kOneByteItemsBytes, &payload);
  return payload;
}

}  // namespace ftrun::sim
