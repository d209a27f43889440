// SPDX-License-Identifier: Apache-2.0
// The simulated replica with early logging: parts of turns, from a primary's ring and to a
// secondary's application. Test program only.
#include <fmt/format.h>

#include <algorithm>

#include "supervisor/base/result.h"
#include "tests/simulation/replica.h"
#include "tests/simulation/world.h"

namespace ftrun::sim {

// Of the turn that the application is in, what it has published beyond `*read` in its ring, or some
// of it; never its end.
unit::Part Replica::next_part(ToyApp* app, uint64_t* read) {
  SimRing& ring = app->log_out();
  const size_t known = std::max(*read, ring.position()) - ring.position();
  const uint8_t* const end = ring.data() + ring.available();
  const uint8_t* cursor = ring.data() + known;
  unit::Part part{known, {cursor, cursor}, 0};
  bool all = true;
  for (Record record; cursor != end;) {
    cursor = get_record(cursor, end, &record);
    FTRUN_ASSERT(cursor != nullptr);
    if (ends_turn(record.kind) || world_->random.one_in(8)) {
      all = false;
      break;
    }
    part.records = {part.records.data(), cursor};
  }
  *read = ring.position() + known + part.records.size();
  part.points = all ? app->points_passed() : 0;
  return part;
}

void Replica::step_part() {
  if (done() || world_->config().logging != unit::Logging::kEarly) {
    return;
  }
  if (app_.live() && !trails() && core_->may_read_app_log()) {
    unit::Part part = next_part(&app_, &parts_read_);
    part.offset += ahead_.size();
    core_->on_app_part(part);
  } else if (core_->may_read_primary_log()) {
    core_->on_primary_part(next_part(&world_->replica(0)->app(), &parts_read_));
  }
  if (app_.point_awaited() != 0 && !app_.live() && world_->random.one_in(8)) {
    core_->on_app_waits(app_.point_awaited());
  }
}

void Replica::feed_part(unit::Bytes records, uint64_t points) {
  if (app_.goes_live()) {
    world_->fail("a primary is fed a part of a turn");
  }
  const size_t known = ahead_.size();
  ahead_.insert(ahead_.end(), records.begin(), records.end());
  if (!world_->is_logged(this, log_.size(), ahead_)) {
    world_->fail(fmt::format("replica {} is fed a part that nobody has made from {} on",
                             static_cast<char>('a' + id_), log_.size()));
  }
  world_->note_part(records.size());
  app_.feed_log(ahead_.data() + known, records.size());
  app_.tell_points(points);
}

bool Replica::has_logged(uint64_t position, unit::Bytes bytes) const {
  const uint64_t known = std::min<uint64_t>(position, log_.size());
  std::vector<uint8_t> all(log_.begin() + static_cast<long>(known), log_.end());
  all.insert(all.end(), ahead_.begin(), ahead_.end());
  if (app_.live()) {
    const SimRing& ring = app_.log_out();
    const uint8_t* const own = core_->trails() ? ring.trail_data() : ring.data();
    const size_t count = core_->trails() ? ring.trail_available() : ring.available();
    all.insert(all.end(), own, own + count);
  }
  const uint64_t skipped = position - known;
  return all.size() >= skipped + bytes.size() &&
         std::equal(bytes.begin(), bytes.end(), all.begin() + static_cast<long>(skipped));
}

}  // namespace ftrun::sim
