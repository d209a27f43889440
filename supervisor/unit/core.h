// SPDX-License-Identifier: Apache-2.0
// The unit core: the replication protocol as a pure state machine. Events go in through the on_*
// functions, actions come out through the ports (ports.h). No sockets, clocks, threads, files or
// randomness: the supervisor carries actions out, the simulator (tests/simulation) does so with
// seeds and faults. Same events in the same order give the same actions.
//
// Objects, each the only owner of its fields: View (view.h), Exchange (exchange.h), Routes
// (routes.h), Log (log.h), Streams (streams.h), Outbox (outbox.h), Signals (signals.h). The
// protocol with drawings: docs/protocol.md. Claims 1 to 14, 18, 21, 25, 26.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "eventlog/arrivals.h"
#include "eventlog/limits.h"
#include "eventlog/output.h"
#include "eventlog/records.h"
#include "supervisor/unit/frames.h"
#include "supervisor/unit/limits.h"
#include "supervisor/unit/mutation.h"
#include "supervisor/unit/ports.h"
#include "supervisor/unit/routes.h"
#include "supervisor/unit/view.h"

namespace ftrun::unit {

// Where members get the input from that stands in the log.
enum class Input : uint8_t {
  kReference,  // from the sender, all of them; turns that travel refer to it (claim 4)
  kLog,        // the primary from the sender, the others from its turns (claims 2, 3)
};

// When secondaries get what the primary logs.
enum class Logging : uint8_t {
  kLate,   // whole turns (claim 2)
  kEarly,  // pieces of a turn as they are made, ahead of it (claim 3)
};

struct CoreConfig {
  ReplicaId self = 0;
  View view;  // the first view, the same in all members; its first is the primary
  Topology topology = Topology::kChain;
  Promotion promotion = Promotion::kMostAdvanced;
  // Members that may die, at once or before the unit has settled the death of others, and nothing
  // is lost: output leaves, and input is let go, when tolerance + 1 members hold the turn. Fewer
  // members are left: all of them.
  unsigned tolerance = 1;
  uint64_t log_run_ahead_bytes_max = kLogRunAheadBytesMax;  // REQUIRES: more than the next
  uint64_t progress_report_bytes = kProgressReportBytes;    // REQUIRES: equal in all replicas
  // The sender's supervisor serves the rings of the first primary's application itself: arrivals
  // and turns do not travel as frames, and the primary's core is told of both when its supervisor
  // gets to it. The same in all replicas. REQUIRES: at most two of them.
  bool sender_serves_primary = false;
  // In a fan-out, whoever is to follow the sender replays a turn only when the sender's replica
  // has. So it is never ahead of what clients have seen, and what ends the sender's application is
  // not replayed beside it. The same in all replicas. REQUIRES: not with early logging.
  bool standby_lags = false;
  Input input = Input::kReference;  // the same in all replicas; without effect on shared rings
  size_t input_store_bytes_max = kInputStoreBytesMax;
  Logging logging = Logging::kLate;  // the same in all replicas
  size_t waiting_output_bytes_max = kWaitingOutputBytesMax;
  Mutation mutation = Mutation::kNone;
};

// A piece of a turn that has not ended.
struct Part {
  uint64_t offset = 0;  // in the turn, of the first byte
  Bytes records;        // whole ones, without the turn's end; may be empty
  uint64_t points = 0;  // with them, the log has all records up to this point
};

enum class State : uint8_t {
  kRunning = 0,
  kTakingOver = 1,  // a new view: those who left are being killed, positions exchanged, roles taken
  kAppFailed = 2,   // the own application is lost; waits to be excluded
  kExcluded = 3,    // another view was published without this replica: the supervisor is to exit
  kFinished = 4,
};

enum class Suspicion : uint8_t {
  kSilent,  // may prove wrong: it is forgotten when another view is won meanwhile
  kFailed,  // for good
};

struct Status {
  View view;
  ReplicaId primary_id = kNoReplica;  // kNoReplica: not settled yet
  bool primary = false;
  bool sender = false;
  bool live = false;  // primary, or promoted and past the end of the logged turns
  State state = State::kRunning;
  uint64_t lsn = 0;          // primary: records published; secondary: records replayed
  uint64_t lag_records = 0;  // received but not replayed; 0 in a live replica
  uint64_t received = 0;     // log positions
  uint64_t replayed = 0;
  uint64_t kept_bytes = 0;         // of the log, for others
  ReplicaId slowest = kNoReplica;  // primary: who is furthest behind, and by how much
  uint64_t slowest_lag_bytes = 0;
  bool suspects = false;  // somebody, who has not been removed yet
  size_t connections = 0;
  uint64_t kept_input_bytes = 0;      // of the sender's feed, that no turn here has yet
  uint64_t unlogged_input_bytes = 0;  // sender: what it has fed, or is about to, and no turn has
  uint64_t pending_output_bytes = 0;  // of the own application, that has not left
  // Since the start: payload of turns and of input sent to others, and input in the log.
  uint64_t turn_bytes_sent = 0;
  uint64_t input_bytes_sent = 0;
  uint64_t input_bytes_logged = 0;
  int end_signal = 0;  // an operator's SIGTERM, SIGINT or SIGQUIT that no logged turn has yet
};

// REQUIRES: one thread. Buffers passed in are only borrowed for the call. The I/O layer calls
// flush() at the end of each iteration of its loop.
class UnitCore {
 public:
  UnitCore(const CoreConfig& config, Host* host);
  ~UnitCore();
  UnitCore(const UnitCore&) = delete;
  UnitCore& operator=(const UnitCore&) = delete;

  // --- the own application ---
  // Entries of the output ring in order, all but marks.
  void on_app_output(const Output& entry);
  // A mark: the log position and record count of the turn's end (both counted from the start of
  // the log, also after a promotion) and the running digest of all ring bytes up to and including
  // this mark.
  void on_app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest);
  // Primary only: whole turns as published. REQUIRES: on_app_mark() was called for the end of these
  // turns before; `lsn_end` and `digest` are that mark's. Not called while !may_read_app_log().
  void on_app_turns(Bytes turns, uint64_t lsn_end, uint64_t digest);
  // Early logging. Primary: of the turn that follows those that on_app_turns() has told. Any may be
  // left out. What the application was fed of that turn before it went live counts in its offset.
  void on_app_part(const Part& part);
  // Secondary: the application waits to hear that the primary has passed this point.
  void on_app_waits(uint64_t point);
  // While false, the I/O layer leaves turns in the log ring and output in the output ring, and the
  // application waits once they are full: a secondary is too far behind, or too much output waits
  // until enough members hold its turns. Always true for a replica that is alone, and for one that
  // trails.
  bool may_read_app_log() const;
  // Of output that is not read on, what there is of it: never above waiting_output_bytes_max by
  // more than one reading. 0: none waits for other members.
  size_t waiting_output_bytes() const;
  // Another supervisor serves the own application's rings. True in a primary until it asks for
  // fed_input(), if sender_serves_primary.
  bool trails() const;
  // Bytes of arrivals in the turns of the own application that it took from its input.
  uint64_t logged_input_bytes() const;
  // The process is gone and its rings are drained: those of one that was killed as far as they may
  // be read. Exited: it ended by itself after a kExit entry. Failed: everything else (killed,
  // stopped, refused, diverged); status as a shell has it. Told before others are suspected.
  // `suspect`: the connection whose input crashed it, as far as is known; 0 if none. REQUIRES: 0
  // unless the crashed application was live.
  void on_app_exited(int status);
  void on_app_failed(std::string_view why, int status, ConnectionId suspect = 0);

  // --- the edge ---
  // A connection was accepted; the result names it from now on (tag the socket at once).
  [[nodiscard]] ConnectionId on_edge_open(uint32_t listener, const Address& local,
                                          const Address& peer);
  // Input, in order: `position` is that of the first byte.
  void on_edge_data(ConnectionId connection, uint64_t position, Bytes data);
  // The input byte at `position` is urgent; said before the data that has it.
  void on_edge_urgent(ConnectionId connection, uint64_t position, uint8_t byte);
  // While false, the I/O layer reads no input: the primary has to log first what it was fed.
  bool may_read_input() const;
  void on_edge_fin(ConnectionId connection);
  void on_edge_reset(ConnectionId connection, int error);
  // The kernel has taken output up to `position`.
  void on_edge_sent(ConnectionId connection, uint64_t position);
  void on_edge_closed(ConnectionId connection);
  void on_edge_bound(uint32_t socket, int error, const Address& address);
  // The answer to edge_take_over(), even if empty.
  void on_edge_adopted(const std::vector<AdoptedConnection>& connections,
                       const std::vector<AdoptedListener>& listeners);

  // --- the primary's application, where the sender serves it ---
  // Whole turns as published, without gaps; see on_app_turns(). Not while !may_read_primary_log().
  void on_primary_turns(Bytes turns, uint64_t lsn_end, uint64_t digest);
  void on_primary_part(const Part& part);  // see on_app_part()
  // False also when there is no primary to read from (any more).
  bool may_read_primary_log() const;

  // --- the unit ---
  // False: not yet. The I/O layer keeps the frame and all that follows on this link, and comes
  // again after other events.
  [[nodiscard]] bool on_frame(ReplicaId from, const Frame& frame);
  // Dead by pidfd, silent for too long, or its link broke; the I/O layer judges. Told again as long
  // as it is so.
  void on_replica_suspected(ReplicaId replica, std::string_view why, Suspicion suspicion);
  // One that was silent speaks again.
  void on_replica_heard(ReplicaId replica);
  // The view that is current now: an answer, or a newer one was seen.
  void on_view(const View& view);
  void on_member_gone(ReplicaId member);
  // Now and then: what could not be done before is tried again.
  void on_tick();
  // The suspect's address has been kept away for long enough: see EdgePort::edge_quarantine().
  void on_quarantine_over();
  // An operator signal; every supervisor gets it, `sequence` (from 1) is the
  // signal's own in the unit; they may come a little out of order (SignalSequences).
  void on_signal(uint32_t sequence, int number);
  // The operator wants another member to be the sender. Why that cannot be now, or an empty text: a
  // view is proposed. REQUIRES of the caller: to be asked where the sender is.
  [[nodiscard]] std::string on_hand_over(ReplicaId to);
  // The same for the primary's part; the application is asked first: ApplicationPort::step_down().
  // REQUIRES of the caller: to be asked where the primary is.
  [[nodiscard]] std::string on_hand_over_primary(ReplicaId to);
  // The answer to step_down(). Done: the application only follows from now on, and all that it had
  // published was handed over before. Else it is the primary still, as if nobody had asked.
  void on_stepped_down(bool done);

  // Sends what was collected (relayed arrivals, credit, progress).
  void flush();

  Status status() const;
  State state() const;
  bool live() const;  // as in Status
  // Bytes in the fullest resend queue; never above kSendWindowBytes. Walks all connections.
  size_t resend_bytes_max() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ftrun::unit
