// SPDX-License-Identifier: Apache-2.0
// Unit core: the way of the turns. The primary's own are noted, released and shipped; a secondary's
// are checked, noted, fed to its application and passed on; who holds what decides what may leave.
// Runs in the supervisor; pure.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

// --- the own application's output ---

void UnitCore::Impl::on_app_output(const Output& entry) {
  FTRUN_ASSERT(entry.kind != OutputKind::kMark);
  if (entry.kind == OutputKind::kExit) {
    exit_issued_ = true;
  } else if (entry.kind == OutputKind::kConsole && entry.id != 1 && entry.id != 2) {
    return fail_application("app_output", fmt::format("console output to {}", entry.id));
  }
  outbox_.push(entry);
  check_pending();
}

// A turn that does not end, from a broken application: see may_read_app_log().
void UnitCore::Impl::check_pending() {
  if (outbox_.bytes() > kPendingOutputBytesMax) {
    fail_application("app_output", fmt::format("more than {} bytes of output in unfinished turns",
                                               kPendingOutputBytesMax));
  }
}

void UnitCore::Impl::on_app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest) {
  if (log_position <= outbox_.marked()) {
    return fail_application("app_output", fmt::format("a turn ends at log position {} after {}",
                                                      log_position, outbox_.marked()));
  }
  const std::string problem =
      outbox_.mark(log_position, lsn, digest, !live_, mutated(Mutation::kIgnoreDigest));
  exit_marked_ = exit_issued_;
  check_pending();
  if (!problem.empty()) {
    fail_application("diverged", problem);
  }
  if (app_failed_) {
    return;
  }
  if (mutated(Mutation::kReleaseOutputUnchecked) && !live_) {
    outbox_.agree(log_position);
  }
  release();
  if (state_ == State::kTakingOver) {
    go_on();
  }
}

void UnitCore::Impl::on_app_turns(Bytes turns, uint64_t lsn, uint64_t digest) {
  if (!live_ || turns.empty() || lsn <= log_.lsn() ||
      log_.end() + turns.size() > outbox_.marked()) {
    return fail_application(
        "invalid_log", fmt::format("{} bytes of turns up to record {}, after {} bytes and record "
                                   "{}, marked up to {}, from an application that is {}primary",
                                   turns.size(), lsn, log_.end(), log_.lsn(), outbox_.marked(),
                                   live_ ? "" : "not "));
  }
  Turns fresh{log_.end(), lsn, digest, view().epoch, turns, {}};
  const uint64_t input_bytes = logged_input_bytes_;
  log_.append(fresh);
  // Turn by turn: arrivals may rest on what earlier turns have put out, and we hear of both at
  // once.
  uint64_t end = fresh.begin;
  for (Bytes rest = turns; !rest.empty() && !app_failed_;) {
    std::string problem;
    const size_t length = note_turn(rest, &problem);
    if (length == 0) {
      return fail_application("invalid_log", problem);
    }
    end += length;
    streams_.settle(end);
    outbox_.agree(end);
    release();
    rest = rest.subspan(length);
  }
  if (!app_failed_) {  // a turn that cannot be right is not shipped
    const uint64_t noted = logged_input_bytes_ - input_bytes;
    // What came with a part never stood in the application's input.
    const uint64_t from_part = std::min(ahead_input_bytes_, noted);
    ahead_input_bytes_ -= from_part;
    logged_input_bytes_ -= mutated(Mutation::kCountPartAsInput) ? 0 : from_part;
    note_logged_input(noted);
    fresh.referred = as_referred(turns, noted);
    feed_followers(fresh);
  }
  if (alone()) {
    trim();
  }
}

// ORDER: only output that waits for other members, who go on without this one's, may stop the
// reading. What is still to be read has the end of a turn, the digest at the end of a batch, and
// the end of the log that a takeover waits for.
bool UnitCore::Impl::may_read_app_log() const {
  // Nobody reports progress before the exchange, which may wait for an answer behind all this.
  const bool answers =
      stepping_down_ && state_ == State::kTakingOver && !mutated(Mutation::kBoundStepping);
  if (outbox_.bytes() > config_.waiting_output_bytes_max && !mutated(Mutation::kReadOutputOn) &&
      (waiting_output_bytes() != 0 || mutated(Mutation::kWaitForOwnOutput))) {
    return answers;
  }
  if (!live_ || alone() || trails() || !working() || answers) {
    return true;
  }
  const uint64_t replayed =
      mutated(Mutation::kFastestBounds) ? log_.replayed_by_fastest() : log_.replayed_by_slowest();
  return log_.end() - replayed <= config_.log_run_ahead_bytes_max;
}

size_t UnitCore::Impl::waiting_output_bytes() const {
  return working() && outbox_.waits_for_holders(held()) ? outbox_.bytes() : 0;
}

bool UnitCore::Impl::may_read_primary_log() const {
  return serves_primary() && !log_broken_ &&
         log_.end() - outbox_.marked() <= config_.log_run_ahead_bytes_max;
}

// --- turns of the primary ---

void UnitCore::Impl::on_turns_frame(ReplicaId from, const Frame& frame) {
  if (app_ended_ || log_broken_) {
    return;
  }
  if (config_.sender_serves_primary) {
    return protocol_error(from, "turns in a frame, where they come through the ring");
  }
  if (from != followed_ && from != donor_) {
    return protocol_error(from, "turns, from a member that is not followed");
  }
  trimmed_by_all_ = std::max(trimmed_by_all_, frame.trim);
  Turns turns{frame.number, frame.lsn, frame.digest, frame.created, frame.bytes, {}};
  const bool is_referred = frame.kind == FrameKind::kReferred;
  if (!is_referred && turns.end() <= log_.end()) {
    return;  // held already
  }
  if (turns.begin != log_.end() || turns.created < log_.created() || turns.created > view().epoch) {
    return protocol_error(from,
                          fmt::format("turns of epoch {} from log position {}, expected from "
                                      "{} of epoch {}",
                                      turns.created, turns.begin, log_.end(), log_.created()));
  }
  if (!is_referred || expand(from, &turns)) {
    replay_turns(from, turns);
  }
}

// Turns are complete when the input is here to which they refer: only then are they taken note of,
// fed, passed on and acknowledged. It can only be on its way: this epoch's sender has fed all of
// it, to all. The sender itself has sent it before.
bool UnitCore::Impl::lacks_input(const Frame& frame) {
  Referred referred;
  if (!refers() || is_sender() || app_ended_ || log_broken_ ||
      !read_referred(frame.bytes, &referred) || referred.input <= input_.size()) {
    return false;
  }
  if (mutated(Mutation::kCountIncomplete)) {
    incomplete_end_ = frame.number + referred.whole;
  }
  for (Follower& follower : followers_) {
    if (mutated(Mutation::kForwardIncomplete) && follower.cursor == frame.number) {
      send(follower.member, frame);
      follower.cursor += referred.whole;
    }
  }
  return !mutated(Mutation::kRefuseIncomplete);
}

// Puts the input back to which turns of this epoch's primary refer.
bool UnitCore::Impl::expand(ReplicaId from, Turns* turns) {
  Referred referred;
  if (!refers() || !read_referred(turns->bytes, &referred) || referred.input > input_.size()) {
    protocol_error(from, fmt::format("turns from log position {} refer to {} bytes of input, of {}",
                                     turns->begin, referred.input, input_.size()));
    return false;
  }
  const Restored restored = restore(referred, input_.front(referred.input), &whole_,
                                    !mutated(Mutation::kIgnoreInputDigest));
  if (restored == Restored::kWhole) {
    input_.take(mutated(Mutation::kForgetTaken) ? 0 : referred.input);
    referred_from_ = std::min(referred_from_, turns->begin);
    turns->referred = turns->bytes;
    turns->bytes = whole_;
    return true;
  }
  if (restored == Restored::kInvalid) {
    protocol_error(from, fmt::format("turns from log position {} that refer to input and do not "
                                     "decode",
                                     turns->begin));
    return false;
  }
  const std::string text = fmt::format(
      "the input of the turns from log position {} is not what the primary was fed", turns->begin);
  // What clients have sent, the sender knows.
  is_sender() ? protocol_error(from, text) : fail_application("diverged", text);
  return false;
}

// The own turns as they travel; empty: as they are. Input that was fed before this epoch goes with
// them: nobody need have it.
Bytes UnitCore::Impl::as_referred(Bytes turns, uint64_t input_bytes) {
  const uint64_t older = std::min(older_input_bytes_, input_bytes);
  older_input_bytes_ -= older;
  if (!refers() || older == input_bytes) {
    return {};
  }
  referred_from_ = std::min(referred_from_, log_.end() - turns.size());
  refer(turns, older, input_bytes, &referred_);
  return referred_;
}

// A log that cannot be right is its sender's failure, and what was noted of it is undone: none of
// it is fed, so all of it has to be offered again. What follows has no place to stand.
void UnitCore::Impl::replay_turns(ReplicaId from, const Turns& turns) {
  std::string problem;
  if (turns.bytes.empty() || turns.lsn <= log_.lsn()) {
    problem = fmt::format("{} bytes of turns to record {}, after record {}", turns.bytes.size(),
                          turns.lsn, log_.lsn());
  }
  const uint64_t input_bytes = logged_input_bytes_;
  for (Bytes rest = turns.bytes; problem.empty() && !rest.empty();) {
    rest = rest.subspan(note_turn(rest, &problem));
  }
  const uint64_t logged = std::exchange(logged_input_bytes_, input_bytes) - input_bytes;
  if (!problem.empty()) {
    streams_.undo();
    log_broken_ = true;
    return protocol_error(from, problem);
  }
  if (!goes_on_with(turns.bytes)) {
    streams_.undo();
    return fail_application(
        "diverged", fmt::format("it has replayed other records of the turn at log position {} "
                                "than the turn has",
                                turns.begin));
  }
  note_logged_input(logged);
  log_.append(turns);
  log_.note_received(routes_.primary, log_.end());
  streams_.settle(log_.end());
  outbox_.expect(log_.end(), turns.lsn, turns.digest);
  feed_app(turns.bytes);
  release();
  feed_followers(turns);
  if (mutated(Mutation::kTrimEarly)) {
    log_.trim(log_.end());
  } else {
    log_.trim(trimmed_by_all_);
  }
  if (state_ == State::kTakingOver) {
    go_on();
  }
}

size_t UnitCore::Impl::note_turn(Bytes log, std::string* problem) {
  const uint8_t* cursor = log.data();
  const uint8_t* const end = cursor + log.size();
  while (cursor != end) {
    Record record;
    const uint8_t* const next = get_record(cursor, end, &record);
    if (next == nullptr) {
      break;
    }
    if (ends_turn(record.kind)) {
      return static_cast<size_t>(next - log.data());
    }
    if (record.kind == RecordKind::kArrivals) {
      *problem = note_arrivals(record);
      if (!problem->empty()) {
        *problem +=
            fmt::format(" ({} bytes after log position {})", cursor - log.data(), log_.end());
        return 0;
      }
    }
    cursor = next;
  }
  *problem = cursor == end ? fmt::format("no turn ends within {} bytes after log position {}",
                                         log.size(), log_.end())
                           : fmt::format("no valid record {} bytes after log position {}",
                                         cursor - log.data(), log_.end());
  return 0;
}

std::string UnitCore::Impl::note_arrivals(const Record& record) {
  uint64_t count = 0;
  std::string problem;
  logged_input_bytes_ += record.length;
  const bool decodes = for_each_arrival({record.payload, record.length}, [&](const Arrival& item) {
    ++count;
    problem = streams_.note(item);
    return problem.empty();
  });
  if (!decodes) {
    return "an arrival that does not decode";
  }
  if (problem.empty() && count != record.count) {
    problem = fmt::format("{} arrivals, not {}", count, record.count);
  }
  return problem;
}

// --- what may leave ---

// The log that f + 1 members hold. Where the edge is elsewhere, and stays there, nothing leaves:
// all output that agrees goes to the resend queues.
uint64_t UnitCore::Impl::held() const {
  if ((!is_sender() && !streams_.has_edge()) || mutated(Mutation::kReleaseUnheld)) {
    return UINT64_MAX;
  }
  // What has come to the sender through all others they have. What it had before, perhaps not: it
  // may have stood further in front, or a new primary still gets turns from others.
  if (settled_ && routes_.sender_knows_all()) {
    const bool came_through =
        log_.end() > settlement_.end ||
        (mutated(Mutation::kTrustNewOrder) && log_.received(routes_.primary) >= settlement_.end);
    return came_through ? log_.end() : log_.received_by_all();
  }
  return log_.held_by(std::min<size_t>(config_.tolerance + 1, view().replicas.size()));
}

void UnitCore::Impl::release() {
  if (app_failed_) {
    return;
  }
  const uint64_t limit = held();
  outbox_.release(limit, [this](const Output& entry) { return apply(entry); });
  if (streams_.has_edge() && settled_) {
    streams_.release_input(limit);
  }
  if (exit_waits_ && exit_released_) {
    on_app_exited(app_status_);
  }
}

bool UnitCore::Impl::apply(const Output& entry) {
  switch (entry.kind) {
    case OutputKind::kConsole:
      host_->console(static_cast<int>(entry.id), {entry.data, entry.length});
      return true;
    case OutputKind::kExit:
      exit_released_ = true;
      return true;
    case OutputKind::kNotice:
      if (streams_.has_edge()) {
        const auto* text = reinterpret_cast<const char*>(entry.data);
        event("notice", std::string(text, entry.length));
      }
      return true;
    case OutputKind::kMark:
      return true;
    default:
      break;
  }
  const std::string problem = streams_.apply(entry);
  if (!problem.empty()) {
    fail_application("app_output", problem);
  }
  return problem.empty();
}

// --- passing on ---

void UnitCore::Impl::send_turns(ReplicaId to, const Turns& turns) {
  Frame frame;
  frame.kind = FrameKind::kTurns;
  frame.number = turns.begin;
  frame.lsn = turns.lsn;
  frame.digest = turns.digest;
  frame.created = turns.created;
  frame.trim = trimmed_by_all_;
  frame.bytes = turns.bytes;
  if (!turns.referred.empty()) {
    frame.kind = FrameKind::kReferred;
    frame.bytes = turns.referred;
  }
  send(to, frame);
}

// `fresh`: the turns that were appended last; who has all before them gets them without a copy.
void UnitCore::Impl::feed_followers(const Turns& fresh) {
  if (!settled_ || config_.sender_serves_primary ||
      (!is_primary() && mutated(Mutation::kForgetForward))) {
    return;
  }
  for (Follower& follower : followers_) {
    // A primary that is rolled forward makes the turns after that itself.
    const uint64_t end =
        follower.member == routes_.primary ? std::min(settlement_.end, log_.end()) : log_.end();
    if (!fresh.bytes.empty() && follower.cursor == fresh.begin && fresh.end() <= end) {
      send_turns(follower.member, fresh);
      follower.cursor = fresh.end();
    }
    while (follower.cursor < end) {
      const Turns turns = log_.batch_at(follower.cursor);
      FTRUN_ASSERT(turns.begin < referred_from_);  // else its input would be there twice
      send_turns(follower.member, turns);
      follower.cursor = turns.end();
    }
  }
}

void UnitCore::Impl::on_input_frame(ReplicaId from, const Frame& frame) {
  if (config_.sender_serves_primary) {
    return protocol_error(from, "input in a frame, where it comes through the ring");
  }
  if (from != view().sender || (!is_primary() && !refers())) {
    return protocol_error(from, "input, not from the sender, or to a member that needs none");
  }
  if (!is_primary()) {
    if (!app_ended_ && !log_broken_) {
      input_.append(frame.bytes);
    }
    return;
  }
  if (!note_progress(from, frame)) {
    return;
  }
  if (!for_each_arrival(frame.bytes, [](const Arrival&) { return true; })) {
    return protocol_error(from, "input that does not decode");
  }
  if (may_feed_input() && !frame.bytes.empty()) {
    host_->feed_input(frame.bytes);
  }
  feeding_heard_ = true;
  go_on();
}

}  // namespace ftrun::unit
