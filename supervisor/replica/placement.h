// SPDX-License-Identifier: Apache-2.0
// Where the sender's supervisor runs when cores are few and its sockets are most of the work: on
// the core on which its clients' packets come in (for clients on the same host, that is theirs).
// What the kernel does for a socket then stays in one cache, replies wake a client without an
// interrupt to another core, and the applications have the rest of the machine.
//
// That holds for a supervisor that spins, which lets its clients go first; one that sleeps would
// interrupt them at every request, and keeps away from them.
//
// The process is moved, not pinned: the scheduler goes on with it as it likes. With a core for each
// process, or large requests, it knows best and is left alone.
#pragma once

#include <cstdint>

#include "supervisor/edge/edge.h"

namespace ftrun {

class Placement {
 public:
  // `replicas`: how many applications share this host's cores with the supervisor.
  explicit Placement(unsigned replicas) : replicas_(replicas) {}
  // Whether the time has come to look where packets come in.
  bool is_due(int64_t now_ns) const { return now_ns >= next_ns_; }
  // Moves the calling thread to the core of its clients' packets, or away from it. Call when due,
  // with the traffic since the last call.
  void choose(const edge::Edge::Traffic& traffic, bool together, int64_t now_ns);

 private:
  unsigned replicas_;
  int64_t next_ns_ = 0;
};

}  // namespace ftrun
