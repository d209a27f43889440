// SPDX-License-Identifier: Apache-2.0
// Stands between one unit core and its simulated host and sees all that passes, in both directions.
// To the host it is the core, to the core it is the host. Test program only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "supervisor/unit/core.h"
#include "tests/simulation/coverage.h"
#include "tests/simulation/fingerprint.h"

namespace ftrun::sim {

class Observer : public unit::Host {
 public:
  Observer(const unit::CoreConfig& config, unit::Host* host, Fingerprint* fingerprint,
           Coverage* coverage);

  // --- the core, for the host ---
  void on_app_output(const Output& entry);
  void on_app_mark(uint64_t position, uint64_t lsn, uint64_t digest);
  void on_app_turns(unit::Bytes turns, uint64_t lsn, uint64_t digest);
  void on_app_part(const unit::Part& part);
  void on_app_waits(uint64_t point);
  void on_primary_part(const unit::Part& part);
  void on_app_exited(int status);
  void on_app_failed(std::string_view why, int status, ConnectionId suspect);
  void on_primary_turns(unit::Bytes turns, uint64_t lsn, uint64_t digest);
  ConnectionId on_edge_open(uint32_t listener, const Address& local, const Address& peer);
  void on_edge_data(ConnectionId id, uint64_t position, unit::Bytes data);
  void on_edge_fin(ConnectionId id);
  void on_edge_reset(ConnectionId id, int error);
  void on_edge_sent(ConnectionId id, uint64_t position);
  void on_edge_closed(ConnectionId id);
  void on_edge_bound(uint32_t socket, int error, const Address& address);
  void on_edge_adopted(const std::vector<unit::AdoptedConnection>& connections,
                       const std::vector<unit::AdoptedListener>& listeners);
  [[nodiscard]] bool on_frame(unit::ReplicaId from, const unit::Frame& frame);
  void on_replica_suspected(unit::ReplicaId replica, std::string_view why,
                            unit::Suspicion suspicion);
  void on_replica_heard(unit::ReplicaId replica);
  void on_view(const unit::View& view);
  void on_member_gone(unit::ReplicaId member);
  void on_tick();
  void on_quarantine_over();
  void on_signal(uint32_t sequence, int number);
  [[nodiscard]] std::string on_hand_over(unit::ReplicaId to);
  [[nodiscard]] std::string on_hand_over_primary(unit::ReplicaId to);
  void on_stepped_down(bool done);
  void flush();
  bool may_read_app_log() const { return core_.may_read_app_log(); }
  bool may_read_primary_log() const { return core_.may_read_primary_log(); }
  size_t waiting_output_bytes() const { return core_.waiting_output_bytes(); }
  bool may_read_input() const { return core_.may_read_input(); }
  bool trails() const { return core_.trails(); }
  uint64_t logged_input_bytes() const { return core_.logged_input_bytes(); }
  unit::Status status() const { return core_.status(); }
  unit::State state() const { return core_.state(); }
  size_t resend_bytes_max() const { return core_.resend_bytes_max(); }

  // --- the host, for the core ---
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
  unit::Bytes fed_ahead() const override { return host_->fed_ahead(); }
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
  void edge_accepted(ConnectionId id) override;
  void edge_unlisten(uint32_t socket) override;
  void edge_option(uint32_t id, int level, int name, unit::Bytes value) override;
  void edge_write(ConnectionId id, uint64_t position, unit::Bytes data) override;
  void edge_urgent(ConnectionId id, uint64_t position) override;
  void edge_shutdown(ConnectionId id) override;
  void edge_close(ConnectionId id, uint64_t consumed, unit::Ending ending) override;
  void edge_release_input(ConnectionId id, uint64_t position) override;
  void edge_reoffer_input(ConnectionId id, uint64_t position) override;
  void edge_input_limit(ConnectionId id, uint64_t position) override;
  void edge_adopt(uint64_t handle, ConnectionId id) override;
  void edge_discard(uint64_t handle) override;
  void edge_quarantine(ConnectionId id, uint64_t position) override;
  void console(int stream, unit::Bytes data) override;
  void event(std::string_view kind, std::string_view text) override;
  void finished(int status) override;

 private:
  class Step;
  template <typename What, typename... Fields>
  void note(What what, const Fields&... fields);

  const unit::ReplicaId self_;
  unit::Host* const host_;
  Fingerprint* const fingerprint_;
  Coverage* const coverage_;
  unit::UnitCore core_;
  Situation situation_;
};

}  // namespace ftrun::sim
