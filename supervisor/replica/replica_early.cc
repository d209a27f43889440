// SPDX-License-Identifier: Apache-2.0
// A replica with early logging (claim 3): what the primary has published of a turn that has not
// ended goes to the core, which passes it on; what other members have published comes from there.
// See replica.h. Runs in the supervisor's event loop. With late logging none of it does anything.
#include "supervisor/replica/replica.h"

namespace ftrun {

// ORDER: behind PrimaryRings::drain(): a part is of the turn that follows the drained ones.
void Replica::drain_primary_part() {
  if (!logs_early() || primary_rings_ == nullptr || !core_->may_read_primary_log()) {
    return;
  }
  const Result<void> drained = primary_rings_->drain_part(core_.get());
  if (!drained.ok()) {
    primary_broken(drained.error().message);
  }
}

// Points travel only if somebody waits for them: nearly every call passes one.
void Replica::drain_own_part() {
  if (!logs_early() || port_->trails() || rings_broken_) {
    return;
  }
  const Result<unit::Part> part = port_->read_part(&part_);
  if (!part.ok()) {
    rings_broken_ = true;
    return application_lost(part.error().message, 1);
  }
  const bool is_due = point_wanted_ != 0 && part->points >= point_wanted_;
  if (!part->records.empty() || is_due) {
    core_->on_app_part(*part);
  }
}

// Somebody waits to hear how far the primary is, and it is that far; or is to ask.
bool Replica::points_are_due() const {
  if (!logs_early() || rings_broken_) {
    return false;
  }
  if (point_wanted_ != 0 && port_->points_passed() >= point_wanted_ && core_->may_read_app_log()) {
    return true;
  }
  const uint64_t awaited = core_->live() ? 0 : port_->point_awaited();
  if (awaited <= points_told_) {
    return false;
  }
  if (primary_rings_ == nullptr) {
    return awaited != point_asked_;
  }
  return core_->may_read_primary_log() && primary_rings_->port().points_passed() >= awaited;
}

// The own application waits to hear of the primary's: that one rings, here or at its supervisor.
void Replica::want_points() {
  if (!logs_early() || core_->live() || rings_broken_) {
    return;
  }
  const uint64_t awaited = port_->point_awaited();
  if (awaited <= points_told_) {
    return;
  }
  const uint64_t epoch = core_->status().view.epoch;
  if (awaited == point_asked_ && epoch == point_asked_in_) {
    return;
  }
  point_asked_ = awaited;
  point_asked_in_ = epoch;
  if (primary_rings_ != nullptr) {
    primary_rings_->port().want_point(awaited);
  } else {
    core_->on_app_waits(awaited);
  }
}

void Replica::feed_part(unit::Bytes records, uint64_t points) {
  if (!records.empty()) {
    port_->feed_part(records);
  }
  points_told_ = points;
  port_->tell_points(points);
}

unit::Bytes Replica::fed_ahead() const {
  return port_->fed_ahead();
}

void Replica::want_point(uint64_t point) {
  point_wanted_ = point;
  port_->want_point(point);
}

}  // namespace ftrun
