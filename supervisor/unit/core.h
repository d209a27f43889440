// SPDX-License-Identifier: Apache-2.0
// The unit core: the replication protocol as a pure state machine. Events go in through the on_*
// functions, actions come out through Host. No sockets, clocks, threads, files or randomness: the
// supervisor carries actions out, the simulator (tests/simulation) does so with seeds and faults.
// Same events in the same order give the same actions.
//
// Vocabulary and rules: ARCHITECTURE.md; DESIGN sections 5 to 7; claims 1, 2, 14, 18, 21, 25, 26.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eventlog/arrivals.h"
#include "eventlog/output.h"
#include "eventlog/records.h"

namespace ftrun::unit {

using ReplicaId = uint8_t;  // 0 is printed as "a"
inline constexpr ReplicaId kNoReplica = 255;
using Bytes = std::span<const uint8_t>;

// Who is in the unit. Changed only by publishing the next epoch (supervisor/arbiter).
struct View {
  uint64_t epoch = 0;
  std::vector<ReplicaId> replicas;  // ordered; the first is the primary
  ReplicaId sender = kNoReplica;
  bool operator==(const View&) const = default;
};

// What supervisors say to each other. Encoded by supervisor/link/frame.h; every frame carries the
// epoch of its sender's view, and frames of another epoch are dropped.
enum class FrameKind : uint8_t {
  kHello = 1,      // version, unit name, replica (link layer; the core never sees it)
  kHeartbeat = 2,  // number = tick
  kTurns = 3,      // whole turns of the log: number = log position of the first byte,
                   // lsn = records up to the end, digest over the output of these turns, bytes
  kInput = 4,      // encoded arrivals from the edge to the primary (credit and bound included)
  kClosed = 5,     // number = connection: the edge has closed it; its output queue can go
  kAppFailed = 6,  // bytes = why: the sender of this frame has lost its application
  kHeld = 7,       // lsn held by this replica (acknowledgement; needed for f >= 2 only)
  kExited = 8,     // number = status: this replica's application has exited by itself
};
struct Frame {
  FrameKind kind = FrameKind::kHeartbeat;
  uint64_t epoch = 0;
  uint64_t number = 0;
  uint64_t lsn = 0;
  uint64_t digest = 0;
  Bytes bytes;  // borrowed
};

// What the core asks of the world. Calls come from inside on_*; an implementation must not call back.
class Host {
 public:
  virtual ~Host() = default;

  // --- the other replicas ---
  virtual void send(ReplicaId to, const Frame& frame) = 0;
  // Publish `view` (link(2)); answered by on_view() with the view that is now current.
  virtual void propose_view(const View& view) = 0;
  // Kill an excluded replica's processes and wait; answered by on_replica_gone(). When
  // `take_connections`, its sockets are taken first and offered through on_edge_adopted().
  virtual void kill_replica(ReplicaId replica, bool take_connections) = 0;

  // --- the own application ---
  virtual void feed_input(Bytes arrivals) = 0;  // whole encoded items; only while primary
  virtual void feed_log(Bytes turns) = 0;       // whole turns; only while secondary
  virtual void go_live() = 0;                   // become primary at the end of the fed log
  virtual void stop_application() = 0;          // kill it (diverged, or the unit stops)

  // --- the edge (only while sender) ---
  virtual void edge_bind(uint32_t socket, uint32_t flags, const Address& address) = 0;
  virtual void edge_listen(uint32_t socket, int backlog) = 0;
  virtual void edge_unlisten(uint32_t socket) = 0;
  virtual void edge_option(uint32_t id, int level, int name, Bytes value) = 0;
  // Output of a connection from `position` on; the edge writes what the kernel takes and reports
  // on_edge_sent(). The core offers each byte once and never more than kEdgeQueueBytesMax unsent.
  virtual void edge_write(ConnectionId connection, uint64_t position, Bytes data) = 0;
  virtual void edge_shutdown(ConnectionId connection) = 0;  // after all output offered before
  // After all output offered before: drop input up to `consumed` from the kernel, then close.
  virtual void edge_close(ConnectionId connection, uint64_t consumed) = 0;
  // Input up to `position` is held by f + 1 replicas: the kernel may forget it (ack-out).
  virtual void edge_release_input(ConnectionId connection, uint64_t position) = 0;
  // Read on from `position` (a promotion or takeover): what was reported beyond it is forgotten.
  virtual void edge_reoffer_input(ConnectionId connection, uint64_t position) = 0;
  // Window: input up to `position` may be reported by on_edge_data(); the edge stops reading there.
  virtual void edge_input_limit(ConnectionId connection, uint64_t position) = 0;

  // --- the operator ---
  virtual void console(int stream, Bytes data) = 0;  // stdout or stderr of this replica
  virtual void event(std::string_view kind, std::string_view text) = 0;
  virtual void finished(int status) = 0;  // the application exited and all its output is out
};

// A connection found on a dead sender's supervisor (or one accepted just before it died).
struct AdoptedConnection {
  ConnectionId id = 0;        // 0: unknown to this core; the core gives it an id
  uint64_t handle = 0;        // names the socket for Host::edge_* until the core has given an id
  uint64_t input_dropped = 0;   // input bytes already dropped from the kernel
  uint64_t output_written = 0;  // output bytes that the kernel has taken, without a FIN
  bool output_shut = false;     // our FIN is out
  uint32_t listener = 0;
  Address local, peer;
};

struct CoreConfig {
  ReplicaId self = 0;
  View view;  // the first view
};

// REQUIRES: one thread. Buffers passed in are only borrowed for the call.
class UnitCore;

}  // namespace ftrun::unit
