// SPDX-License-Identifier: Apache-2.0
// The unit core's objects and what stands between them, shared by the files that implement it:
//   core.cc            events and frames: who may say what when
//   core_log.cc        turns: made here or received, checked, fed, passed on
//   core_progress.cc   turns acknowledged, and forgotten
//   core_early.cc      parts of turns that have not ended
//   core_standby.cc    the standby sender that lags
//   core_change.cc     failures and views: fence, exchange, restart, takeover, promotion
//   core_hand_over.cc  what the operator changes
//   core_end.cc        the end of the own application, and of the unit
// Runs in the supervisor's one thread; pure (see core.h).
#pragma once

#include <array>
#include <string>
#include <vector>

#include "supervisor/unit/arrival_batch.h"
#include "supervisor/unit/core.h"
#include "supervisor/unit/exchange.h"
#include "supervisor/unit/input_store.h"
#include "supervisor/unit/log.h"
#include "supervisor/unit/outbox.h"
#include "supervisor/unit/references.h"
#include "supervisor/unit/routes.h"
#include "supervisor/unit/signals.h"
#include "supervisor/unit/streams.h"

namespace ftrun::unit {

// The unit's status when more members died than it tolerates.
inline constexpr int kLostStatus = 1;

struct UnitCore::Impl {
  Impl(const CoreConfig& config, Host* host);

  // --- who is who (core.cc) ---
  const View& view() const { return routes_.view; }
  bool is_primary() const { return routes_.primary == config_.self; }
  bool is_sender() const { return view().sender == config_.self; }  // by the view; see has_edge()
  bool is_live() const { return live_ && outbox_.marked() >= live_from_; }
  bool alone() const { return view().replicas.size() == 1; }
  bool working() const { return state_ == State::kRunning || state_ == State::kTakingOver; }
  bool mutated(Mutation mutation) const { return config_.mutation == mutation; }
  bool trails() const { return config_.sender_serves_primary && live_ && !serves_itself_; }
  bool serves_primary() const {
    return config_.sender_serves_primary && streams_.has_edge() && !is_primary() && settled_;
  }
  // What an application that has stepped down is not fed is offered again.
  bool may_feed_input() const {
    return !app_ended_ && (!stepped_down_ || mutated(Mutation::kFeedStepped));
  }
  void send(ReplicaId to, Frame frame);
  void send_to_others(const Frame& frame);
  void event(std::string_view kind, const std::string& text) { host_->event(kind, text); }
  // A peer says what it must not say: it is treated as failed.
  void protocol_error(ReplicaId from, const std::string& text);
  bool on_frame(ReplicaId from, const Frame& frame);
  bool may_heed(ReplicaId from, const Frame& frame, bool* later);
  bool takes_old(const Frame& frame) const;
  bool must_wait(const Frame& frame);
  void heed(ReplicaId from, const Frame& frame);
  void on_signal(uint32_t sequence, int number);
  void on_signal_frame(ReplicaId from, const Frame& frame);
  void on_closed_frame(ReplicaId from, const Frame& frame);
  void flush();
  void deliver();
  void feed_others(const Frame& frame);
  void deliver_if_large();
  Status status() const;

  // --- turns (core_log.cc) ---
  void on_app_output(const Output& entry);
  void on_app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest);
  void check_pending();
  void on_app_turns(Bytes turns, uint64_t lsn, uint64_t digest);
  void on_turns_frame(ReplicaId from, const Frame& frame);
  bool expand(ReplicaId from, Turns* turns);
  void replay_turns(ReplicaId from, const Turns& turns);
  // Decodes the turn at the start of `log` and takes note of the arrivals in it. The length of the
  // turn, or 0 with `*problem`: the log is not valid.
  size_t note_turn(Bytes log, std::string* problem);
  std::string note_arrivals(const Record& record);
  void release();
  bool apply(const Output& entry);
  uint64_t held() const;
  // Turns that travel in this epoch refer to what its sender has fed. One that is the primary feeds
  // nobody else: its turns have the input.
  bool refers() const {
    return config_.input == Input::kReference && !config_.sender_serves_primary && settled_ &&
           view().sender != routes_.primary;
  }
  size_t kept_input_bytes() const {
    return input_.size() + (refers() ? arrivals_.bytes().size() : 0);
  }
  bool lacks_input(const Frame& frame);
  uint64_t received() const { return std::max(log_.end(), incomplete_end_); }
  Bytes as_referred(Bytes turns, uint64_t input_bytes);
  void feed_followers(const Turns& fresh);
  void send_turns(ReplicaId to, const Turns& turns);
  void on_input_frame(ReplicaId from, const Frame& frame);
  void on_held_frame(ReplicaId from, const Frame& frame);
  bool note_progress(ReplicaId from, const Frame& frame);
  void report_progress();
  void fill_held(Frame* frame) const;
  void fill_progress(Frame* frame);
  void trim();
  bool is_standby() const;
  void feed_app(Bytes turns);
  void feed_lagging();
  void tell_standby();
  bool may_read_app_log() const;
  bool may_read_primary_log() const;
  size_t waiting_output_bytes() const;
  uint64_t unlogged_input_bytes() const { return unlogged_input_ + arrivals_.bytes().size(); }
  void note_logged_input(uint64_t bytes) { unlogged_input_ -= std::min(unlogged_input_, bytes); }

  // --- parts of turns (core_early.cc) ---
  bool logs_early() const { return config_.logging == Logging::kEarly; }
  void on_app_part(const Part& part);
  void pass_part_on(uint64_t turn, const Part& part);
  void note_points_told(uint64_t points);
  uint64_t next_wanted_point() const;
  void on_wanted_frame(ReplicaId from, const Frame& frame);
  void on_app_waits(uint64_t point);
  void on_part_frame(ReplicaId from, const Frame& frame);
  bool take_part(ReplicaId from, const Part& part);
  bool goes_on_with(Bytes turns) const;
  std::vector<uint8_t> unlogged_input();
  std::vector<uint8_t> ahead_input() const;
  void donate_part();
  bool is_whole() const;

  // --- failures (core_change.cc) ---
  void on_replica_suspected(ReplicaId replica, std::string_view why, Suspicion suspicion);
  bool may_propose() const;
  void propose();
  void on_view(const View& next);
  void begin_change(const View& old);
  void on_member_gone(ReplicaId member);
  void tell_position();
  void on_position_frame(ReplicaId from, const Frame& frame);
  void settle();
  bool is_lost();
  void follow(const Settlement& settlement);
  // What is still to be done in this change, and can be done now.
  void go_on();
  bool restart();
  bool take_over();
  void on_edge_adopted(const std::vector<AdoptedConnection>& connections,
                       const std::vector<AdoptedListener>& listeners);
  void begin_feeding();
  bool promote();
  void finish_change();
  void exclude();
  void lose(const std::string& why);

  // --- planned changes (core_hand_over.cc) ---
  std::string on_hand_over(ReplicaId to);
  std::string on_hand_over_primary(ReplicaId to);
  void on_stepped_down(bool done);

  // --- the end (core_end.cc) ---
  // The own application can go on no more: stops it and reports it, as on_app_failed().
  void fail_application(std::string_view kind, const std::string& why);
  void on_app_failed(std::string_view why, int status, ConnectionId suspect);
  void on_app_exited(int status);
  void begin_end();
  void finish_if_done();
  void finish(int status);

  const CoreConfig config_;
  Host* const host_;
  State state_ = State::kRunning;

  Routes routes_;  // the view; its primary is kNoReplica until it is settled
  Exchange exchange_;
  ArrivalBatch arrivals_;
  Signals signals_;
  Streams streams_;
  Log log_;
  Outbox outbox_;

  // --- proposals ---
  ReplicaId last_primary_;  // as far as is known
  struct Suspect {
    ReplicaId member;
    Suspicion suspicion;
  };
  std::vector<Suspect> suspects_;  // to be removed, and not removed yet
  bool proposed_ = false;          // and not answered
  bool reading_view_ = false;

  // --- the change of view that is under way ---
  struct Left {
    ReplicaId member;
    bool gone;    // fenced
    bool buried;  // its sockets, if it had any, are ours
  };
  std::vector<Left> left_;      // all who ever left
  Settled settled_last_;        // the last exchange that was complete here
  bool settled_ = true;         // this one's is
  bool position_told_ = false;  // to the others, in this view
  Settlement settlement_;
  std::array<std::vector<uint8_t>, kMembersMax> fed_;  // arrivals beyond the log, as each has told
  ConnectionId suspect_ = 0;  // whose input has crashed the primary, as was heard
  bool restart_due_ = false;  // the sender: it has to come to the settlement's end first
  bool takeover_due_ = false;
  bool takeover_asked_ = false;
  bool let_go_ = false;  // of sockets that the next sender has not taken yet, as far as is known
  bool takeover_answered_ = false;
  std::vector<AdoptedConnection> adopted_connections_;
  std::vector<AdoptedListener> adopted_listeners_;
  uint64_t unlogged_input_ = 0;  // the sender: fed to the primary, and in no turn
  bool feeding_ = true;          // the sender: what the edge reports reaches the primary
  bool feeding_begun_ = true;    // the sender: a first batch was sent in this view
  bool feeding_heard_ = false;   // the primary: that batch has come
  bool promotion_due_ = false;

  // --- a planned change of primary ---
  ReplicaId successor_ = kNoReplica;  // to be proposed, and settled
  bool stepping_down_ = false;        // the application is asked, and has not answered
  bool stepped_down_ = false;         // it has, and no exchange has found a living primary since

  // --- the primary's part ---
  bool live_ = false;           // the own application makes the log
  uint64_t live_from_ = 0;      // log that it replayed before
  bool serves_itself_ = false;  // nobody else serves the rings of the own application (any more)
  uint64_t logged_input_bytes_ = 0;  // of arrivals, in the turns so far
  uint64_t older_input_bytes_ = 0;   // fed before this epoch, and in no turn yet
  uint64_t ahead_input_bytes_ = 0;  // in what it was fed of its first own turn, until that is noted

  // --- early logging ---
  uint64_t points_ = 0;                                // the last that the application was told of
  std::array<uint64_t, kMembersMax> points_wanted_{};  // the primary: by others; 0: none

  // --- the log's way ---
  struct Follower {
    ReplicaId member;
    uint64_t cursor;  // turns from here on have not been sent to it
  };
  std::vector<Follower> followers_;
  ReplicaId followed_ = kNoReplica;  // whose turns are taken
  ReplicaId donor_ = kNoReplica;     // whose turns are taken until the own log is whole
  bool log_broken_ = false;          // the log cannot be followed any further
  uint64_t trimmed_by_all_ = 0;      // as told by the primary
  uint64_t reported_replayed_ = 0;
  uint64_t reported_received_ = 0;
  uint64_t receipted_ = 0;               // log whose receipt the sender was told of
  Fifo<uint8_t> lagging_;                // turns that the own application is not fed yet,
  Fifo<uint64_t> lagging_ends_;          // and their batches' ends in the log
  uint64_t sender_replayed_ = 0;         // as told to the standby in this epoch
  uint64_t standby_told_ = 0;            // the sender: what it has told
  InputStore input_;                     // where turns refer to input: of this epoch's sender
  uint64_t referred_from_ = UINT64_MAX;  // where the first turns begin that do so in this epoch
  uint64_t incomplete_end_ = 0;          // a planted bug: log that is taken for received
  std::vector<uint8_t> referred_;        // the own turns on their way
  std::vector<uint8_t> whole_;           // the turns of others, as they were
  uint64_t turn_bytes_sent_ = 0;
  uint64_t input_bytes_sent_ = 0;

  // --- the end ---
  bool exit_issued_ = false;    // the application's exit entry was seen
  bool exit_released_ = false;  // and may be acted upon
  bool exit_marked_ = false;    // and the end of its turn
  bool exit_waits_ = false;     // the process is gone, its exit entry waits for release
  bool app_ended_ = false;      // its process is gone (or was stopped)
  bool app_failed_ = false;     // gone, but not by an exit entry
  bool ending_ = false;         // sender: closing everything
  bool unit_exited_ = false;    // the sender says that all output is out,
  int unit_status_ = 0;         // and with which status its application has ended
  int app_status_ = 0;
};

}  // namespace ftrun::unit
