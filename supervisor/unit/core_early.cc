// SPDX-License-Identifier: Apache-2.0
// Unit core: early logging (claim 3). Pieces of a turn that has not ended go to the secondaries'
// applications ahead of it. They are advance copies: log, digest, release, acknowledgement and
// resend count whole turns, so a piece may be lost, late or cut off. What the exchange has to know
// of them is how far each member's application was fed: whoever was fed most has replayed it, so
// the next primary goes on from there. Runs in the supervisor; pure.
#include <fmt/format.h>

#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

namespace {

// Whole records of one turn, without its end.
bool is_part(Bytes records) {
  const uint8_t* const end = records.data() + records.size();
  for (const uint8_t* cursor = records.data(); cursor != end;) {
    Record record;
    cursor = get_record(cursor, end, &record);
    if (cursor == nullptr || ends_turn(record.kind)) {
      return false;
    }
  }
  return true;
}

}  // namespace

// --- the primary ---

void UnitCore::Impl::on_app_part(const Part& part) {
  if (!live_ || trails() || !settled_ || app_ended_ || !logs_early()) {
    return;
  }
  const uint64_t wanted = next_wanted_point();
  if (!part.records.empty() || part.points > points_ || (wanted != 0 && wanted <= part.points)) {
    points_ = std::max(points_, part.points);
    pass_part_on(log_.end(), part);
    note_points_told(part.points);
  }
}

void UnitCore::Impl::note_points_told(uint64_t points) {
  bool fewer = false;
  for (uint64_t& point : points_wanted_) {
    fewer = fewer || (point != 0 && point <= points);
    point = point <= points ? 0 : point;
  }
  if (fewer) {
    host_->want_point(next_wanted_point());
  }
}

uint64_t UnitCore::Impl::next_wanted_point() const {
  uint64_t next = 0;
  for (const uint64_t point : points_wanted_) {
    next = point != 0 && (next == 0 || point < next) ? point : next;
  }
  return next;
}

// Only to those who have all turns before it, and have been sent them on the same way.
void UnitCore::Impl::pass_part_on(uint64_t turn, const Part& part) {
  Frame frame;
  frame.kind = FrameKind::kPart;
  frame.number = turn;
  frame.lsn = part.offset;
  frame.digest = part.points;
  frame.bytes = part.records;
  for (const Follower& follower : followers_) {
    if (follower.cursor == turn && follower.member != routes_.primary) {
      send(follower.member, frame);
    }
  }
}

void UnitCore::Impl::on_wanted_frame(ReplicaId from, const Frame& frame) {
  if (!logs_early()) {
    return protocol_error(from, "waits for a point, where nothing is logged early");
  }
  if (!live_) {
    return;  // it was meant for another primary, or is early: the turn's end tells as well
  }
  points_wanted_[from] = frame.number;
  host_->want_point(next_wanted_point());
}

// --- a secondary ---

// Planted bugs.
bool UnitCore::Impl::takes_old(const Frame& frame) const {
  return mutated(Mutation::kTakeOldFrames) ||
         (mutated(Mutation::kTakeOldParts) && frame.kind == FrameKind::kPart);
}

void UnitCore::Impl::on_app_waits(uint64_t point) {
  if (live_ || is_primary() || !settled_ || !logs_early() || config_.sender_serves_primary) {
    return;
  }
  Frame frame;
  frame.kind = FrameKind::kWanted;
  frame.number = point;
  send(routes_.primary, frame);
}

void UnitCore::Impl::on_part_frame(ReplicaId from, const Frame& frame) {
  if (app_ended_ || log_broken_) {
    return;
  }
  if (!logs_early() || config_.sender_serves_primary || (from != followed_ && from != donor_)) {
    return protocol_error(from, "a part of a turn, from a member whose turns are not followed");
  }
  const Part part{frame.lsn, frame.bytes, frame.digest};
  if (frame.number == log_.end() && take_part(from, part)) {
    pass_part_on(frame.number, part);
    go_on();  // one that is to be promoted may have waited for nothing else
  }
}

// False: it is not fed. One before it was lost; or it is not what it should be.
bool UnitCore::Impl::take_part(ReplicaId from, const Part& part) {
  const uint64_t fed = host_->fed_ahead().size();
  if (part.offset > fed && !mutated(Mutation::kFeedGaps)) {
    return false;
  }
  const uint64_t known = fed - std::min(fed, part.offset);
  const Bytes fresh = part.records.subspan(std::min<uint64_t>(known, part.records.size()));
  if (!is_part(fresh)) {
    protocol_error(from, "a part of a turn that does not decode, or ends it");
    return false;
  }
  if (fed + fresh.size() > kTurnsBytesMax) {
    return false;
  }
  if (!fresh.empty() || part.points > points_) {
    points_ = std::max(points_, part.points);
    host_->feed_part(fresh, points_);
  }
  return true;
}

// The turn has to begin with what was fed of it: that is replayed, and cannot be taken back.
bool UnitCore::Impl::goes_on_with(Bytes turns) const {
  return !logs_early() || begins_with(turns, host_->fed_ahead());
}

// --- the exchange ---

// Arrivals that the own application has, and that stand in no turn: in what it was fed of one, and,
// once it is the primary, what it was fed since.
std::vector<uint8_t> UnitCore::Impl::unlogged_input() {
  std::vector<uint8_t> input = ahead_input();
  if (live_) {
    const Bytes fed = host_->fed_input();
    input.insert(input.end(), fed.begin(), fed.end());
  }
  return input;
}

std::vector<uint8_t> UnitCore::Impl::ahead_input() const {
  std::vector<uint8_t> input;
  if (!logs_early()) {
    return input;
  }
  const Bytes ahead = host_->fed_ahead();
  const uint8_t* const end = ahead.data() + ahead.size();
  for (const uint8_t* cursor = ahead.data(); cursor != end;) {
    Record record;
    cursor = get_record(cursor, end, &record);
    FTRUN_ASSERT(cursor != nullptr);  // take_part() has looked
    if (record.kind == RecordKind::kArrivals) {
      input.insert(input.end(), record.payload, record.payload + record.length);
    }
  }
  return input;
}

// Whoever was fed most of the turn beyond the log gives it to the one that is to go on.
void UnitCore::Impl::donate_part() {
  if (settlement_.donor != config_.self ||
      (settlement_.ahead == 0 && settlement_.points <= exchange_.of(settlement_.primary).points)) {
    return;  // it needs whole turns only
  }
  Frame frame;
  frame.kind = FrameKind::kPart;
  frame.number = log_.end();
  frame.digest = points_;
  frame.bytes = host_->fed_ahead();
  send(settlement_.primary, frame);
}

// The one to be promoted has all that has happened. Behind the program's exit nothing does, and who
// has more of that may have ended, too.
bool UnitCore::Impl::is_whole() const {
  if (log_.end() < settlement_.end) {
    return false;
  }
  return !logs_early() || app_ended_ || mutated(Mutation::kGoLiveWithoutPart) ||
         (host_->fed_ahead().size() >= settlement_.ahead && points_ >= settlement_.points);
}

}  // namespace ftrun::unit
