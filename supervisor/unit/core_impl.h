// SPDX-License-Identifier: Apache-2.0
// The state of the unit core, shared by the files that implement it:
//   core.cc         events and frames: who may say what when
//   core_output.cc  output entries: pending, released to the edge or to the resend queues
//   core_input.cc   arrivals: from the edge, from the link, to the application
//   core_log.cc     logged turns: what of the arrivals is held, and may be forgotten outside
//   core_view.cc    failures, views, promotion, takeover, the end
//   core_quarantine.cc  the request of death: what is kept from the survivor
// Runs in the supervisor's one thread; pure (see core.h).
#pragma once

#include <string>
#include <vector>

#include "supervisor/unit/connections.h"
#include "supervisor/unit/core.h"
#include "supervisor/unit/fifo.h"
#include "supervisor/unit/pending_output.h"
#include "supervisor/unit/signal_sequences.h"

namespace ftrun::unit {

struct UnitCore::Impl {
  Impl(const CoreConfig& config, Host* host);

  // --- who is who (core.cc) ---
  bool is_primary() const { return primary_; }
  bool is_sender() const { return sender_; }
  bool live() const { return primary_ && mark_position_ >= replicated_end_; }
  bool alone() const { return view_.replicas.size() == 1; }
  bool working() const { return state_ == State::kRunning || state_ == State::kTakingOver; }
  bool mutated(Mutation mutation) const { return config_.mutation == mutation; }
  // Another replica is the primary, as far as we know.
  bool has_primary() const { return state_ == State::kRunning && primary_id() != config_.self; }
  ReplicaId primary_id() const { return view_.replicas.front(); }
  bool trails() const { return config_.sender_serves_primary && primary_ && !sender_; }
  bool serves_primary() const {
    return config_.sender_serves_primary && sender_ && !primary_ && has_primary();
  }
  void send(ReplicaId to, FrameKind kind, uint64_t number, uint64_t lsn, uint64_t digest,
            Bytes bytes);
  void send_to_others(FrameKind kind, uint64_t number, Bytes bytes);
  void event(std::string_view kind, const std::string& text) { host_->event(kind, text); }
  void on_frame(ReplicaId from, const Frame& frame);
  // A peer says what it must not say: it is treated as failed.
  void protocol_error(ReplicaId from, const std::string& text);
  void note_progress(uint64_t replayed, uint64_t lsn, ReplicaId from);
  void flush();
  Status status() const;

  // --- output (core_output.cc) ---
  void on_app_output(const Output& entry);
  void on_app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest);
  void check_pending();
  bool check_mark(uint64_t log_position, uint64_t digest);
  void on_app_turns(Bytes turns, uint64_t lsn_end, uint64_t digest);
  void release_up_to(uint64_t log_position);
  void apply(const Output& entry);
  void apply_to_connection(const Output& entry);
  void apply_to_socket(const Output& entry);
  Socket* add_socket(uint32_t id);
  void write(Connection& connection, Bytes data);
  void close_at_edge(const Connection& connection, Ending ending);
  void write_urgent(Connection& connection, Bytes data);
  void option(const Output& entry);

  // --- input (core_input.cc) ---
  ConnectionId on_edge_open(uint32_t listener, const Address& local, const Address& peer);
  void on_edge_data(ConnectionId id, uint64_t position, Bytes data);
  void on_edge_urgent(ConnectionId id, uint64_t position, uint8_t byte);
  void on_edge_fin(ConnectionId id);
  void on_edge_reset(ConnectionId id, int error);
  void on_edge_sent(ConnectionId id, uint64_t position);
  void on_edge_closed(ConnectionId id);
  void on_edge_bound(uint32_t socket, int error, const Address& address);
  void note_answer(Socket& socket, int error, const Address& address);
  void on_signal(uint32_t sequence, int number);
  void on_input_frame(ReplicaId from, const Frame& frame);
  void on_signal_frame(ReplicaId from, const Frame& frame);
  void on_fed_input(Bytes arrivals);
  // Takes note of one relayed item; returns false with `*problem` when it cannot be true. `*feed`
  // says whether the application is to see it.
  bool accept_relayed(const Arrival& item, bool* feed, std::string* problem);
  bool accept_bound(const Arrival& item, bool* feed, std::string* problem);
  bool accept_open(const Arrival& item, std::string* problem);
  bool accept_credit(Connection& connection, uint64_t position, std::string* problem);
  bool accept_data(Connection& connection, size_t length, std::string* problem);
  bool accept_signal(const Arrival& item, std::string* problem);
  void on_closed_frame(ReplicaId from, ConnectionId id);
  // Puts an item into the batch that flush() hands to the primary.
  void put(const Arrival& item);
  void put(ArrivalKind kind, uint32_t id, uint64_t value = 0);
  void put_open(const Connection& connection);
  void deliver();
  void mark_sent(Connection& connection);
  void pass_fin(Connection& connection);
  void pass_credit(Connection& connection);
  // The application may be waiting for room, or soon will (DESIGN section 3, arrivals).
  static bool wants_credit(const Connection& connection) {
    return connection.released - connection.credited > kSendWindowBytes / 2 &&
           connection.written > connection.credited;
  }

  // --- the log (core_log.cc) ---
  void on_turns_frame(ReplicaId from, const Frame& frame);
  void on_primary_turns(Bytes turns, uint64_t lsn_end, uint64_t digest);
  void replay_turns(Bytes turns, uint64_t lsn_end, uint64_t digest);
  bool may_read_primary_log() const;
  // Decodes the turn at the start of `log` and takes note of the arrivals in it. The length of the
  // turn, or 0 with `*problem`: the log is not valid.
  size_t note_turn(Bytes log, std::string* problem);
  std::string note_logged_items(const Record& record);
  std::string note_logged_item(const Arrival& item);
  std::string note_logged_open(const Arrival& item);
  void settle_noted();
  void release_held_input();

  // --- failures (core_view.cc) ---
  void on_replica_suspected(ReplicaId replica, std::string_view why);
  void on_view(const View& view);
  void on_replica_gone(ReplicaId replica);
  void promote();
  void reoffer(Connection& connection);
  void reoffer_answers();
  void feed_signals(bool again);
  void on_edge_adopted(const std::vector<AdoptedConnection>& connections,
                       const std::vector<AdoptedListener>& listeners);
  void adopt_connection(const AdoptedConnection& adopted);
  void adopt_known(Connection& connection, const AdoptedConnection& adopted);
  void resend(Connection& connection, const AdoptedConnection& adopted);
  void adopt_missing();
  void adopt_listeners(const std::vector<AdoptedListener>& listeners);
  void restore_socket(Socket& socket, const AdoptedListener* adopted);
  // The own application can go on no more: stops it and reports it, as on_app_failed().
  void fail_application(std::string_view kind, const std::string& why);
  void on_app_failed(std::string_view why, int status, ConnectionId suspect);
  void on_app_exited(int status);
  void begin_end();
  void finish_if_done();
  void finish(int status);
  void exclude();

  // --- the request of death (core_quarantine.cc) ---
  // Takes the suspect's connection out of what a promotion offers again.
  void quarantine_suspect();
  bool is_quarantined(const Address& peer) const;
  void hold(Connection& connection);
  void flush_held();
  void on_quarantine_over();

  Socket* find_socket(uint32_t id);

  const CoreConfig config_;
  Host* const host_;
  View view_;
  View proposal_;  // epoch 0: none
  State state_ = State::kRunning;
  bool primary_ = false;
  bool sender_ = false;
  bool adopted_ = false;          // on_edge_adopted() was called for this takeover
  ReplicaId dying_ = kNoReplica;  // being killed after a won view
  bool dying_was_sender_ = false;
  bool dying_was_primary_ = false;

  ConnectionId suspect_ = 0;             // whose input has crashed the dying primary; 0: nobody's
  Address quarantined_;                  // where it came from; length 0: nowhere
  std::vector<ConnectionId> held_anew_;  // of which the edge is to be told by flush()

  ConnectionTable connections_;
  std::vector<Socket> sockets_;
  uint32_t socket_id_max_ = 0;
  ConnectionId next_id_ = 1;  // above every id ever seen

  // Arrivals on their way to the primary, or, in the primary, to its application.
  std::vector<uint8_t> arrivals_;
  std::vector<uint32_t> sent_list_;  // slots of connections with progress in `written`
  std::vector<uint32_t> held_list_;  // slots of connections with progress in `logged`
  struct Signal {
    uint32_t sequence;
    int number;
    bool fed;  // passed on to the primary
  };
  std::vector<Signal> pending_signals_;  // not seen in a logged turn yet
  SignalSequences signals_seen_;         // told, fed or logged
  // An arrival found in turns that are being noted, and what its connection was before.
  struct Noted {
    ArrivalKind kind;
    uint32_t id;
    uint64_t logged;
    uint64_t credited;
    bool open_logged;
    bool fin_logged;
    bool reset_logged;
  };
  std::vector<Noted> noted_;
  bool log_broken_ = false;          // secondary: the primary's log cannot be followed any further
  uint64_t logged_input_bytes_ = 0;  // of arrivals, in the turns so far

  PendingOutput pending_;
  struct FrameEnd {
    uint64_t log_position;
    uint64_t digest;
    uint64_t lsn;
  };
  Fifo<FrameEnd> frame_ends_;  // secondary: received, not replayed
  uint64_t log_end_ = 0;       // end of the log as published (primary) or received (secondary)
  uint64_t log_end_lsn_ = 0;
  uint64_t mark_position_ = 0;  // last mark of the own application
  uint64_t mark_lsn_ = 0;
  uint64_t replicated_end_ = 0;          // secondary, promoted: end of the log that was not our own
  uint64_t reported_position_ = 0;       // secondary: progress as last told to the primary
  uint64_t peer_replayed_position_ = 0;  // primary: progress as last told by the secondary

  bool exit_issued_ = false;    // the application's exit entry was seen
  bool exit_released_ = false;  // and may be acted upon
  bool app_ended_ = false;      // its process is gone (or was stopped)
  bool app_failed_ = false;     // gone, but not by an exit entry
  bool ending_ = false;         // sender: closing everything
  bool unit_exited_ = false;    // the sender says that all output is out,
  int unit_status_ = 0;         // and with which status its application has ended
  int app_status_ = 0;
};

}  // namespace ftrun::unit
