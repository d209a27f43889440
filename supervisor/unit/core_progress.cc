// SPDX-License-Identifier: Apache-2.0
// Unit core: how far each member has received and replayed the log, who is told of it, and what is
// forgotten then (claims 8, 13). Runs in the supervisor; pure.
#include <fmt/format.h>

#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

bool UnitCore::Impl::note_progress(ReplicaId from, const Frame& frame) {
  if (frame.number > frame.trim || (live_ && frame.trim > log_.end())) {
    protocol_error(from, fmt::format("says it has replayed the log up to {} (record {}) and "
                                     "received it up to {}, but only {} was published",
                                     frame.number, frame.lsn, frame.trim, log_.end()));
    return false;
  }
  log_.note_received(from, frame.trim);
  log_.note_replayed(from, frame.number);
  trim();
  return true;
}

void UnitCore::Impl::on_held_frame(ReplicaId from, const Frame& frame) {
  if (!is_primary() && !is_sender() && !(is_standby() && from == view().sender)) {
    return protocol_error(from, "progress, neither to the primary nor to the sender");
  }
  if (note_progress(from, frame)) {
    sender_replayed_ = from == view().sender ? frame.number : sender_replayed_;
    feed_lagging();
    release();
    go_on();
  }
}

void UnitCore::Impl::fill_held(Frame* frame) const {
  frame->number = std::min(outbox_.marked(), log_.end());
  frame->lsn = outbox_.marked_lsn();
  frame->trim = received();
}

// The same, to the primary, or to it as well.
void UnitCore::Impl::fill_progress(Frame* frame) {
  fill_held(frame);
  reported_replayed_ = frame->number;
  reported_received_ = frame->trim;
}

// The slowest secondary bounds the primary, and what all have is forgotten by all. Where the sender
// cannot know by itself that f + 1 members hold a turn, it is told at once.
void UnitCore::Impl::report_progress() {
  if (config_.sender_serves_primary || app_failed_) {
    return;
  }
  Frame frame;
  frame.kind = FrameKind::kHeld;
  if (is_primary()) {  // what it makes itself, it holds; but not what it had to be given
    if (!is_sender() && receipted_ < settlement_.end && log_.end() >= settlement_.end) {
      receipted_ = log_.end();
      fill_progress(&frame);
      send(view().sender, frame);
    }
    return;
  }
  const size_t needed = std::min<size_t>(config_.tolerance + 1, view().replicas.size());
  const bool sends_itself = view().sender == routes_.primary;
  const bool receipts = !routes_.sender_knows_all() && needed > (sends_itself ? 1 : 2);
  const bool is_due = outbox_.marked() - std::min(outbox_.marked(), reported_replayed_) >=
                          config_.progress_report_bytes ||
                      received() - reported_received_ >= config_.progress_report_bytes;
  const bool levels = routes_.sender_knows_all() && receipted_ < settlement_.end;  // see held()
  if ((receipts || levels) && !is_sender() && received() > receipted_) {
    receipted_ = received();
    fill_progress(&frame);
    send(view().sender, frame);
    if (!sends_itself) {
      send(routes_.primary, frame);
    }
  } else if (is_due) {
    fill_progress(&frame);
    send(routes_.primary, frame);
  }
}

// The primary's part: garbage is told to the others with the next turns (claims 8, 13).
void UnitCore::Impl::trim() {
  if (!settled_ || !is_primary()) {
    return;
  }
  trimmed_by_all_ = std::max(trimmed_by_all_,
                             mutated(Mutation::kTrimEarly) ? log_.end() : log_.received_by_all());
  log_.trim(trimmed_by_all_);
}

}  // namespace ftrun::unit
