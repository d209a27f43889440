// SPDX-License-Identifier: Apache-2.0
// The toy application with early logging: replays the begin of a turn, and may go live in it. Test
// program only.
#include <algorithm>

#include "supervisor/base/result.h"
#include "tests/simulation/toy_app.h"

namespace ftrun::sim {

// The turn from its begin, as far as it is there. Where it is not, and never will be, the
// application is the primary from there on.
bool ToyApp::run_begun_turn() {
  if (log_in_.written() == tried_ && points_known_ == tried_points_ && !go_live_) {
    return false;  // it is no further than before
  }
  tried_ = log_in_.written();
  tried_points_ = points_known_;
  const ToyState before = state_;
  const uint64_t lsn = lsn_;
  starved_ = false;
  entries_ = 0;
  point_awaited_ = 0;
  replay_ = log_in_.data();
  replay_end_ = replay_ + log_in_.available();
  replay_begun_turn();
  if (dead_) {
    return true;
  }
  emitted_ = starved_ ? std::max(emitted_, entries_) : 0;
  if (starved_) {
    state_ = before;
    lsn_ = lsn;
    return true;
  }
  entries_ = 0;
  tried_ = 0;
  return true;
}

void ToyApp::replay_begun_turn() {
  Record record;
  const uint8_t* next = nullptr;
  if (next_record(&record, &next) && record.kind == RecordKind::kStart) {
    ++lsn_;
    replay_ = next;
  }
  if (next_record(&record, &next)) {
    if (record.kind == RecordKind::kArrivals) {
      replay_ = next;
      replay_arrivals(record);
    }
  } else if (points_known_ <= turns_) {
    if (!goes_live_here()) {
      point_awaited_ = turns_ + 1;
      return;
    }
    ingest();
  }
  process();
  if (starved_ || dead_) {
    return;
  }
  if (!live_ && !next_record(&record, &next) && !goes_live_here()) {
    return;
  }
  if (!live_) {
    if (record.kind != (state_.exiting ? RecordKind::kExit : RecordKind::kTurnEndIngest)) {
      return diverged("the turn does not end where the log's does");
    }
    log_position_ += static_cast<uint64_t>(next - log_in_.data());
    log_in_.consume(static_cast<size_t>(next - log_in_.data()));
  }
  end_turn();
}

bool ToyApp::next_record(Record* record, const uint8_t** next) const {
  *next = get_record(replay_, replay_end_, record);
  return *next != nullptr;
}

// At the end of what there is of the turn. False: it may go on there.
bool ToyApp::goes_live_here() {
  if (!go_live_) {
    starved_ = true;
    return false;
  }
  live_ = true;
  log_position_ += static_cast<uint64_t>(replay_ - log_in_.data());
  log_in_.consume(static_cast<size_t>(replay_ - log_in_.data()));
  return true;
}

}  // namespace ftrun::sim
