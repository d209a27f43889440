// SPDX-License-Identifier: Apache-2.0
// The unit core's front: events and frames, who may say what when. Runs in the supervisor; pure.
#include "supervisor/unit/core.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

UnitCore::Impl::Impl(const CoreConfig& config, Host* host)
    : config_(config), host_(host), view_(config.view) {
  FTRUN_ASSERT(!view_.replicas.empty());
  FTRUN_ASSERT(std::count(view_.replicas.begin(), view_.replicas.end(), config.self) == 1);
  primary_ = primary_id() == config.self;
  sender_ = view_.sender == config.self;
  arrivals_.reserve(kArrivalBatchBytes + kArrivalDataBytesMax + kArrivalHeaderBytesMax);
}

void UnitCore::Impl::send(ReplicaId to, FrameKind kind, uint64_t number, uint64_t lsn,
                          uint64_t digest, Bytes bytes) {
  Frame frame;
  frame.kind = kind;
  frame.epoch = view_.epoch;
  frame.number = number;
  frame.lsn = lsn;
  frame.digest = digest;
  frame.bytes = bytes;
  host_->send(to, frame);
}

void UnitCore::Impl::send_to_others(FrameKind kind, uint64_t number, Bytes bytes) {
  for (const ReplicaId replica : view_.replicas) {
    if (replica != config_.self) {
      send(replica, kind, number, mark_lsn_, 0, bytes);
    }
  }
}

void UnitCore::Impl::protocol_error(ReplicaId from, const std::string& text) {
  event("protocol", fmt::format("replica {}: {}", static_cast<char>('a' + from), text));
  on_replica_suspected(from, text);
}

void UnitCore::Impl::note_progress(uint64_t replayed, uint64_t lsn, ReplicaId from) {
  if (replayed > log_end_ || lsn > log_end_lsn_) {
    protocol_error(from, fmt::format("says it has replayed the log up to {} (record {}), but only "
                                     "{} (record {}) was published",
                                     replayed, lsn, log_end_, log_end_lsn_));
    return;
  }
  peer_replayed_position_ = std::max(peer_replayed_position_, replayed);
}

void UnitCore::Impl::on_frame(ReplicaId from, const Frame& frame) {
  const auto& members = view_.replicas;
  // Without an application of its own, a replica only has to learn that the others have none
  // either, or that the unit has ended.
  const bool listens =
      working() || (state_ == State::kAppFailed &&
                    (frame.kind == FrameKind::kAppFailed || frame.kind == FrameKind::kExited));
  if (!listens || frame.epoch != view_.epoch || from == config_.self ||
      std::find(members.begin(), members.end(), from) == members.end()) {
    return;  // of another time: its sender was excluded, or we are
  }
  const bool from_primary = from == primary_id();
  const bool from_sender = from == view_.sender;
  switch (frame.kind) {
    case FrameKind::kHello:
    case FrameKind::kHeartbeat:
      return;
    case FrameKind::kTurns:
      return from_primary ? on_turns_frame(from, frame)
                          : protocol_error(from, "turns, not from primary");
    case FrameKind::kInput:
      return primary_ && from_sender ? on_input_frame(from, frame)
                                     : protocol_error(from, "input, not from sender to primary");
    case FrameKind::kClosed:
      return from_sender && frame.number >= 1 && frame.number <= UINT32_MAX
                 ? on_closed_frame(from, static_cast<ConnectionId>(frame.number))
                 : protocol_error(from, fmt::format("closed connection {}", frame.number));
    case FrameKind::kAppFailed: {
      if (frame.number > UINT32_MAX || (frame.number != 0 && !from_primary)) {
        return protocol_error(from, fmt::format("suspects connection {}", frame.number));
      }
      suspect_ = static_cast<ConnectionId>(frame.number);
      const auto* text = reinterpret_cast<const char*>(frame.bytes.data());
      return on_replica_suspected(
          from, "its application failed: " + std::string(text, frame.bytes.size()));
    }
    case FrameKind::kHeld:
      return primary_ ? note_progress(frame.number, frame.lsn, from)
                      : protocol_error(from, "progress, not to the primary");
    case FrameKind::kSignal:
      return on_signal_frame(from, frame);
    case FrameKind::kExited:
      if (!from_sender || frame.number > 255) {
        return protocol_error(from, fmt::format("exited with {}", frame.number));
      }
      unit_exited_ = true;
      unit_status_ = static_cast<int>(frame.number);
      return state_ == State::kAppFailed ? finish(unit_status_) : finish_if_done();
  }
  protocol_error(from, fmt::format("a frame of unknown kind {}", static_cast<int>(frame.kind)));
}

void UnitCore::Impl::flush() {
  if (!working()) {
    return;
  }
  // Indexed: pass_credit() does not add to the list.
  for (const uint32_t slot : sent_list_) {
    Connection& connection = connections_.at(slot);
    if (connection.id != 0 && connection.in_sent_list) {
      connection.in_sent_list = false;
      pass_credit(connection);
    }
  }
  sent_list_.clear();
  flush_held();
  deliver();
  if (!primary_ && has_primary() && !serves_primary() &&
      mark_position_ - reported_position_ >= config_.progress_report_bytes) {
    reported_position_ = mark_position_;
    send(primary_id(), FrameKind::kHeld, mark_position_, mark_lsn_, 0, {});
  }
}

Status UnitCore::Impl::status() const {
  Status status;
  status.view = view_;
  status.primary = primary_;
  status.sender = sender_;
  status.live = live();
  status.state = state_;
  status.connections = connections_.size();
  status.lsn = status.live ? log_end_lsn_ : mark_lsn_;
  status.lag_records = status.live ? 0 : log_end_lsn_ - mark_lsn_;
  const auto ends =
      std::find_if(pending_signals_.begin(), pending_signals_.end(), [](const Signal& signal) {
        return signal.number == SIGTERM || signal.number == SIGINT || signal.number == SIGQUIT;
      });
  status.end_signal = ends == pending_signals_.end() ? 0 : ends->number;
  return status;
}

Socket* UnitCore::Impl::find_socket(uint32_t id) {
  for (Socket& socket : sockets_) {
    if (socket.id == id) {
      return &socket;
    }
  }
  return nullptr;
}

// --- the public face: checks that hold for every event, then the implementation ---

UnitCore::UnitCore(const CoreConfig& config, Host* host)
    : impl_(std::make_unique<Impl>(config, host)) {}
UnitCore::~UnitCore() = default;

void UnitCore::on_app_output(const Output& entry) {
  if (impl_->working() && !impl_->app_failed_) {
    impl_->on_app_output(entry);
  }
}
void UnitCore::on_app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest) {
  if (impl_->working() && !impl_->app_failed_) {
    impl_->on_app_mark(log_position, lsn, digest);
  }
}
void UnitCore::on_app_turns(Bytes turns, uint64_t lsn_end, uint64_t digest) {
  if (impl_->working() && !impl_->app_failed_) {
    impl_->on_app_turns(turns, lsn_end, digest);
  }
}
bool UnitCore::may_read_app_log() const {
  const Impl& core = *impl_;
  return !core.primary_ || core.alone() || core.trails() || !core.working() ||
         core.log_end_ - core.peer_replayed_position_ <= core.config_.log_run_ahead_bytes_max;
}
bool UnitCore::trails() const {
  return impl_->trails();
}
uint64_t UnitCore::logged_input_bytes() const {
  return impl_->logged_input_bytes_;
}
void UnitCore::on_fed_input(Bytes arrivals) {
  if (impl_->working() && !impl_->app_failed_) {
    impl_->on_fed_input(arrivals);
  }
}
void UnitCore::on_primary_turns(Bytes turns, uint64_t lsn_end, uint64_t digest) {
  if (impl_->serves_primary()) {
    impl_->on_primary_turns(turns, lsn_end, digest);
  }
}
bool UnitCore::may_read_primary_log() const {
  return impl_->may_read_primary_log();
}
void UnitCore::on_app_exited(int status) {
  if (impl_->state_ != State::kFinished && !impl_->app_ended_) {
    impl_->on_app_exited(status);
  }
}
void UnitCore::on_app_failed(std::string_view why, int status, ConnectionId suspect) {
  if (impl_->state_ != State::kFinished && !impl_->app_ended_) {
    impl_->on_app_failed(why, status, suspect);
  }
}

ConnectionId UnitCore::on_edge_open(uint32_t listener, const Address& local, const Address& peer) {
  return impl_->on_edge_open(listener, local, peer);
}
void UnitCore::on_edge_data(ConnectionId connection, uint64_t position, Bytes data) {
  if (impl_->working()) {
    impl_->on_edge_data(connection, position, data);
  }
}
void UnitCore::on_edge_urgent(ConnectionId connection, uint64_t position, uint8_t byte) {
  if (impl_->working()) {
    impl_->on_edge_urgent(connection, position, byte);
  }
}
void UnitCore::on_edge_fin(ConnectionId connection) {
  if (impl_->working()) {
    impl_->on_edge_fin(connection);
  }
}
void UnitCore::on_edge_reset(ConnectionId connection, int error) {
  if (impl_->working()) {
    impl_->on_edge_reset(connection, error);
  }
}
void UnitCore::on_edge_sent(ConnectionId connection, uint64_t position) {
  if (impl_->working()) {
    impl_->on_edge_sent(connection, position);
  }
}
void UnitCore::on_edge_closed(ConnectionId connection) {
  if (impl_->working()) {
    impl_->on_edge_closed(connection);
  }
}
void UnitCore::on_edge_bound(uint32_t socket, int error, const Address& address) {
  if (impl_->working()) {
    impl_->on_edge_bound(socket, error, address);
  }
}
void UnitCore::on_edge_adopted(const std::vector<AdoptedConnection>& connections,
                               const std::vector<AdoptedListener>& listeners) {
  if (impl_->working()) {
    impl_->on_edge_adopted(connections, listeners);
  }
}

void UnitCore::on_frame(ReplicaId from, const Frame& frame) {
  impl_->on_frame(from, frame);
}
void UnitCore::on_replica_suspected(ReplicaId replica, std::string_view why) {
  impl_->on_replica_suspected(replica, why);
}
void UnitCore::on_view(const View& view) {
  if (impl_->state_ != State::kFinished) {
    impl_->on_view(view);
  }
}
void UnitCore::on_replica_gone(ReplicaId replica) {
  impl_->on_replica_gone(replica);
}
void UnitCore::on_quarantine_over() {
  if (impl_->working()) {
    impl_->on_quarantine_over();
  }
}
void UnitCore::on_signal(uint32_t sequence, int number) {
  if (impl_->working()) {
    impl_->on_signal(sequence, number);
  }
}
void UnitCore::flush() {
  impl_->flush();
}
Status UnitCore::status() const {
  return impl_->status();
}
State UnitCore::state() const {
  return impl_->state_;
}
bool UnitCore::live() const {
  return impl_->live();
}
size_t UnitCore::resend_bytes_max() const {
  size_t most = 0;
  impl_->connections_.for_each(
      [&most](const Connection& connection) { most = std::max(most, connection.resend.size()); });
  return most;
}

}  // namespace ftrun::unit
