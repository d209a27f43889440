// SPDX-License-Identifier: Apache-2.0
// Unit core: failures. Suspicion leads to a proposed view. Who learns of a new view fences those
// who left, tells all others what it holds, and waits for the same from them: the exchange. Then
// everybody knows who is the primary and where the log of the dead ends, and takes its role:
//
//   the sender   comes to that end itself, takes a dead sender's sockets, offers again what the
//                primary has not
//   the primary  comes to that end itself, hears what the sender offers, goes live
//   the others   go on following
//
// Another death on the way begins all of it anew, in the next view. Runs in the supervisor; pure.
//
// ORDER (DESIGN section 6): view published, then those who left fenced, then the exchange, then
// their sockets taken, then output.
#include <fmt/format.h>

#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

// --- views ---

void UnitCore::Impl::on_replica_suspected(ReplicaId replica, std::string_view why,
                                          Suspicion suspicion) {
  if (state_ == State::kExcluded || state_ == State::kFinished || replica == config_.self ||
      !contains(view(), replica)) {
    return;
  }
  if (unit_exited_) {
    // All output is out: what is missing here will not come any more.
    const bool is_awaited = followed_ == replica || donor_ == replica;
    if (settled_ && working() && !app_ended_ && is_awaited) {
      finish(unit_status_);
    }
    return;
  }
  if (mutated(Mutation::kForgetSuspicion) && state_ == State::kTakingOver) {
    return;
  }
  const auto known =
      std::find_if(suspects_.begin(), suspects_.end(),
                   [replica](const Suspect& suspect) { return suspect.member == replica; });
  if (known == suspects_.end()) {
    event("suspect", fmt::format("replica {}: {}", static_cast<char>('a' + replica), why));
    suspects_.push_back({replica, suspicion});
  } else if (suspicion == Suspicion::kFailed) {
    known->suspicion = suspicion;
  }
  propose();
}

// Without an application, a member decides about others only once none of them can go on: to end.
// One that is silent may wake, and serve.
bool UnitCore::Impl::may_propose() const {
  const bool without_application = state_ == State::kAppFailed;
  if (!without_application || mutated(Mutation::kProposeUseless)) {
    return working() || without_application;
  }
  const auto failed = std::count_if(suspects_.begin(), suspects_.end(), [](const Suspect& each) {
    return each.suspicion == Suspicion::kFailed;
  });
  return static_cast<size_t>(failed) + 1 == view().replicas.size();
}

// Retried (on_tick()) until the suspects have left, by our proposal or by another one.
void UnitCore::Impl::propose() {
  const bool hands_over = stepped_down_ && state_ == State::kRunning && successor_ != kNoReplica;
  if ((suspects_.empty() && !hands_over) || proposed_ || !may_propose() || unit_exited_) {
    return;
  }
  proposed_ = true;
  std::vector<ReplicaId> members;
  for (const Suspect& suspect : suspects_) {
    members.push_back(suspect.member);
  }
  const View next = without(view(), members, last_primary_);
  host_->propose_view(hands_over ? led_by(next, successor_, config_.self) : next);
  if (mutated(Mutation::kStepDownOnce)) {
    successor_ = kNoReplica;
  }
}

void UnitCore::Impl::on_view(const View& next) {
  reading_view_ = false;
  if (next.epoch <= view().epoch) {
    proposed_ = proposed_ && mutated(Mutation::kProposeOnce);
    return;
  }
  if (state_ == State::kExcluded) {
    return;
  }
  proposed_ = false;
  const View old = view();
  routes_.view = next;
  if (!contains(next, config_.self)) {
    return exclude();
  }
  std::erase_if(suspects_, [&next](const Suspect& suspect) {
    return !contains(next, suspect.member) || suspect.suspicion == Suspicion::kSilent;
  });
  event("view", describe(next));
  begin_change(old);
}

void UnitCore::Impl::exclude() {
  event("excluded", describe(view()));
  state_ = State::kExcluded;
  if (!app_ended_) {
    host_->stop_application("");
  }
}

void UnitCore::Impl::lose(const std::string& why) {
  event("lost", why);
  state_ = State::kFinished;
  host_->finished(kLostStatus);
}

// --- fence and exchange ---

void UnitCore::Impl::begin_change(const View& old) {
  for (const ReplicaId member : old.replicas) {
    if (!contains(view(), member)) {
      left_.push_back({member, false, false});
      host_->fence(member);
    }
  }
  if (state_ == State::kAppFailed) {
    if (alone()) {
      event("lost", "the last replica has lost its application");
      finish(app_status_);
    }
    return;
  }
  if (unit_exited_) {
    return finish(unit_status_);
  }
  if (streams_.has_edge() && !is_sender()) {
    // ORDER: before the position is told, which is what the next sender waits for.
    let_go_ = true;
    ending_ = false;
    streams_.let_go(host_->edge_let_go());
  }
  state_ = State::kTakingOver;
  if (stepping_down_) {
    host_->stay();
  }
  settled_ = false;
  position_told_ = false;
  exchange_.begin(view());
  log_.set_members(view());
  routes_.primary = kNoReplica;
  followers_.clear();
  followed_ = donor_ = kNoReplica;
  fed_ = {};
  points_wanted_ = {};
  if (logs_early()) {
    host_->want_point(0);
  }
  feeding_ = feeding_heard_ = false;
  older_input_bytes_ = incomplete_end_ = 0;
  referred_from_ = UINT64_MAX;
  if (!mutated(Mutation::kKeepInput)) {
    input_.clear();
  }
  restart_due_ = takeover_due_ = promotion_due_ = false;
  go_on();
}

void UnitCore::Impl::on_member_gone(ReplicaId member) {
  for (Left& left : left_) {
    left.gone = left.gone || left.member == member;
  }
  go_on();
}

void UnitCore::Impl::tell_position() {
  position_told_ = true;
  const std::vector<uint8_t> fed = is_sender() ? std::vector<uint8_t>() : unlogged_input();
  older_input_bytes_ = mutated(Mutation::kReferToOlder) || !live_ ? 0 : fed.size();
  const bool stepped_down = stepped_down_ && !mutated(Mutation::kForgetSuccessor);
  const bool tells_part = logs_early() && !mutated(Mutation::kForgetParts);
  const Position own{log_.end(),
                     log_.lsn(),
                     log_.created(),
                     outbox_.marked(),
                     live_,
                     stepped_down,
                     suspect_,
                     settled_last_,
                     tells_part ? host_->fed_ahead().size() : 0,
                     tells_part ? points_ : 0};
  exchange_.note(config_.self, own);
  Frame frame;
  frame.kind = FrameKind::kPosition;
  frame.number = own.end;
  frame.lsn = own.lsn;
  frame.created = own.created;
  frame.trim = own.replayed;
  frame.digest = (own.live ? 1 : 0) | (own.stepped_down ? 2 : 0) | uint64_t{own.suspect} << 2;
  std::vector<uint8_t> bytes;
  for (const uint64_t value :
       {settled_last_.epoch, settled_last_.seen, settled_last_.members, own.ahead, own.points}) {
    uint8_t varint[kVarintBytesMax];
    bytes.insert(bytes.end(), varint, varint + put_varint(varint, value));
  }
  const size_t head = bytes.size();
  bytes.insert(bytes.end(), fed.begin(), fed.end());
  for (const ReplicaId member : view().replicas) {
    if (member != config_.self) {
      frame.bytes = Bytes(bytes).first(member == view().sender ? bytes.size() : head);
      send(member, frame);
    }
  }
}

void UnitCore::Impl::on_position_frame(ReplicaId from, const Frame& frame) {
  const bool live = (frame.digest & 1) != 0;
  const bool stepped_down = (frame.digest & 2) != 0;
  Settled settled;
  uint64_t ahead = 0;
  uint64_t points = 0;
  const uint8_t* const end = frame.bytes.data() + frame.bytes.size();
  const uint8_t* fed = frame.bytes.data();
  for (uint64_t* const value : {&settled.epoch, &settled.seen, &settled.members, &ahead, &points}) {
    fed = fed == nullptr ? nullptr : get_varint(fed, end, value);
  }
  // A primary marks its turns before they are published.
  if (fed == nullptr || exchange_.heard(from) || settled_ || (!live && frame.trim > frame.number) ||
      frame.created > view().epoch || frame.digest >> 2 > UINT32_MAX || (live && stepped_down)) {
    return protocol_error(
        from, fmt::format("a position of {} of {} in epoch {}{}", frame.trim, frame.number,
                          frame.created, exchange_.heard(from) ? " for the second time" : ""));
  }
  exchange_.note(from, {frame.number, frame.lsn, frame.created, frame.trim, live, stepped_down,
                        static_cast<ConnectionId>(frame.digest >> 2), settled, ahead, points});
  log_.restart_member(from, frame.number, std::min(frame.trim, frame.number));
  if (is_sender()) {
    fed_[from].assign(fed, end);
  }
  go_on();
}

// A fan-out whose primary is dead must not go on with less than clients may have seen. By number:
// each turn that has left was held by f + 1. By position: what the last exchange came to may be
// held by one member only. A living primary has all; so has each member of a chain.
bool UnitCore::Impl::is_lost() {
  if (config_.topology == Topology::kChain || settlement_.primary_lives) {
    return false;
  }
  if (settlement_.lost > config_.tolerance && !mutated(Mutation::kServeBeyondTolerance)) {
    lose(
        fmt::format("{} members have died before the loss of the first was settled, and "
                    "the unit tolerates {}: what clients have seen may be known to nobody",
                    settlement_.lost, config_.tolerance));
    return true;
  }
  if (settlement_.end < settlement_.last.seen && !mutated(Mutation::kGoOnWithLess)) {
    lose(fmt::format("the log goes to {} only, but clients may have seen what comes of it up to {}",
                     settlement_.end, settlement_.last.seen));
    return true;
  }
  return false;
}

void UnitCore::Impl::settle() {
  settlement_ = exchange_.settle(config_.topology, config_.promotion, config_.tolerance);
  if (settlement_.liar != kNoReplica) {
    if (settlement_.liar != config_.self) {
      protocol_error(settlement_.liar, "a position that cannot be beside the others'");
    }
    return;
  }
  if (is_lost()) {
    return;
  }
  settled_ = true;
  settled_last_ = settlement_.now;
  routes_.primary = last_primary_ = settlement_.primary;
  log_broken_ = false;
  successor_ = kNoReplica;
  stepped_down_ = stepped_down_ && !settlement_.primary_lives && !is_primary();
  streams_.forget_early_closed();
  if (!settlement_.primary_lives) {
    streams_.suspect(settlement_.suspect);
  }
  suspect_ = settlement_.suspect;  // until its reset is logged, all have to know
  receipted_ = 0;
  restart_due_ = is_sender();
  takeover_due_ = is_sender() && !streams_.has_edge();
  promotion_due_ = is_primary() && !live_;
  sender_replayed_ = exchange_.of(view().sender).replayed;
  standby_told_ = 0;
  if (!mutated(Mutation::kKeepLagging)) {
    feed_lagging();
  }
  follow(settlement_);
  if (alone()) {
    event("unprotected", "one replica is left");
  }
}

void UnitCore::Impl::follow(const Settlement& settlement) {
  // A follower may hold what this member is still to be sent.
  const auto add = [this](ReplicaId member) {
    const uint64_t end = exchange_.of(member).end;
    if (!log_.goes_on_from(end)) {
      return protocol_error(
          member,
          fmt::format("stands at log position {}, where no turns begin that are kept", end));
    }
    followers_.push_back({member, mutated(Mutation::kForgetResend) ? log_.end() : end});
  };
  for (const ReplicaId member : routes_.fed_by(config_.self)) {
    add(member);
  }
  if (settlement.donor == config_.self) {
    add(settlement.primary);
  }
  followed_ = routes_.followed_by(config_.self);
  donor_ = is_primary() ? settlement.donor : kNoReplica;
  feed_followers({});
  donate_part();
}

// --- roles ---

void UnitCore::Impl::go_on() {
  if (state_ != State::kTakingOver) {
    return;
  }
  if (!settled_) {
    const bool fenced =
        std::all_of(left_.begin(), left_.end(), [](const Left& left) { return left.gone; });
    // ORDER: whether the own application is live, and where its log ends, has to be known.
    const bool answered = !stepping_down_ || mutated(Mutation::kTellStepping);
    if (fenced && answered && !position_told_) {
      tell_position();
    }
    if (position_told_ && exchange_.complete()) {
      settle();
    }
  }
  if (!settled_ || !restart() || !take_over() || !promote()) {
    return;
  }
  finish_change();
}

// The sender takes the part of the log that the others have, and what a living primary was fed
// beyond it, or what came with the part of a turn that the next one begins with: from there on it
// knows what the primary has. One that knows it itself does so at any time. True: done.
bool UnitCore::Impl::restart() {
  if (!restart_due_) {
    return true;
  }
  if (!live_ && (log_.end() < settlement_.end || (is_primary() && !is_whole()))) {
    return false;
  }
  std::vector<uint8_t> fed = std::move(fed_[settlement_.knows_input]);
  if (settlement_.knows_input == config_.self) {
    fed = unlogged_input();
    serves_itself_ = serves_itself_ || live_;
  }
  restart_due_ = false;
  unlogged_input_ = fed.size();
  arrivals_.clear();
  streams_.restart();
  if (mutated(settlement_.primary_lives ? Mutation::kForgetFed : Mutation::kOfferPartAgain)) {
    fed.clear();
  }
  std::string problem;
  const bool decodes = for_each_arrival(fed, [&](const Arrival& item) {
    problem = streams_.note_fed(item);
    return problem.empty();
  });
  problem = decodes ? problem : "input that does not decode";
  if (!problem.empty()) {
    settlement_.knows_input == config_.self ? fail_application("invalid_input", problem)
                                            : protocol_error(settlement_.knows_input, problem);
    return false;
  }
  if (streams_.has_edge()) {
    begin_feeding();
  }
  return true;
}

// The sockets are taken once the own application has put out all that the dead sender can have
// written, and enough members hold it.
bool UnitCore::Impl::take_over() {
  if (!takeover_due_) {
    return true;
  }
  const bool replayed =
      outbox_.marked() >= settlement_.end || app_ended_ || mutated(Mutation::kTakeOverEarly);
  if (!takeover_asked_ && replayed && held() >= settlement_.end) {
    takeover_asked_ = true;
    release();
    // The living may have let them go, in a view that was not seen here.
    std::vector<ReplicaId> from;
    if (!mutated(Mutation::kTakeFromDeadOnly)) {
      from = view().replicas;
    }
    for (const Left& left : left_) {
      if (!left.buried) {
        from.push_back(left.member);
      }
    }
    let_go_ = false;
    host_->edge_take_over(from);
  }
  if (!takeover_answered_) {
    return false;
  }
  takeover_due_ = takeover_asked_ = takeover_answered_ = false;
  streams_.adopt(adopted_connections_, adopted_listeners_, exit_released_);
  adopted_connections_.clear();
  adopted_listeners_.clear();
  begin_feeding();
  return true;
}

// Sockets that came while yet another member died wait until its loss is settled.
void UnitCore::Impl::on_edge_adopted(const std::vector<AdoptedConnection>& connections,
                                     const std::vector<AdoptedListener>& listeners) {
  FTRUN_ASSERT(takeover_asked_ && !takeover_answered_);
  takeover_answered_ = true;
  adopted_connections_ = connections;
  adopted_listeners_ = listeners;
  if (settled_ && !restart_due_) {
    go_on();
  }
}

// ORDER: what the edge reported since the change began was dropped, and is offered again here.
void UnitCore::Impl::begin_feeding() {
  feeding_ = true;
  feeding_begun_ = false;
  streams_.offer();
  for (Left& left : left_) {
    if (!left.buried) {
      left.buried = true;
      host_->bury(left.member);
    }
  }
  std::vector<uint8_t> open;
  Frame frame;
  frame.kind = FrameKind::kClosed;
  frame.lsn = streams_.list_open(&open);
  frame.bytes = open;
  send_to_others(frame);
}

// The new primary goes live with the whole log, and with what the sender offers: the suspect's
// reset must be there before it runs on.
bool UnitCore::Impl::promote() {
  if (!promotion_due_) {
    return true;
  }
  const bool whole = is_whole() || mutated(Mutation::kGoLiveShort);
  const bool fed =
      streams_.has_edge() ? feeding_ : feeding_heard_ || mutated(Mutation::kGoLiveEarly);
  if (!whole || !fed) {
    return false;
  }
  promotion_due_ = false;
  donor_ = kNoReplica;
  live_ = serves_itself_ = true;
  live_from_ = log_.end();
  ahead_input_bytes_ = ahead_input().size();
  older_input_bytes_ = mutated(Mutation::kReferToPart) ? 0 : ahead_input_bytes_;
  streams_.set_live(true);
  deliver();
  if (!app_ended_) {
    host_->go_live();
  }
  return true;
}

void UnitCore::Impl::finish_change() {
  state_ = State::kRunning;
  trim();
  release();
  deliver();
  if (app_failed_) {
    event("lost", "the last replica has lost its application");
    return begin_end();
  }
  if (app_ended_ && streams_.has_edge()) {
    return begin_end();
  }
  finish_if_done();
}

}  // namespace ftrun::unit
