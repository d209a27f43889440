// SPDX-License-Identifier: Apache-2.0
// The other supervisors of the unit: hello, links, heartbeats, and pidfds by which their death is
// seen and (for an excluded one) brought about. Runs in the supervisor's event loop; meet() blocks,
// before the loop starts. All on one host for now: links are inherited (founding.h), and processes
// that a peer names must belong to the unit's user.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "supervisor/link/link.h"
#include "supervisor/members/founding.h"
#include "supervisor/members/liveness.h"
#include "supervisor/process/launch.h"

namespace ftrun::link {

using process::Descriptor;

inline constexpr int kHeartbeatIntervalMs = 25;
inline constexpr int kMeetDeadlineMs = 10'000;

struct Peer {
  unit::ReplicaId replica = unit::kNoReplica;
  Link link;
  Hello hello;
  Descriptor supervisor, keeper, init;  // pidfds
  Silence silence;
  uint64_t cpu_ns = 0;      // of its supervisor, when
  int64_t cpu_read_ns = 0;  // its silence became noticeable
  bool suspected = false;   // for good
  bool ended = false;       // its supervisor has: what it had sent before is read first
  bool silent = false;      // for too long, so far
  bool waits = false;       // its next frame has to wait until something else has happened
};

class Peers {
 public:
  // Exchanges hellos on all links. Returns when every hello was right, or fails by the deadline.
  Result<void> meet(std::vector<Inherited::Link> links, const Hello& self);

  Peer* find(unit::ReplicaId replica);
  std::vector<Peer>& all() { return peers_; }

  // To be called once per kHeartbeatIntervalMs. Sends a heartbeat on every link and returns the
  // replicas that have been silent for `time_out_ms`, still, and are not starved of CPU. A tick
  // that comes late itself (this process was stopped, or the machine was) suspects nobody and
  // starts every time-out anew, a bounded number of times (liveness.h).
  std::vector<unit::ReplicaId> tick(int64_t now_ns, int time_out_ms, uint64_t epoch);
  // One heartbeat now: whoever gets it looks around.
  static void beat(Peer* peer, uint64_t epoch);
  static void heard(Peer* peer, int64_t now_ns) { peer->silence.heard(now_ns); }
  // Whether a tick at `now_ns` is late.
  bool late(int64_t now_ns) const {
    return now_ns - last_tick_ns_ > int64_t{2} * kHeartbeatIntervalMs * 1'000'000;
  }
  // When the next tick is due: earlier than by the interval if a peer's time-out ends before.
  int64_t next_tick_ns(int64_t now_ns, int time_out_ms) const;

  // A peer has another keeper: takes the new hello, which must be the old one otherwise.
  static Result<void> renew(Peer* peer, const Hello& hello);

 private:
  Result<void> greet(Inherited::Link link, const Hello& self);
  Result<void> hear_hello(Peer* peer, const Hello& self, int64_t deadline_ns);
  bool hung(Peer* peer, int64_t now_ns, int64_t time_out_ns) const;

  std::vector<Peer> peers_;
  int64_t last_tick_ns_ = 0;
  uint64_t ticks_ = 0;
};

int64_t monotonic_ns();

}  // namespace ftrun::link
