// SPDX-License-Identifier: Apache-2.0
// One simulated replica: a supervisor (the real unit core with a simulated I/O layer around it) and
// its toy application. The I/O layer follows the contract of supervisor/unit/core.h and checks the
// core's side of it. Every step does one small thing, so that a fault can hit between any two.
// Test program only.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "supervisor/unit/core.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/observer.h"
#include "tests/simulation/toy_app.h"

namespace ftrun::sim {

class World;

struct SimFrame {
  unit::Frame frame;
  std::vector<uint8_t> bytes;
};

class Replica : public unit::Host {
 public:
  Replica(World* world, unit::ReplicaId id, const unit::CoreConfig& config);

  void step();
  void step_app() { app_.step(); }

  // --- what happens to it ---
  void kill_supervisor();  // its application dies with it; its sockets stay with the keeper
  void kill_app() { app_.kill(); }
  void pause() { paused_ = true; }
  // Its next input is not what the primary gets.
  bool may_spoil_input() const;
  void spoil_input() {
    spoilt_epoch_ = core_->status().view.epoch;
    spoils_ = true;
  }
  void wake(bool jumpy);
  void spoil_digest() { spoils_digest_ = true; }
  void spoil_turns() { spoils_turns_ = true; }
  void tell_signal(uint32_t sequence, int number);

  unit::ReplicaId id() const { return id_; }
  bool dead() const { return dead_; }
  // Others will find it out.
  bool will_fail() const {
    return app_.spoilt() || spoils_turns_ || spoilt_epoch_ == core_->status().view.epoch;
  }
  // Nothing has happened to it so far.
  bool is_sound() const {
    return !dead_ && !finished_ && !paused_ && !jumpy_ && !app_.dead() && !will_fail();
  }
  // It does nothing with any socket: it never had one, has let them go, or is dead.
  bool keeps_off() const { return done() || keeps_off_; }
  bool paused() const { return paused_; }
  bool done() const { return dead_ || finished_; }
  bool finished() const { return finished_; }
  bool knows_app_end() const { return app_reported_; }
  int status() const { return status_; }
  uint64_t console_bytes() const { return console_bytes_; }
  const ToyApp& app() const { return app_; }
  ToyApp& app() { return app_; }
  const Observer& core() const { return *core_; }
  Observer& core() { return *core_; }
  // These bytes stand there in its log, or in the part of a turn that follows it.
  bool has_logged(uint64_t position, unit::Bytes bytes) const;
  bool trails() const { return core_->trails(); }
  std::string describe() const;  // for traces of runs that got stuck
  const std::string& last_event() const { return last_event_; }

  // --- Host ---
  void send(unit::ReplicaId to, const unit::Frame& frame) override;
  void propose_view(const unit::View& view) override;
  void read_view() override;
  void fence(unit::ReplicaId member) override;
  void bury(unit::ReplicaId member) override;
  void feed_primary(unit::Bytes arrivals) override;
  void feed_input(unit::Bytes arrivals) override;
  unit::Bytes fed_input() override;
  void feed_log(unit::Bytes turns) override;
  void feed_part(unit::Bytes records, uint64_t points) override;
  unit::Bytes fed_ahead() const override { return ahead_; }
  void want_point(uint64_t) override {}
  void go_live() override;
  void step_down() override;
  void stay() override;
  void stop_application(std::string_view why) override;
  void edge_take_over(const std::vector<unit::ReplicaId>& from) override;
  std::vector<unit::Unwritten> edge_let_go() override;
  void edge_forget() override;
  void edge_bind(uint32_t socket, uint32_t flags, const Address& address) override;
  void edge_listen(uint32_t socket, int backlog) override;
  void edge_accepted(ConnectionId connection) override;
  void edge_unlisten(uint32_t socket) override;
  void edge_option(uint32_t id, int level, int name, unit::Bytes value) override;
  void edge_write(ConnectionId connection, uint64_t position, unit::Bytes data) override;
  void edge_urgent(ConnectionId connection, uint64_t position) override;
  void edge_shutdown(ConnectionId connection) override;
  void edge_close(ConnectionId connection, uint64_t consumed, unit::Ending ending) override;
  void edge_release_input(ConnectionId connection, uint64_t position) override;
  void edge_reoffer_input(ConnectionId connection, uint64_t position) override;
  void edge_input_limit(ConnectionId connection, uint64_t position) override;
  void edge_adopt(uint64_t handle, ConnectionId connection) override;
  void edge_discard(uint64_t handle) override;
  void edge_quarantine(ConnectionId connection, uint64_t position) override;
  void console(int, unit::Bytes data) override { console_bytes_ += data.size(); }
  void event(std::string_view kind, std::string_view text) override;
  void finished(int status) override;

 private:
  struct EdgeConnection {
    ConnectionId id = 0;
    KernelConnection* socket = nullptr;
    uint64_t reported = 0;  // input told to the core
    uint64_t limit = 0;
    uint64_t releasable = 0;
    std::vector<uint8_t> unsent;
    uint64_t offered = 0;  // position after `unsent`
    uint64_t urgent_end = 0;
    bool unaccepted = true;  // by the application
    bool fin_reported = false;
    bool reset_reported = false;
    bool shutdown = false;
    bool close = false;
    bool quarantined = false;
    bool reset = false;
    uint64_t consumed = 0;
  };
  struct Mark {
    uint64_t position;
    uint64_t lsn;
    uint64_t digest;
  };

  EdgeConnection& find(ConnectionId id);
  void step_deferred();
  void step_receive();
  void step_drain(size_t entries);
  void step_ship();
  void check_run_ahead();
  void check_lag(uint64_t end);
  void step_primary();
  void step_part();
  unit::Part next_part(ToyApp* app, uint64_t* read);
  void drain_shared();
  bool has_live_turns();
  void step_role();
  void spoil(SimFrame* frame);
  void step_edge();
  void step_accept();
  bool may_accept(const KernelListener& listener) const;
  void step_watch();
  void report_app_end();
  void answer_view(const unit::View& view);
  void edge_read(EdgeConnection& connection);
  void edge_send(EdgeConnection& connection);
  bool edge_finish(EdgeConnection& connection);
  bool take_sockets(const std::vector<unit::ReplicaId>& from, size_t most);
  void answer_take_over(const std::vector<unit::ReplicaId>& from);
  void take_listeners(const std::vector<unit::ReplicaId>& from,
                      std::vector<unit::AdoptedListener>* listeners);
  void edge_lock(uint32_t id, uint32_t flags, const Address& address);
  void retry_lock();
  void defer(std::function<void()> event) { deferred_.push_back(std::move(event)); }
  // An edge that has let its sockets go reports nothing more.
  void defer_edge(std::function<void()> event) {
    defer([this, edge = edges_, event = std::move(event)] {
      if (edge == edges_) {
        event();
      }
    });
  }

  World* const world_;
  const unit::ReplicaId id_;
  std::unique_ptr<Observer> core_;
  ToyApp app_;
  std::deque<std::function<void()>> deferred_;
  int answers_due_ = 0;                        // to listens, in deferred_
  std::map<uint32_t, size_t> unaccepted_max_;  // of listeners
  std::vector<EdgeConnection> edge_;
  std::vector<KernelConnection*> untagged_;  // accepted, not yet told to the core
  std::deque<Mark> marks_;                   // of live turns, not shipped
  // The primary's rings, as the sender serves them.
  std::deque<Mark> primary_marks_;
  uint64_t primary_digest_ = 0;
  uint64_t primary_read_ = 0;  // bytes of its log
  std::deque<std::pair<uint32_t, int>> signals_;
  uint64_t digest_ = 0;
  uint64_t live_from_;                             // own turns are what lies beyond in the log
  uint64_t log_shipped_ = 0;                       // bytes of own log shipped,
  uint64_t log_base_ = 0;                          // the first of which stands there
  bool stepping_ = false;                          // the application is asked to step down
  bool withdrawn_ = false;                         // and asked to stay after all
  std::vector<uint8_t> held_back_;                 // input meanwhile
  uint64_t input_void_ = 0;                        // fed to it before it stepped down, not logged
  std::array<bool, unit::kMembersMax> blocked_{};  // links whose first frame has to wait
  std::vector<uint8_t> log_;                       // all of it, from the start
  std::vector<uint8_t> ahead_;                     // fed, of the turn that follows it
  uint64_t parts_read_ = 0;                        // of a ring: given as parts
  uint64_t spoilt_epoch_ = 0;                      // its input is spoilt in this epoch
  bool spoils_ = false;                            // or will be
  bool fed_early_ = false;                         // before it was told to go live
  bool dead_ = false;
  bool paused_ = false;
  bool finished_ = false;
  bool app_reported_ = false;
  std::vector<uint8_t> fed_;                    // as answered last
  std::deque<std::vector<uint8_t>> unwritten_;  // as answered last
  uint64_t edges_ = 0;                          // how often it has let its sockets go
  bool keeps_off_;                              // uses no socket
  uint64_t quarantine_steps_ = 0;               // until it is over
  bool jumpy_ = false;                          // woke from a pause: may suspect others wrongly
  std::vector<KernelConnection*> taken_;        // of dead senders, not told to the core yet
  bool spoils_digest_ = false;                  // of the next turns
  bool spoils_turns_ = false;                   // of all from now on
  uint64_t console_bytes_ = 0;
  int status_ = -1;
  std::string last_event_;
};

}  // namespace ftrun::sim
