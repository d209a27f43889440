// SPDX-License-Identifier: Apache-2.0
// The unit core: the replication protocol as a pure state machine. Events go in through the on_*
// functions, actions come out through Host. No sockets, clocks, threads, files or randomness: the
// supervisor carries actions out, the simulator (tests/simulation) does so with seeds and faults.
// Same events in the same order give the same actions.
//
// Vocabulary and rules: ARCHITECTURE.md; DESIGN sections 5 to 7; claims 1, 2, 14, 18, 21, 25, 26.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eventlog/arrivals.h"
#include "eventlog/limits.h"
#include "eventlog/output.h"
#include "eventlog/records.h"

namespace ftrun::unit {

using ReplicaId = uint8_t;  // 0 is printed as "a"
inline constexpr ReplicaId kNoReplica = 255;
using Bytes = std::span<const uint8_t>;

// Log that the primary may be ahead of what its secondary's application has replayed.
inline constexpr uint64_t kLogRunAheadBytesMax = 8 << 20;
// A secondary reports how far it has replayed at least this often (in bytes of log).
inline constexpr uint64_t kProgressReportBytes = 256 << 10;
// The sender reports a connection's written output to the primary at least this often, and at once
// when the primary's application may be waiting for room. Small, for it is what a resend queue may
// keep beyond need; not zero, for every report costs both supervisors.
inline constexpr uint64_t kCreditReportBytes = 4 << 10;
// Output of turns that may not be released yet, over all connections.
inline constexpr size_t kPendingOutputBytesMax = 64 << 20;
// Arrivals collected between two calls of flush(); flush() is forced beyond it.
inline constexpr size_t kArrivalBatchBytes = 256 << 10;
// Operator signals waiting to stand in a logged turn.
inline constexpr size_t kPendingSignalsMax = 64;
inline constexpr uint64_t kSignalMax = 64;
// Distinct socket options remembered for one listener until it is made anew.
inline constexpr size_t kSocketOptionsMax = 32;
// Sockets that an application may have bound, or set options of, at one time.
inline constexpr size_t kSocketsMax = 4096;

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
  kHeartbeat = 2,  // number = tick (link layer; the core ignores it)
  kTurns = 3,      // whole turns of the log: number = log position of the first byte, lsn = records
                   // up to the end, digest = running digest of the output up to the end, bytes
  kInput = 4,      // encoded arrivals from the edge to the primary (credit and bound included);
                   // number, lsn = log that the application of this frame's sender has replayed
  kClosed = 5,     // number = connection: the edge has closed it; its output queue can go
  kAppFailed = 6,  // bytes = why: the sender of this frame has lost its application; number = the
                   // suspect connection, 0 if none (only from the primary)
  kHeld = 7,       // number, lsn = log that the application of this frame's sender has replayed
  kExited = 8,     // number = status: the unit's application has exited and all its output is out
  kSignal = 9,     // to the sender: number = sequence, lsn = number of an operator's signal
};
struct Frame {
  FrameKind kind = FrameKind::kHeartbeat;
  uint64_t epoch = 0;
  uint64_t number = 0;
  uint64_t lsn = 0;
  uint64_t digest = 0;
  Bytes bytes;  // borrowed
};

// How a connection ends for its peer: see Host::edge_close().
enum class Ending : uint8_t {
  kAsRead,  // with a FIN, if all input was read
  kReset,
};

// What the core asks of the world. Calls come from inside on_* and flush(); an implementation must
// not call back into the core from them (queue the event and deliver it later).
class Host {
 public:
  virtual ~Host() = default;

  // --- the other replicas ---
  virtual void send(ReplicaId to, const Frame& frame) = 0;
  // Publish `view` (link(2)); answered by on_view() with the view that is now current.
  virtual void propose_view(const View& view) = 0;
  // Kill an excluded replica's processes and wait; answered by on_replica_gone(). When
  // `take_connections`, its sockets are taken and offered through on_edge_adopted() before that.
  virtual void kill_replica(ReplicaId replica, bool take_connections) = 0;

  // Whole encoded items, into the input ring of the primary's application. Only where
  // CoreConfig::sender_serves_primary; kInput frames carry them elsewhere.
  virtual void feed_primary(Bytes arrivals) = 0;

  // --- the own application ---
  // Whole encoded items, for a live application or one that is told to go live right after.
  virtual void feed_input(Bytes arrivals) = 0;
  virtual void feed_log(Bytes turns) = 0;  // whole turns; only while secondary
  virtual void go_live() = 0;              // become primary at the end of the fed log
  // Kill it. `why`: what it did wrong (then on_app_failed() with the same text is already the
  // core's own conclusion); empty when this replica was excluded.
  virtual void stop_application(std::string_view why) = 0;

  // --- the edge (only while sender) ---
  virtual void edge_bind(uint32_t socket, uint32_t flags, const Address& address) = 0;
  // Answered by on_edge_bound(), as edge_bind() is.
  virtual void edge_listen(uint32_t socket, int backlog) = 0;
  // The application has accepted the connection: it counts against its listener's backlog no more.
  virtual void edge_accepted(ConnectionId connection) = 0;
  virtual void edge_unlisten(uint32_t socket) = 0;
  // `id` is a connection, or a socket | kOptionOfSocket.
  virtual void edge_option(uint32_t id, int level, int name, Bytes value) = 0;
  // Output of a connection from `position` on; the edge writes what the kernel takes and reports
  // on_edge_sent(). The core offers each byte once and never has more than kSendWindowBytes unsent.
  virtual void edge_write(ConnectionId connection, uint64_t position, Bytes data) = 0;
  // The output byte at `position` is TCP urgent data; said before the edge_write() that has it.
  virtual void edge_urgent(ConnectionId connection, uint64_t position) = 0;
  virtual void edge_shutdown(ConnectionId connection) = 0;  // after all output offered before
  // After all output offered before: close, then on_edge_closed(). The peer sees what a bare
  // server's kernel shows it: a reset, at once and without what is still unsent, where input beyond
  // `consumed` has come, whether that was dropped or not; else a FIN; a reset in any case for
  // Ending::kReset. Every connection of the edge ends in this way, reset ones included; no other
  // event of it may follow on_edge_closed().
  virtual void edge_close(ConnectionId connection, uint64_t consumed, Ending ending) = 0;
  // Input up to `position` is held by f + 1 replicas: the kernel may forget it (ack-out). Holds for
  // good, also beyond what the edge has read so far and through edge_reoffer_input().
  virtual void edge_release_input(ConnectionId connection, uint64_t position) = 0;
  // Read on from `position` (a promotion or takeover): what was reported beyond it is forgotten.
  // Data comes again through on_edge_data(). A FIN may be reported again but need not be.
  virtual void edge_reoffer_input(ConnectionId connection, uint64_t position) = 0;
  // Window: input up to `position` may be reported by on_edge_data(); the edge stops reading there.
  // It starts at kReceiveWindowBytes, and only grows.
  virtual void edge_input_limit(ConnectionId connection, uint64_t position) = 0;
  // The adopted socket named `handle` is this connection from now on; edge_reoffer_input(),
  // edge_input_limit() and the output that is still to be written follow in the same event.
  virtual void edge_adopt(uint64_t handle, ConnectionId connection) = 0;
  virtual void edge_discard(uint64_t handle) = 0;  // reset the adopted socket: it cannot go on
  // `connection` is suspected of having crashed the primary with its input up to `position`: report
  // it. It is closed soon: wait for the peer to get what was written, then reset it. Answered by
  // on_quarantine_over() when its address has been kept away for long enough.
  virtual void edge_quarantine(ConnectionId connection, uint64_t position) = 0;

  // --- the operator ---
  virtual void console(int stream, Bytes data) = 0;  // stdout or stderr of this replica
  virtual void event(std::string_view kind, std::string_view text) = 0;
  // The end of this replica: the application has exited and all its output is out, or the unit is
  // lost (an event says so). Called once; nothing is asked of the host afterwards.
  virtual void finished(int status) = 0;
};

// A connection found on a dead sender's supervisor (or one accepted just before it died).
struct AdoptedConnection {
  ConnectionId id = 0;          // 0: accepted, but on_edge_open() had not returned an id yet
  uint64_t handle = 0;          // names the socket until Host::edge_adopt() gives it an id
  uint64_t input_dropped = 0;   // input bytes already dropped from the kernel
  uint64_t output_written = 0;  // output bytes that the kernel has taken, without a FIN
  bool output_shut = false;     // our FIN is out
  uint32_t listener = 0;        // socket id of the listener that accepted it
  Address local, peer;
};

// A bound or listening socket found there; the edge knows it by its socket id already.
struct AdoptedListener {
  uint32_t socket = 0;
  Address address;  // as getsockname
  bool listening = false;
  // A lock: what it was asked for last may not have been carried out, and may be asked for again.
  bool ask_again = false;
};

// Bugs that tests plant in the core to show that the simulator finds them. Production uses none.
enum class Mutation : uint8_t {
  kNone = 0,
  kForgetOpens,             // do not offer unlogged opens again after a promotion
  kForgetData,              // nor unlogged data
  kForgetFins,              // nor unlogged FINs
  kForgetResets,            // nor unlogged resets
  kForgetSignals,           // nor unlogged signals
  kDropLateSignals,         // take a signal for a repetition when a later one was heard of
  kForgetBound,             // nor unlogged answers to bind and listen
  kBoundAfterOpens,         // offer these after the connections that came of them
  kBoundAfterAdopted,       // nor tell of a listen whose sender died before its connections
  kForgetBacklog,           // do not tell a new edge how many clients may wait
  kForgetAccepted,          // nor the edge which of them the application has accepted
  kForgetAcceptedBefore,    // nor a new edge
  kReleaseOutputUnchecked,  // write output before its turn is known to be held and equal
  kIgnoreDigest,            // do not compare digests
  kReleaseInputUnlogged,    // let the kernel forget input as soon as it was relayed
  kNeverTrim,               // keep all output in the resend queue
  kResendFromStart,         // resend from the start of the queue, not from what is written
  kDropUnknownAdopted,      // forget connections that were accepted just before the sender died
  kForgetMissing,           // do not reset connections that vanished with the dead sender
  kNoCredit,                // never tell the application that its output was written
  kCreditTooMuch,           // credit what was released instead of what was written
  kForgetUrgent,            // resend urgent output as if it were ordinary
  kForgetQuarantine,        // offer the suspect's input to the survivor like all other
  kForgetLateInput,         // do not count input that comes after the application's close
  kCloseAsLogged,           // close as if the application had read all that it was given
  kTrustAdoptedLock,        // take an adopted lock for what was asked for last
};

struct CoreConfig {
  ReplicaId self = 0;
  View view;                                                // the first view
  uint64_t log_run_ahead_bytes_max = kLogRunAheadBytesMax;  // REQUIRES: more than the next
  uint64_t progress_report_bytes = kProgressReportBytes;    // REQUIRES: equal in all replicas
  // The sender's supervisor serves the rings of the first primary's application itself: arrivals
  // and turns do not travel as frames, and the primary's core is told of both when its supervisor
  // gets to it. The same in all replicas.
  bool sender_serves_primary = false;
  Mutation mutation = Mutation::kNone;
};

enum class State : uint8_t {
  kRunning = 0,
  kTakingOver = 1,  // a view without another replica was won, that one is being killed
  kAppFailed = 2,   // the own application is lost; waits to be excluded
  kExcluded = 3,    // another view was published without this replica: the supervisor is to exit
  kFinished = 4,
};

struct Status {
  View view;
  bool primary = false;
  bool sender = false;
  bool live = false;  // primary, or promoted and past the end of the logged turns
  State state = State::kRunning;
  uint64_t lsn = 0;          // primary: records published; secondary: records replayed
  uint64_t lag_records = 0;  // received but not replayed; 0 in a live replica
  size_t connections = 0;
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
  // While false, the I/O layer leaves turns in the log ring and output in the output ring (the
  // secondary is too far behind). Always true for a secondary, for a replica that is alone, and
  // for one that trails.
  bool may_read_app_log() const;
  // Another supervisor serves the own application's rings. True in a primary until it takes over
  // from the sender, if sender_serves_primary.
  bool trails() const;
  // While it trails: bytes of arrivals in the turns so far.
  uint64_t logged_input_bytes() const;
  // It trails no more: the sender's supervisor is gone. What that had fed beyond
  // logged_input_bytes(), once; then on_edge_adopted(). REQUIRES: all published turns were told.
  void on_fed_input(Bytes arrivals);
  // The process is gone and its rings are drained. Exited: it ended by itself after a kExit entry.
  // Failed: everything else (killed, stopped, refused, diverged); status as a shell has it.
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
  void on_edge_fin(ConnectionId connection);
  void on_edge_reset(ConnectionId connection, int error);
  // The kernel has taken output up to `position`.
  void on_edge_sent(ConnectionId connection, uint64_t position);
  void on_edge_closed(ConnectionId connection);
  void on_edge_bound(uint32_t socket, int error, const Address& address);
  // Exactly once between kill_replica(take_connections) and on_replica_gone(), even if empty.
  void on_edge_adopted(const std::vector<AdoptedConnection>& connections,
                       const std::vector<AdoptedListener>& listeners);

  // --- the primary's application, where the sender serves it ---
  // Whole turns as published, without gaps; see on_app_turns(). Not while !may_read_primary_log().
  void on_primary_turns(Bytes turns, uint64_t lsn_end, uint64_t digest);
  // False also when there is no primary to read from (any more).
  bool may_read_primary_log() const;

  // --- the unit ---
  void on_frame(ReplicaId from, const Frame& frame);
  // Dead by pidfd, silent for too long, or its link broke; the I/O layer judges.
  void on_replica_suspected(ReplicaId replica, std::string_view why);
  // The view that is current now: the answer to propose_view(), or a newer one was seen.
  void on_view(const View& view);
  void on_replica_gone(ReplicaId replica);
  // The suspect's address has been kept away for long enough: see Host::edge_quarantine().
  void on_quarantine_over();
  // An operator signal; every supervisor gets it, `sequence` (from 1) is the
  // signal's own in the unit; they may come a little out of order (SignalSequences).
  void on_signal(uint32_t sequence, int number);

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
