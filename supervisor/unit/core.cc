// SPDX-License-Identifier: Apache-2.0
// The unit core's front: events and frames, who may say what when. Runs in the supervisor; pure.
#include "supervisor/unit/core.h"

#include <fmt/format.h>

#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

UnitCore::Impl::Impl(const CoreConfig& config, Host* host)
    : config_(config),
      host_(host),
      routes_{config.view, config.view.replicas.front(), config.topology},
      streams_(host, host, &arrivals_, &signals_, config.mutation),
      log_(config.self, config.view.replicas.size() > 1 && !config.sender_serves_primary),
      last_primary_(config.view.replicas.front()) {
  FTRUN_ASSERT(std::count(view().replicas.begin(), view().replicas.end(), config.self) == 1);
  FTRUN_ASSERT(!config.sender_serves_primary || view().replicas.size() <= 2);
  FTRUN_ASSERT(!config.standby_lags || config.logging == Logging::kLate);
  FTRUN_ASSERT(view().replicas.size() <= kMembersMax);
  log_.set_members(view());
  settled_last_.epoch = view().epoch;
  for (const ReplicaId member : view().replicas) {
    settled_last_.members |= uint64_t{1} << member;
  }
  if (is_sender()) {
    streams_.begin_with_edge();
  }
  if (is_primary()) {
    live_ = true;
    streams_.set_live(true);
  }
  serves_itself_ = is_sender();
  for (const ReplicaId member : routes_.fed_by(config.self)) {
    followers_.push_back({member, 0});
  }
  followed_ = routes_.followed_by(config.self);
}

void UnitCore::Impl::send(ReplicaId to, Frame frame) {
  frame.epoch = view().epoch;
  if (frame.kind == FrameKind::kTurns || frame.kind == FrameKind::kReferred) {
    turn_bytes_sent_ += frame.bytes.size();
  } else if (frame.kind == FrameKind::kInput) {
    input_bytes_sent_ += frame.bytes.size();
  }
  host_->send(to, frame);
}

void UnitCore::Impl::send_to_others(const Frame& frame) {
  for (const ReplicaId replica : view().replicas) {
    if (replica != config_.self) {
      send(replica, frame);
    }
  }
}

void UnitCore::Impl::protocol_error(ReplicaId from, const std::string& text) {
  event("protocol", fmt::format("replica {}: {}", static_cast<char>('a' + from), text));
  on_replica_suspected(from, text, Suspicion::kFailed);
}

// Of another time: its sender was excluded, or we are, or one of us has not heard of the new view.
bool UnitCore::Impl::may_heed(ReplicaId from, const Frame& frame, bool* later) {
  // Without an application of its own, a replica only has to learn that the others have none
  // either, or that the unit has ended.
  const bool listens =
      working() || (state_ == State::kAppFailed &&
                    (frame.kind == FrameKind::kAppFailed || frame.kind == FrameKind::kExited));
  if (frame.epoch > view().epoch && state_ != State::kExcluded && state_ != State::kFinished &&
      !mutated(Mutation::kDropNewFrames)) {
    *later = true;
    if (!reading_view_) {
      reading_view_ = true;
      host_->read_view();
    }
    return false;
  }
  // That a member has lost its application, or the unit has ended, is true in every epoch.
  const bool holds_for_good =
      frame.kind == FrameKind::kAppFailed || frame.kind == FrameKind::kExited;
  if (!listens || from == config_.self || !contains(view(), from) ||
      (frame.epoch != view().epoch && !holds_for_good && !takes_old(frame))) {
    return false;
  }
  *later = working() && must_wait(frame);
  return !*later;
}

bool UnitCore::Impl::must_wait(const Frame& frame) {
  switch (frame.kind) {
    case FrameKind::kTurns:
    case FrameKind::kPart:
    case FrameKind::kHeld:
    case FrameKind::kClosed:
      return !settled_;
    case FrameKind::kInput:  // it is fed only if the application goes live at once
      return !settled_ || (promotion_due_ && !is_whole() && !mutated(Mutation::kGoLiveShort));
    case FrameKind::kReferred:
      return !settled_ || lacks_input(frame);
    default:
      return false;
  }
}

bool UnitCore::Impl::on_frame(ReplicaId from, const Frame& frame) {
  bool later = false;
  if (may_heed(from, frame, &later)) {
    heed(from, frame);
  }
  return !later;
}

void UnitCore::Impl::heed(ReplicaId from, const Frame& frame) {
  switch (frame.kind) {
    case FrameKind::kHello:
    case FrameKind::kHeartbeat:
      return;
    case FrameKind::kTurns:
    case FrameKind::kReferred:
      return on_turns_frame(from, frame);
    case FrameKind::kPart:
      return on_part_frame(from, frame);
    case FrameKind::kWanted:
      return on_wanted_frame(from, frame);
    case FrameKind::kInput:
      return on_input_frame(from, frame);
    case FrameKind::kClosed:
      return on_closed_frame(from, frame);
    case FrameKind::kAppFailed: {
      if (frame.number > UINT32_MAX) {
        return protocol_error(from, fmt::format("suspects connection {}", frame.number));
      }
      suspect_ = frame.number != 0 ? static_cast<ConnectionId>(frame.number) : suspect_;
      const auto* text = reinterpret_cast<const char*>(frame.bytes.data());
      return on_replica_suspected(
          from, "its application failed: " + std::string(text, frame.bytes.size()),
          Suspicion::kFailed);
    }
    case FrameKind::kHeld:
      return on_held_frame(from, frame);
    case FrameKind::kPosition:
      return on_position_frame(from, frame);
    case FrameKind::kSignal:
      return on_signal_frame(from, frame);
    case FrameKind::kExited:
      if (frame.number > 255) {
        return protocol_error(from, fmt::format("exited with {}", frame.number));
      }
      unit_exited_ = true;
      unit_status_ = static_cast<int>(frame.number);
      // Said by the sender, and by all who have heard of it before they end.
      // Unsettled, nothing of it will ever be: the sender is not there any more.
      return state_ == State::kAppFailed || !settled_ ? finish(unit_status_) : finish_if_done();
  }
  protocol_error(from, fmt::format("a frame of unknown kind {}", static_cast<int>(frame.kind)));
}

void UnitCore::Impl::on_closed_frame(ReplicaId from, const Frame& frame) {
  const bool is_list = frame.number == 0;
  if (from != view().sender || frame.number > UINT32_MAX || frame.lsn > UINT32_MAX ||
      (is_list && !streams_.keep_open(static_cast<ConnectionId>(frame.lsn), frame.bytes))) {
    return protocol_error(from,
                          fmt::format("closed connection {}, of {}", frame.number, frame.lsn));
  }
  if (is_list && let_go_) {
    let_go_ = false;
    host_->edge_forget();
  }
  if (!is_list) {
    streams_.closed_elsewhere(static_cast<ConnectionId>(frame.number));
  }
}

void UnitCore::Impl::on_signal(uint32_t sequence, int number) {
  bool late = false;
  if (!signals_.is_new(sequence, &late) || (late && mutated(Mutation::kDropLateSignals))) {
    return;  // told twice
  }
  if (signals_.waiting() == kPendingSignalsMax) {
    return event("limit",
                 fmt::format("signal {} dropped: {} are waiting", number, kPendingSignalsMax));
  }
  const bool passes = streams_.has_edge() && feeding_;
  signals_.add(sequence, number, passes);
  if (passes) {
    arrivals_.put(ArrivalKind::kSignal, sequence, static_cast<uint64_t>(number));
  } else if (!is_sender()) {  // whoever told us may not get to tell the sender
    Frame frame;
    frame.kind = FrameKind::kSignal;
    frame.number = sequence;
    frame.lsn = static_cast<uint64_t>(number);
    send(view().sender, frame);
  }
}

void UnitCore::Impl::on_signal_frame(ReplicaId from, const Frame& frame) {
  if (!is_sender() || frame.number == 0 || frame.number > UINT32_MAX || frame.lsn == 0 ||
      frame.lsn > kSignalMax) {
    return protocol_error(from, fmt::format("signal {} with sequence {}, {}to the sender",
                                            frame.lsn, frame.number, is_sender() ? "" : "not "));
  }
  on_signal(static_cast<uint32_t>(frame.number), static_cast<int>(frame.lsn));
}

// --- the batch of arrivals: to the primary's application, or to the primary ---

void UnitCore::Impl::deliver() {
  if (!feeding_) {
    arrivals_.clear();  // everything that is not logged will be offered again
    return;
  }
  if (arrivals_.empty() && feeding_begun_) {
    return;
  }
  feeding_begun_ = true;
  unlogged_input_ += arrivals_.bytes().size();
  if (is_primary()) {
    if (may_feed_input() && !arrivals_.empty()) {
      host_->feed_input(arrivals_.bytes());
    }
  } else if (config_.sender_serves_primary && !arrivals_.empty()) {
    host_->feed_primary(arrivals_.bytes());
  } else {
    Frame frame;
    frame.kind = FrameKind::kInput;
    fill_progress(&frame);
    frame.bytes = arrivals_.bytes();
    send(routes_.primary, frame);
    if (refers()) {
      input_.append(arrivals_.bytes());
      feed_others(frame);
    }
  }
  arrivals_.clear();
}

// Members that only follow get the same as the primary (claim 4).
void UnitCore::Impl::feed_others(const Frame& frame) {
  for (const ReplicaId replica : view().replicas) {
    if (replica != config_.self && replica != routes_.primary && !frame.bytes.empty() &&
        !mutated(Mutation::kForgetOthers)) {
      send(replica, frame);
    }
  }
}

void UnitCore::Impl::deliver_if_large() {
  if (arrivals_.bytes().size() >= kArrivalBatchBytes) {
    deliver();
  }
}

void UnitCore::Impl::flush() {
  if (!working()) {
    return;
  }
  if (streams_.has_edge() && feeding_) {
    streams_.flush();
  }
  deliver();
  if (settled_) {
    tell_standby();
    report_progress();
  }
}

Status UnitCore::Impl::status() const {
  Status status;
  status.view = view();
  status.primary_id = routes_.primary;
  status.primary = is_primary();
  status.sender = streams_.has_edge();
  status.live = is_live();
  status.state = state_;
  status.connections = streams_.connections();
  status.kept_input_bytes = kept_input_bytes();
  status.unlogged_input_bytes = unlogged_input_bytes();
  status.pending_output_bytes = outbox_.bytes();
  status.turn_bytes_sent = turn_bytes_sent_;
  status.input_bytes_sent = input_bytes_sent_;
  status.input_bytes_logged = streams_.input_bytes_logged();
  status.lsn = status.live ? log_.lsn() : outbox_.marked_lsn();
  status.lag_records = status.live ? 0 : log_.lsn() - outbox_.marked_lsn();
  status.received = log_.end();
  status.replayed = outbox_.marked();
  status.kept_bytes = log_.kept_bytes();
  if (live_ && !trails()) {
    status.slowest_lag_bytes = log_.end() - log_.replayed_by_slowest(&status.slowest);
  }
  status.suspects = !suspects_.empty();
  status.end_signal = signals_.ending();
  return status;
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
void UnitCore::on_app_part(const Part& part) {
  if (impl_->working()) {
    impl_->on_app_part(part);
  }
}
void UnitCore::on_app_waits(uint64_t point) {
  if (impl_->working()) {
    impl_->on_app_waits(point);
  }
}
bool UnitCore::may_read_app_log() const {
  return impl_->may_read_app_log();
}
size_t UnitCore::waiting_output_bytes() const {
  return impl_->waiting_output_bytes();
}
bool UnitCore::trails() const {
  return impl_->trails();
}
uint64_t UnitCore::logged_input_bytes() const {
  return impl_->logged_input_bytes_;
}
void UnitCore::on_primary_turns(Bytes turns, uint64_t lsn_end, uint64_t digest) {
  Impl& core = *impl_;
  if (core.serves_primary() && !core.app_ended_ && !core.log_broken_) {
    core.replay_turns(core.routes_.primary,
                      {core.log_.end(), lsn_end, digest, core.view().epoch, turns, {}});
  }
}
void UnitCore::on_primary_part(const Part& part) {
  Impl& core = *impl_;
  if (core.serves_primary() && !core.app_ended_ && !core.log_broken_ && core.logs_early()) {
    core.take_part(core.routes_.primary, part);
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
  return impl_->streams_.open(listener, local, peer, !impl_->working() || impl_->ending_);
}
void UnitCore::on_edge_data(ConnectionId connection, uint64_t position, Bytes data) {
  if (impl_->working()) {
    impl_->streams_.data(connection, position, data);
    impl_->deliver_if_large();
  }
}
void UnitCore::on_edge_urgent(ConnectionId connection, uint64_t position, uint8_t byte) {
  if (impl_->working()) {
    impl_->streams_.urgent(connection, position, byte);
  }
}
bool UnitCore::may_read_input() const {
  return impl_->unlogged_input_bytes() <= impl_->config_.input_store_bytes_max ||
         impl_->mutated(Mutation::kReadOn);
}
void UnitCore::on_edge_fin(ConnectionId connection) {
  if (impl_->working()) {
    impl_->streams_.fin(connection);
  }
}
void UnitCore::on_edge_reset(ConnectionId connection, int error) {
  if (impl_->working()) {
    impl_->streams_.reset(connection, error);
  }
}
void UnitCore::on_edge_sent(ConnectionId connection, uint64_t position) {
  if (impl_->working()) {
    impl_->streams_.sent(connection, position);
  }
}
void UnitCore::on_edge_closed(ConnectionId connection) {
  if (impl_->working()) {
    const bool was_told = impl_->streams_.closed(connection);
    Frame frame;
    frame.kind = FrameKind::kClosed;
    frame.number = connection;
    // ORDER: behind the own position, which others wait for. begin_feeding() tells what is left
    // out.
    if (impl_->settled_ && was_told) {
      impl_->send_to_others(frame);
    }
    impl_->finish_if_done();
  }
}
void UnitCore::on_edge_bound(uint32_t socket, int error, const Address& address) {
  if (impl_->working()) {
    impl_->streams_.bound(socket, error, address);
  }
}
void UnitCore::on_edge_adopted(const std::vector<AdoptedConnection>& connections,
                               const std::vector<AdoptedListener>& listeners) {
  // ORDER: before anything else, and whether they are wanted or not: no two sockets have one id.
  if (!impl_->mutated(Mutation::kReserveLate)) {
    impl_->streams_.reserve_ids(connections);
  }
  if (impl_->working()) {
    impl_->on_edge_adopted(connections, listeners);
  }
}

bool UnitCore::on_frame(ReplicaId from, const Frame& frame) {
  return impl_->on_frame(from, frame);
}
void UnitCore::on_replica_suspected(ReplicaId replica, std::string_view why, Suspicion suspicion) {
  impl_->on_replica_suspected(replica, why, suspicion);
}
void UnitCore::on_replica_heard(ReplicaId replica) {
  std::erase_if(impl_->suspects_, [replica](const Impl::Suspect& suspect) {
    return suspect.member == replica && suspect.suspicion == Suspicion::kSilent;
  });
}
void UnitCore::on_view(const View& view) {
  if (impl_->state_ != State::kFinished) {
    impl_->on_view(view);
  }
}
void UnitCore::on_member_gone(ReplicaId member) {
  if (impl_->state_ != State::kFinished) {
    impl_->on_member_gone(member);
  }
}
void UnitCore::on_tick() {
  if (impl_->state_ != State::kFinished) {
    impl_->propose();
  }
}
void UnitCore::on_quarantine_over() {
  if (impl_->working()) {
    impl_->streams_.quarantine_over();
  }
}
void UnitCore::on_signal(uint32_t sequence, int number) {
  if (impl_->working()) {
    impl_->on_signal(sequence, number);
  }
}
std::string UnitCore::on_hand_over(ReplicaId to) {
  return impl_->on_hand_over(to);
}
std::string UnitCore::on_hand_over_primary(ReplicaId to) {
  return impl_->on_hand_over_primary(to);
}
void UnitCore::on_stepped_down(bool done) {
  if (impl_->working() && impl_->stepping_down_ && !impl_->app_ended_) {
    impl_->on_stepped_down(done);
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
  return impl_->is_live();
}
size_t UnitCore::resend_bytes_max() const {
  return impl_->streams_.resend_bytes_max();
}

}  // namespace ftrun::unit
