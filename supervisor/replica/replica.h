// SPDX-License-Identifier: Apache-2.0
// One replica: the unit core wired to one application's rings, the edge, the links, the views and
// the run directory. Runs in the supervisor, in one thread, as one epoll loop.
//
// The core may not be called from inside its own calls to Host: such answers go through `deferred_`
// and the edge's reports, which the loop delivers.
//
// ORDER in every iteration: events in and passed on (links written, application fed and woken), its
// rings drained, which writes to clients and takes longest, deferred work, passed on once more: so
// the others work while this one writes. The loop sleeps only after it has announced it
// (supervisor_asleep), fenced, and looked at the rings once more.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/spin.h"
#include "supervisor/arbiter/views.h"
#include "supervisor/edge/edge.h"
#include "supervisor/edge/keeper.h"
#include "supervisor/members/peers.h"
#include "supervisor/operator/console_spool.h"
#include "supervisor/operator/control.h"
#include "supervisor/operator/control_request.h"
#include "supervisor/operator/event_limit.h"
#include "supervisor/operator/run_dir.h"
#include "supervisor/process/launch.h"
#include "supervisor/replica/app_watch.h"
#include "supervisor/replica/computation.h"
#include "supervisor/replica/evidence.h"
#include "supervisor/replica/last_words.h"
#include "supervisor/replica/placement.h"
#include "supervisor/replica/state_copies.h"
#include "supervisor/rings/app_port.h"
#include "supervisor/rings/primary_rings.h"
#include "supervisor/rings/region.h"
#include "supervisor/unit/core.h"

namespace ftrun {

struct ReplicaOptions {
  std::string unit;
  std::string run_dir;
  unit::ReplicaId replica = 0;
  unsigned replicas = 2;
  unit::Topology topology = unit::Topology::kChain;
  unit::Input input = unit::Input::kReference;
  unit::Logging logging = unit::Logging::kLate;
  unit::Promotion promotion = unit::Promotion::kMostAdvanced;
  unsigned tolerance = 1;
  int time_out_ms = 150;
  uint64_t run_ahead_bytes = unit::kLogRunAheadBytesMax;
  uint64_t input_memory_bytes = unit::kInputStoreBytesMax;
  uint64_t orphan_memory_bytes = edge::kOrphanBytesMax;
  bool standby_lags = false;
  bool shared_rings = true;       // the sender serves the primary's rings (primary_rings.h)
  bool quarantine = true;         // on a crash by a request: reset whose it was, else just retry
  int quarantine_hold_ms = 5000;  // how long its address is kept away then
  int spin_limit_ms = 0;          // without a call, then the application is given up; 0: none
  int stop_grace_ms = 2000;       // for a program that makes no calls to take a signal to end
  bool filter = true;             // the program's system calls (process/call_wall.h)
  std::string record_log;         // file that gets all published turns, or empty
  std::string preload;            // libftpreload.so
  std::string program;            // what execve is given
  std::vector<std::string> state_dirs;  // canonical
  Inherited inherited;                  // links, the unit's memory, argv
};

class Replica final : unit::Host, edge::EdgeSink, AppPort::Sink {
 public:
  explicit Replica(ReplicaOptions options);
  ~Replica() override;
  // Keeper, region, application, links, core; everything up to the loop. On failure nothing that
  // was started is left running once this object is gone.
  Result<void> start(process::Inheritance inheritance);
  // Runs until the replica has ended. Returns the supervisor's exit code.
  int run();

 private:
  // replica.cc
  Result<void> start_application(process::Inheritance inheritance);
  Result<void> meet_peers();
  Result<void> open_primary_rings(const unit::View& view);
  Result<link::Hello> own_hello() const;
  Result<void> start_own_keeper();
  Result<void> watch(int fd, uint64_t tag, uint32_t events);

  // replica_loop.cc
  void iterate();
  int await(epoll_event* events);
  int spin(epoll_event* events);
  void choose_core();
  int sleep_ms() const;
  bool has_work() const;
  bool rings_have_output() const;
  void pass_on();
  void dispatch(const epoll_event& event);
  void read_link(link::Peer* peer);
  void read_waiting_links();
  void look_after_ended(link::Peer* peer);
  void drain_application();
  void run_deferred();
  void flush_links();
  bool must_not_read();
  void tick();
  template <typename Visit>
  void for_served_ports(Visit&& visit) const;
  void drain_primary();
  void drain_shared_rings();
  void primary_broken(const std::string& why);
  void look_after_primary();
  std::string handle_command(const std::string& line);
  std::string status_json() const;
  std::string hand_over(const ControlRequest& request);

  // replica_early.cc
  bool logs_early() const { return options_.logging == unit::Logging::kEarly; }
  void drain_primary_part();
  void drain_own_part();
  bool points_are_due() const;
  void want_points();

  // replica_run_dir.cc
  Result<void> start_control();
  Result<void> watch_signals();
  void take_signals();
  void look_after_run_dir();
  void look_after_files();
  Result<void> restore_run_dir();
  void show_view();
  Result<void> publish_pids() const;
  std::string pids_text() const;
  void mend_file(const std::string& path, const std::string& text) const;

  // replica_failure.cc
  void peer_lost(link::Peer* peer, const std::string& why);
  void learn_view();
  bool must_end(const process::Descriptor& process, unit::ReplicaId member, const char* what,
                int patience_ms);
  void end_member(unit::ReplicaId member);
  void end_keeper(unit::ReplicaId member);
  void take_connections(const std::vector<unit::ReplicaId>& from);
  void application_status();
  void application_stopped(int signal);
  void check_application();
  void check_calls();
  void application_lost(const std::string& why, int status);
  void deliver_application_end();
  void check_lost();
  uint64_t crash() const;
  ConnectionId suspect() const;
  void keeper_died();
  void replace_keeper();
  void mark_state_copies();
  bool peers_have_ended();
  void settle_state_copies();
  void wind_up();

  // replica_role.cc
  void check_step_down();

  // replica_last_words.cc
  void keep_last_words();
  void leave_last_words();
  void report_crash();
  void hold_words_of(unit::ReplicaId replica);
  void say_held_words();
  void say_last_words();

  // replica_evidence.cc
  void check_shim_failure();
  void collect_failed(const std::string& why);
  void begin_evidence(Evidence::Case what);
  void note_peer_failure(unit::ReplicaId replica, const unit::Frame& frame);
  void check_evidence();
  void settle_evidence();
  void finish_evidence();
  void keep_report(uint64_t epoch, const std::string& text, const std::string& what);

  // unit::Host (replica_host.cc)
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
  unit::Bytes fed_ahead() const override;
  void want_point(uint64_t point) override;
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
  void console(int stream, unit::Bytes data) override;
  void event(std::string_view kind, std::string_view text) override;
  void finished(int status) override;

  // edge::EdgeSink and AppPort::Sink: straight to the core (replica_host.cc)
  ConnectionId edge_open(uint32_t listener, const Address& local, const Address& peer) override;
  void edge_data(ConnectionId connection, uint64_t position, unit::Bytes data) override;
  void edge_urgent(ConnectionId connection, uint64_t position, uint8_t byte) override;
  void edge_fin(ConnectionId connection) override;
  void edge_reset(ConnectionId connection, int error) override;
  void edge_sent(ConnectionId connection, uint64_t position) override;
  void edge_closed(ConnectionId connection) override;
  void edge_bound(uint32_t socket, int error, const Address& address) override;
  void edge_trouble(const std::string& text) override;
  void app_output(const Output& entry) override;
  void app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest) override;
  void app_turns(unit::Bytes turns, uint64_t lsn_end, uint64_t digest) override;

  ReplicaOptions options_;
  RunDir run_dir_;
  EventLimit event_limit_;
  UnitMemory& memory_;    // decides who is in the unit
  arbiter::Views views_;  // says it to the tools
  process::Descriptor epoll_, doorbell_, record_log_, signals_;
  std::string unit_file_;        // what ftrun has written about the unit, to be written again
  bool memory_short_ = false;    // there is no reserve; told once
  std::string publish_trouble_;  // told once
  bool view_shown_ = false;      // the current view has its file
  std::string run_dir_trouble_;  // told once
  edge::KeeperWatch keeper_watch_;
  pid_t keeper_pid_ = -1;
  bool keeper_wanted_ = false;  // it died, and no other could be started yet
  process::Descriptor keeper_;
  Region region_;
  std::unique_ptr<AppPort> port_;
  std::unique_ptr<PrimaryRings> primary_rings_;  // while this supervisor serves them
  process::Application application_;
  std::unique_ptr<edge::Edge> edge_;
  link::Peers peers_;
  std::unique_ptr<ControlServer> control_;
  ConsoleSpool& console_;
  std::unique_ptr<unit::UnitCore> core_;

  std::vector<std::function<void()>> deferred_;
  int64_t now_ns_ = 0;
  int64_t next_tick_ns_ = 0;
  unsigned ticks_ = 0;
  AppWatch app_watch_;
  Computation computation_;
  StateCopies state_copies_;
  int64_t step_down_until_ns_ = 0;  // how long the application may take to step down
  std::string stays_why_;           // it was asked last to step down, and has not
  int64_t quarantine_over_ns_ = 0;  // 0: nobody is kept away
  bool exit_entry_seen_ = false;    // the application announced its end (kExit)
  bool rings_broken_ = false;       // something in them did not decode: they are not read any more
  bool app_gone_ = false;  // its process is gone; its end is delivered once rings are empty
  bool app_end_delivered_ = false;
  std::vector<uint8_t> fed_input_;  // as the core was told last
  std::vector<uint8_t> part_;       // early logging: of the own application's turn
  uint64_t points_told_ = 0;        // to the own application
  uint64_t point_wanted_ = 0;       // by other members of it; 0: none
  uint64_t point_asked_ = 0;        // the last that it was said to wait for,
  uint64_t point_asked_in_ = 0;     // and in which epoch
  Spinner spinner_;
  Placement placement_;
  Evidence evidence_;
  int64_t lost_ns_ = 0;  // since when the last replica has no application; 0: it has
  std::string app_end_why_;
  int app_end_status_ = 0;
  bool app_killed_ = false;     // it did not end by itself
  std::string earlier_words_;   // the end of what it said in turns that have ended
  bool given_up_ = false;       // by us, for it made no calls
  LastWords last_words_;        // of our application
  HeldWords held_words_;        // of the other replica's
  bool ended_cleanly_ = false;  // the application has exited and all its output is out
  int64_t files_looked_after_ns_ = 0;
  bool done_ = false;
  int exit_code_ = 0;
};

}  // namespace ftrun
