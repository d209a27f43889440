// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of an application's rings: see app_port.h. Runs in the event loop.
#include "supervisor/rings/app_port.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstring>

namespace ftrun {

namespace {

// Output is copied in pieces of this size: they stay in the cache, and hold the longest entry.
constexpr size_t kCopyBytes = 256 * 1024;
constexpr int64_t kTurnNsMax = 1'000'000;  // then the application is asked to end its turn
static_assert(kRingBytes[kRingLogIn] >= kRingBytes[kRingLogOut]);
static_assert(kCopyBytes >= kOutputHeaderBytesMax + kOutputDataBytesMax);

// Longest run of whole items (of whole turns, for a late log: the shim takes a turn to be there
// once it has begun) at the start of `bytes` that fits into `room`. 0: nothing fits; -1: malformed.
// A turn fits into an empty ring: it came out of one of that size.
ptrdiff_t whole_prefix(unit::Bytes bytes, size_t room, bool is_log, bool early) {
  const uint8_t* const start = bytes.data();
  const uint8_t* const end = start + bytes.size();
  const uint8_t* cursor = start;
  const uint8_t* fits = start;
  while (cursor < end) {
    Arrival item;
    Record record;
    cursor = is_log ? get_record(cursor, end, &record) : get_arrival(cursor, end, &item);
    if (cursor == nullptr) {
      return -1;
    }
    if (static_cast<size_t>(cursor - start) > room) {
      break;
    }
    fits = !is_log || early || ends_turn(record.kind) ? cursor : fits;
  }
  return fits - start;
}

}  // namespace

AppPort::AppPort(Region* region, Part part)
    : region_(region), control_(region->control()), part_(part), digest_(XXH3_createState()) {
  XXH3_64bits_reset(digest_.get());
  if (trails()) {
    input_trail_ = region->trailing_consumer(kRingInput);
    log_out_ = region->trailing_consumer(kRingLogOut);
    output_ = region->trailing_consumer(kRingOutput);
    return;
  }
  if (keeps_input()) {
    input_trail_ = region->trailing_consumer(kRingInput);
  }
  input_ring_ = region->producer(kRingInput);
  log_in_ = region->producer(kRingLogIn);
  log_out_ = region->consumer(kRingLogOut);
  output_ = region->consumer(kRingOutput);
}

void AppPort::serve() {
  FTRUN_ASSERT(trails());
  part_ = Part::kServes;
  input_trail_.stop();
  log_out_.lead();
  output_.lead();
  input_ring_ = region_->producer(kRingInput);
  log_in_ = region_->producer(kRingLogIn);
  fed_ = true;  // whoever served may have died between feeding and waking
  control_->app_asleep.store(1, std::memory_order_relaxed);
}

void AppPort::forget_input(uint64_t logged) {
  const uint64_t position = logged + void_input_;
  FTRUN_ASSERT((trails() || keeps_input()) && position >= input_trail_.position());
  input_trail_.consume(position - input_trail_.position());
}

Result<void> AppPort::unlogged_input(std::vector<uint8_t>* input) const {
  FTRUN_ASSERT(trails() || keeps_input());
  const size_t bytes = input_trail_.available();
  if (bytes == kRingCorrupt) {
    return Error{"input ring: impossible head"};
  }
  input->assign(input_trail_.data(), input_trail_.data() + bytes);
  input->insert(input->end(), input_.bytes.begin() + static_cast<ptrdiff_t>(input_.start),
                input_.bytes.end());
  return {};
}

void AppPort::set_clock(int64_t now_ns) {
  control_->coarse_now_ns.store(static_cast<uint64_t>(now_ns), std::memory_order_relaxed);
}

void AppPort::check_turn_length(int64_t now_ns) {
  if (log_out_.position() != turns_seen_ || app_asleep()) {
    turns_seen_ = log_out_.position();
    turn_started_ns_ = now_ns;
  } else if (now_ns - turn_started_ns_ > kTurnNsMax) {
    control_->cut_requested.store(1, std::memory_order_relaxed);
    turn_started_ns_ = now_ns;
  }
}

void AppPort::feed(unit::Bytes bytes, Staged* staged, RingProducer* ring) {
  FTRUN_ASSERT(!trails());
  if (bytes.empty()) {
    return;
  }
  const bool waits = stepping_down_ && staged == &input_;
  uint8_t* room = staged->empty() && !waits ? ring->reserve(bytes.size()) : nullptr;
  if (room == nullptr) {
    staged->bytes.insert(staged->bytes.end(), bytes.begin(), bytes.end());
    return;
  }
  std::memcpy(room, bytes.data(), bytes.size());
  ring->advance(bytes.size());
  ring->publish();
  fed_ = true;
}

void AppPort::feed_input(unit::Bytes arrivals) {
  feed(arrivals, &input_, &input_ring_);
}

void AppPort::feed_part(unit::Bytes records) {
  ahead_.insert(ahead_.end(), records.begin(), records.end());
  feed(records, &log_, &log_in_);
}

bool AppPort::goes_on_with(unit::Bytes turns) const {
  return unit::begins_with(turns, ahead_);
}

void AppPort::feed_log(unit::Bytes turns) {
  FTRUN_ASSERT(goes_on_with(turns));
  log_fed_ += turns.size();
  feed(turns.subspan(ahead_.size()), &log_, &log_in_);
  ahead_.clear();
}

void AppPort::want_point(uint64_t point) {
  control_->point_wanted.store(point, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

Result<bool> AppPort::next_part(std::vector<uint8_t>* part) {
  part->clear();
  const size_t available = log_out_.available();
  if (available == kRingCorrupt) {
    return Error{"log ring: impossible head"};
  }
  const size_t known = std::max(parts_end_, log_out_.position()) - log_out_.position();
  if (known > available) {
    return Error{"log ring: its head went back"};
  }
  part->assign(log_out_.data() + known, log_out_.data() + available);
  const uint8_t* const end = part->data() + part->size();
  const uint8_t* cursor = part->data();
  bool turn_ends = false;
  for (Record record; cursor != end;) {
    const uint8_t* const next = get_record(cursor, end, &record);
    if (next == nullptr) {
      return Error{"log ring: a record does not decode"};
    }
    turn_ends = ends_turn(record.kind);
    if (turn_ends) {
      break;
    }
    cursor = next;
  }
  part->resize(static_cast<size_t>(cursor - part->data()));
  part_offset_ = ahead_.size() + known;
  parts_end_ = log_out_.position() + known + part->size();
  return !turn_ends;
}

// ORDER: how far it has come, then the records (shared_region.h).
Result<unit::Part> AppPort::read_part(std::vector<uint8_t>* bytes) {
  const uint64_t passed = points_passed();
  const Result<bool> all = next_part(bytes);
  if (!all.ok()) {
    return all.error();
  }
  return unit::Part{part_offset_, *bytes, *all ? passed : 0};
}

void AppPort::go_live() {
  log_base_ = log_fed_ + ahead_.size() - log_out_.position();
  going_live_ = true;
  fed_ = true;
}

bool AppPort::move_staged(Staged* staged, RingProducer* ring, bool is_log) {
  while (!staged->empty()) {
    const unit::Bytes rest = unit::Bytes(staged->bytes).subspan(staged->start);
    // Largest room there is now: the ring tells only whether a given size fits.
    size_t room = ring->capacity();
    while (room > 0 && ring->reserve(room) == nullptr) {
      room /= 2;
    }
    const ptrdiff_t part = whole_prefix(rest, room, is_log, control_->logs_early != 0);
    if (part < 0) {
      return false;
    }
    if (part == 0) {
      break;
    }
    const size_t bytes = static_cast<size_t>(part);
    std::memcpy(ring->reserve(bytes), rest.data(), bytes);
    ring->advance(bytes);
    ring->publish();
    staged->start += bytes;
    fed_ = true;
  }
  if (staged->empty()) {
    staged->bytes.clear();
    staged->start = 0;
  } else if (staged->start > staged->bytes.size() / 2) {
    staged->bytes.erase(staged->bytes.begin(),
                        staged->bytes.begin() + static_cast<ptrdiff_t>(staged->start));
    staged->start = 0;
  }
  return true;
}

void AppPort::ask_to_step_down() {
  FTRUN_ASSERT(!trails() && control_->logs_early == 0);
  stepping_down_ = fed_ = true;
  control_->step_down.store(StepDown::kAsked, std::memory_order_release);
}

bool AppPort::stay() {
  StepDown asked = StepDown::kAsked;
  stepping_down_ =
      !control_->step_down.compare_exchange_strong(asked, StepDown::kNo, std::memory_order_acq_rel);
  return !stepping_down_;
}

// ORDER: the word, then the rings: all that it had to say was published before.
bool AppPort::has_stepped_down() {
  if (!answers_step_down() || log_out_.available() != 0 || output_.available() != 0) {
    return false;
  }
  stepping_down_ = false;
  control_->step_down.store(StepDown::kNo, std::memory_order_relaxed);
  input_ = {};
  if (keeps_input()) {
    const uint64_t is_void = input_ring_.written() - input_trail_.position();
    void_input_ += is_void;
    input_trail_.consume(is_void);
  }
  log_fed_ = log_base_ + log_out_.position();
  return true;
}

bool AppPort::pump() {
  const bool input_moves = stepping_down_ || move_staged(&input_, &input_ring_, false);
  if (staged() && (!input_moves || !move_staged(&log_, &log_in_, true))) {
    return false;
  }
  // A ring whose tail is impossible has no room, so that what is fed is staged.
  if (staged() && (input_ring_.corrupt() || log_in_.corrupt())) {
    return false;
  }
  if (log_.empty() && control_->points_known.load(std::memory_order_relaxed) < points_told_) {
    control_->points_known.store(points_told_, std::memory_order_release);
    fed_ = true;
  }
  // ORDER: the whole log first; the application goes live as soon as it finds no more of it.
  if (going_live_ && log_.empty()) {
    going_live_ = false;
    fed_ = true;
    control_->go_live.store(1, std::memory_order_release);
  }
  if (!fed_) {
    return true;
  }
  fed_ = false;
  // ORDER: publish, full fence, then read the word: either we see the sleeper, or it sees our bytes
  // when it looks at its rings once more (shared_region.h).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (control_->app_asleep.load(std::memory_order_relaxed) != 0 &&
      control_->app_asleep.exchange(0, std::memory_order_acq_rel) != 0) {
    syscall(SYS_futex, &control_->app_asleep, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
  return true;
}

bool AppPort::has_output() const {
  return output_.available() != 0 || log_out_.available() != log_seen_;
}

bool AppPort::app_has_work() const {
  const auto unread = [this](RingId ring) {
    const RingControl& control = control_->rings[ring];
    return control.head.load(std::memory_order_relaxed) !=
           control.tail.load(std::memory_order_relaxed);
  };
  return !app_asleep() && (unread(kRingInput) || unread(kRingLogIn)) && !unread(kRingOutput);
}

uint64_t AppPort::trail_lag() const {
  const auto lag = [this](RingId ring, uint64_t position) -> uint64_t {
    const uint64_t trail = control_->rings[ring].trail.load(std::memory_order_relaxed);
    return trail < position ? position - trail : 0;
  };
  return std::max(lag(kRingLogOut, log_out_.position()), lag(kRingOutput, output_.position()));
}

uint64_t AppPort::app_progress() const {
  const RingControl* const rings = control_->rings;
  return control_->lsn.load(std::memory_order_relaxed) +
         rings[kRingInput].tail.load(std::memory_order_relaxed) +
         rings[kRingLogIn].tail.load(std::memory_order_relaxed) +
         rings[kRingLogOut].head.load(std::memory_order_relaxed) +
         rings[kRingOutput].head.load(std::memory_order_relaxed);
}

Result<bool> AppPort::drain(Sink* sink) {
  Result<bool> output = drain_output(sink);
  if (!output.ok()) {
    return output;
  }
  Result<bool> log = drain_log(sink);
  if (!log.ok()) {
    return log;
  }
  return *output || *log;
}

Result<bool> AppPort::drain_output(Sink* sink) {
  const size_t available = output_.available();
  if (available == kRingCorrupt) {
    return Error{"output ring: impossible head"};
  }
  if (available == 0) {
    return false;
  }
  for (size_t left = available; left != 0;) {
    const size_t taken = take_entries(std::min(left, kCopyBytes), sink);
    if (taken == 0) {
      return Error{"output ring: an entry does not decode"};
    }
    left -= taken;
    output_.consume(taken);
  }
  return true;
}

// Copies so many bytes of the output ring and hands over the whole entries in them. Returns their
// length, 0 if there is none: kCopyBytes hold the longest.
size_t AppPort::take_entries(size_t bytes, Sink* sink) {
  copy_.assign(output_.data(), output_.data() + bytes);
  const uint8_t* const end = copy_.data() + bytes;
  const uint8_t* hashed = copy_.data();
  const uint8_t* cursor = hashed;
  for (Output entry; const uint8_t* next = get_output(cursor, end, &entry);) {
    cursor = next;
    if (entry.kind != OutputKind::kMark) {
      sink->app_output(entry);
      continue;
    }
    XXH3_64bits_update(digest_.get(), hashed, static_cast<size_t>(cursor - hashed));
    hashed = cursor;
    mark_ends_[marks_++ % kMarksKept] =
        output_.position() + static_cast<uint64_t>(cursor - copy_.data());
    mark_position_ = entry.value;
    mark_lsn_ = entry.value2;
    mark_digest_ = XXH3_64bits_digest(digest_.get());
    sink->app_mark(mark_position_, mark_lsn_, mark_digest_);
  }
  XXH3_64bits_update(digest_.get(), hashed, static_cast<size_t>(cursor - hashed));
  return static_cast<size_t>(cursor - copy_.data());
}

Result<bool> AppPort::drain_log(Sink* sink) {
  const size_t available = log_out_.available();
  if (available == kRingCorrupt) {
    return Error{"log ring: impossible head"};
  }
  log_seen_ = available;
  // A turn that the application was in when it went live begins with what it was fed of it.
  const uint64_t read_to = log_base_ - ahead_.size() + log_out_.position();
  // Turns wait for their mark, and a mark for its turns: the shim may publish either first.
  if (available == 0 || mark_position_ <= read_to) {
    return false;
  }
  const uint64_t bytes = mark_position_ - read_to;
  if (bytes > log_out_.capacity()) {
    return Error{"output ring: a mark for more log than its ring can hold"};
  }
  if (bytes > ahead_.size() + available) {
    return false;
  }
  if (bytes < ahead_.size()) {
    return Error{"output ring: a mark within a turn that was fed"};
  }
  const size_t own = bytes - ahead_.size();
  copy_.assign(ahead_.begin(), ahead_.end());
  copy_.insert(copy_.end(), log_out_.data(), log_out_.data() + own);
  ahead_.clear();
  sink->app_turns(copy_, mark_lsn_, mark_digest_);
  log_out_.consume(own);
  log_seen_ -= own;
  return true;
}

}  // namespace ftrun
