// SPDX-License-Identifier: Apache-2.0
// The other supervisors of the unit: finding them, hello, links, heartbeats, and pidfds by which
// their death is seen and (for an excluded one) brought about. Runs in the supervisor's event loop;
// connect_all() blocks, before the loop starts. All on one host for now: link.<id> in the run
// directory names the loopback port of each.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "supervisor/link/link.h"
#include "supervisor/liveness.h"
#include "supervisor/process/launch.h"
#include "supervisor/run_dir.h"

namespace ftrun::link {

using process::Descriptor;

inline constexpr int kHeartbeatIntervalMs = 25;
inline constexpr int kConnectDeadlineMs = 10'000;

struct Peer {
  unit::ReplicaId replica = unit::kNoReplica;
  Link link;
  Hello hello;
  Descriptor supervisor, keeper, init;  // pidfds
  Silence silence;
  uint64_t cpu_ns = 0;      // of its supervisor, when
  int64_t cpu_read_ns = 0;  // its silence became noticeable
  bool suspected = false;
};

class Peers {
 public:
  // Announces this supervisor and meets `count` - 1 others: the higher id connects to the lower.
  // Returns when every link is up and every hello was right, or fails by the deadline.
  Result<void> connect_all(const RunDir& run_dir, const Hello& self, unsigned count);

  Peer* find(unit::ReplicaId replica);
  std::vector<Peer>& all() { return peers_; }

  // To be called once per kHeartbeatIntervalMs. Sends a heartbeat on every link and returns the
  // replicas that have been silent for `time_out_ms` and are not starved of CPU. A tick that comes
  // late itself (this process was stopped, or the machine was) suspects nobody and starts every
  // time-out anew, a bounded number of times (liveness.h).
  std::vector<unit::ReplicaId> tick(int64_t now_ns, int time_out_ms, uint64_t epoch);
  // One heartbeat now: whoever gets it looks around.
  static void beat(Peer* peer, uint64_t epoch);
  void heard(Peer* peer, int64_t now_ns) { peer->silence.heard(now_ns); }
  // Whether a tick at `now_ns` is late.
  bool late(int64_t now_ns) const {
    return now_ns - last_tick_ns_ > int64_t{2} * kHeartbeatIntervalMs * 1'000'000;
  }
  // When the next tick is due: earlier than by the interval if a peer's time-out ends before.
  int64_t next_tick_ns(int64_t now_ns, int time_out_ms) const;

  // A peer's processes have changed (a new keeper): takes the new hello.
  static Result<void> renew(Peer* peer, const Hello& hello);

 private:
  Result<void> greet(int fd, const Hello& self, int64_t deadline_ns);
  Result<void> connect_to(const RunDir& run_dir, unit::ReplicaId replica, const Hello& self,
                          int64_t deadline_ns);
  bool hung(Peer* peer, int64_t now_ns, int64_t time_out_ns) const;
  Result<void> accept_peer(int listener, const Hello& self, int64_t deadline_ns);

  std::vector<Peer> peers_;
  int64_t last_tick_ns_ = 0;
  uint64_t ticks_ = 0;
};

int64_t monotonic_ns();

}  // namespace ftrun::link
