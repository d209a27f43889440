// SPDX-License-Identifier: Apache-2.0
// One simulated replica. Test program only.
#include "tests/simulation/replica.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "supervisor/base/result.h"
#include "tests/simulation/world.h"

namespace ftrun::sim {

Replica::Replica(World* world, unit::ReplicaId id, const unit::CoreConfig& config)
    : world_(world),
      id_(id),
      core_(std::make_unique<Observer>(config, this, &world->fingerprint, world->options.coverage)),
      app_(config.view.replicas.front() == id, world->random.next(), world->turns_clients_away(),
           world->backlog(), world->rings(), config.logging == unit::Logging::kEarly),
      live_from_(config.view.replicas.front() == id ? 0 : UINT64_MAX),
      keeps_off_(config.view.sender != id) {
  app_.input().begin_trail();
  if (core_->trails()) {
    app_.log_out().begin_trail();
    app_.output().begin_trail();
  }
}

namespace {

// Turns whose output was read: their log is taken before any more is.
constexpr size_t kMarksAhead = 64;

uint64_t extend_digest(uint64_t digest, const uint8_t* begin, const uint8_t* end) {
  for (const uint8_t* byte = begin; byte < end; byte += 8) {
    uint64_t word = 0;
    std::memcpy(&word, byte, std::min<size_t>(8, static_cast<size_t>(end - byte)));
    digest = (digest ^ word) * 0x9e3779b97f4a7c15u;
    digest ^= digest >> 29;
  }
  return digest;
}

}  // namespace

// --- the loop: one random thing ---

void Replica::step() {
  if (done() || paused_) {
    return;
  }
  if (quarantine_steps_ != 0 && --quarantine_steps_ == 0) {
    core_->on_quarantine_over();
  }
  switch (world_->random.below(9)) {
    case 8:
      step_primary();
      break;
    case 0:
      step_deferred();
      break;
    case 1:
      step_receive();
      break;
    case 2:
      step_drain(world_->random.sized(64));
      break;
    case 3:
      step_ship();
      step_part();
      break;
    case 4:
      step_edge();
      break;
    case 5:
      step_accept();
      retry_lock();
      step_watch();
      step_role();
      break;
    case 6:
      core_->flush();
      break;
    default:  // a whole iteration of a loop
      step_deferred();
      step_receive();
      step_primary();
      step_drain(64);
      step_ship();
      step_part();
      step_edge();
      core_->flush();
      break;
  }
  if (!done() && fed_early_ && !app_.goes_live()) {
    world_->fail(
        fmt::format("replica {} is fed input and does not go live", static_cast<char>('a' + id_)));
  }
  if (!done() && core_->state() == unit::State::kExcluded) {
    kill_supervisor();  // it exits; its sockets are its keeper's
  }
}

void Replica::step_deferred() {
  if (!deferred_.empty() && !done()) {
    const auto event = std::move(deferred_.front());
    deferred_.pop_front();
    event();
  }
}

void Replica::step_receive() {
  for (unit::ReplicaId from = 0; from < world_->replicas() && !done(); ++from) {
    std::deque<SimFrame>& link = world_->link(from, id_);
    if (!link.empty() && !world_->is_cut(from, id_) && !world_->rests(from, id_)) {
      drain_shared();
      SimFrame frame = std::move(link.front());
      link.pop_front();
      spoil(&frame);
      frame.frame.bytes = frame.bytes;
      blocked_[from] = !core_->on_frame(from, frame.frame);
      if (blocked_[from]) {
        link.push_front(std::move(frame));
      }
    }
  }
}

bool Replica::may_spoil_input() const {
  const unit::Status status = core_->status();
  return world_->config().input == unit::Input::kReference && !status.primary &&
         status.view.sender != id_;
}

void Replica::spoil(SimFrame* frame) {
  const bool is_input = frame->frame.kind == unit::FrameKind::kInput && !frame->bytes.empty();
  if (spoils_ && is_input && may_spoil_input() && frame->frame.epoch == spoilt_epoch_) {
    spoils_ = false;
    frame->bytes[world_->random.below(frame->bytes.size())] ^= 1;
  }
}

// A primary that trails reads at other positions than the sender, which serves its application.
void Replica::step_drain(size_t entries) {
  SimRing& ring = app_.output();
  const bool trails = this->trails();
  while (!done() && entries-- > 0 && (trails || marks_.size() < kMarksAhead) &&
         core_->may_read_app_log()) {
    if (core_->waiting_output_bytes() > world_->config().waiting_output_bytes_max) {
      return world_->fail(fmt::format("replica {} reads on, though {} bytes of its output wait",
                                      static_cast<char>('a' + id_), core_->waiting_output_bytes()));
    }
    const uint8_t* const begin = trails ? ring.trail_data() : ring.data();
    const size_t available = trails ? ring.trail_available() : ring.available();
    if (available == 0) {
      return;
    }
    Output entry;
    const uint8_t* const end = get_output(begin, begin + available, &entry);
    FTRUN_ASSERT(end != nullptr);
    digest_ = extend_digest(digest_, begin, end);
    if (entry.kind != OutputKind::kMark) {
      core_->on_app_output(entry);
    } else {
      if (entry.value > live_from_) {
        marks_.push_back({entry.value, entry.value2, digest_});
      }
      core_->on_app_mark(entry.value, entry.value2, digest_);
    }
    const auto bytes = static_cast<size_t>(end - begin);
    trails ? ring.trail_to(ring.trail() + bytes) : ring.consume(bytes);
  }
}

void Replica::step_ship() {
  SimRing& ring = app_.log_out();
  const bool trails = this->trails();
  const uint64_t base = log_base_;
  size_t ready = 0;
  while (ready < marks_.size() && marks_[ready].position - base <= ring.published()) {
    ++ready;
  }
  if (done() || ready == 0 || !core_->may_read_app_log()) {
    return;
  }
  const size_t count = world_->random.one_in(2) ? ready : 1 + world_->random.below(ready);
  Mark mark = marks_[count - 1];
  mark.digest ^= std::exchange(spoils_digest_, false) ? 1 : 0;
  const size_t bytes = mark.position - base - log_shipped_;
  const uint8_t* const own = trails ? ring.trail_data() : ring.data();
  // The turn in which it went live begins with what it was fed of it.
  std::vector<uint8_t> turns = std::exchange(ahead_, {});
  turns.insert(turns.end(), own, own + bytes);
  log_.insert(log_.end(), turns.begin(), turns.end());
  check_run_ahead();
  core_->on_app_turns(turns, mark.lsn, mark.digest);
  log_shipped_ += bytes;
  marks_.erase(marks_.begin(), marks_.begin() + static_cast<long>(count));
  if (trails) {
    ring.trail_to(ring.trail() + bytes);
  } else {
    ring.consume(bytes);
  }
  app_.input().trail_to(core_->logged_input_bytes() + input_void_);
}

// The sender reads the rings of the primary's application.
void Replica::step_primary() {
  ToyApp& primary = world_->replica(0)->app();
  SimRing& output = primary.output();
  while (!done() && core_->may_read_primary_log() && output.available() != 0) {
    const uint8_t* const begin = output.data();
    Output entry;
    const uint8_t* const end = get_output(begin, begin + output.available(), &entry);
    FTRUN_ASSERT(end != nullptr);
    primary_digest_ = extend_digest(primary_digest_, begin, end);
    if (entry.kind == OutputKind::kMark) {
      primary_marks_.push_back({entry.value, entry.value2, primary_digest_});
    }
    output.consume(static_cast<size_t>(end - begin));
    if (world_->random.one_in(8)) {
      break;
    }
  }
  SimRing& log = primary.log_out();
  size_t ready = 0;
  while (ready < primary_marks_.size() && primary_marks_[ready].position <= log.published()) {
    ++ready;
  }
  if (done() || ready == 0 || !core_->may_read_primary_log()) {
    return;
  }
  Mark mark = primary_marks_[ready - 1];
  mark.digest ^= std::exchange(world_->replica(0)->spoils_digest_, false) ? 1 : 0;
  const size_t bytes = mark.position - primary_read_;
  core_->on_primary_turns({log.data(), bytes}, mark.lsn, mark.digest);
  log.consume(bytes);
  primary_read_ += bytes;
  primary_marks_.erase(primary_marks_.begin(), primary_marks_.begin() + static_cast<long>(ready));
}

bool Replica::has_live_turns() {
  return !marks_.empty() && marks_.front().position - log_base_ <= app_.log_out().published();
}

// What a peer says rests on what stood in the rings before it.
void Replica::drain_shared() {
  if (trails()) {
    step_drain(SIZE_MAX);
    while (has_live_turns() && !done()) {
      step_ship();
    }
  }
  step_primary();
}

void Replica::step_watch() {
  if (done()) {
    return;
  }
  if (!signals_.empty()) {
    const auto [sequence, number] = signals_.front();
    signals_.pop_front();
    core_->on_signal(sequence, number);
  }
  if (!app_reported_ && (app_.dead() || app_.exited())) {
    report_app_end();
  }
  if (world_->random.one_in(4)) {
    core_->on_tick();
  }
  for (unit::ReplicaId other = 0; other < world_->replicas() && !done(); ++other) {
    if (other == id_) {
      continue;
    }
    const Replica& peer = *world_->replica(other);
    // What it had sent before it ended is read first; a killed one's may be lost on the way.
    const bool is_read = world_->link(other, id_).empty();
    const bool has_ended = peer.dead() ? is_read || !blocked_[other] : peer.finished() && is_read;
    const bool silent = peer.paused() || world_->is_cut(other, id_);
    if (!peer.dead() && !silent) {
      core_->on_replica_heard(other);
    }
    if (has_ended && world_->random.one_in(4)) {
      core_->on_replica_suspected(other, "dead", unit::Suspicion::kFailed);
    } else if (silent && world_->random.one_in(20)) {
      core_->on_replica_suspected(other, "silent", unit::Suspicion::kSilent);
    } else if (jumpy_ && world_->random.one_in(8)) {
      jumpy_ = false;
      core_->on_replica_suspected(other, "silent, as it seems", unit::Suspicion::kSilent);
    }
  }
}

void Replica::report_app_end() {
  step_drain(SIZE_MAX);
  step_ship();
  if (done() || (app_.exited() &&
                 ((trails() ? app_.output().trail_available() : app_.output().available()) != 0 ||
                  has_live_turns()))) {
    return;  // the rings are not drained yet
  }
  app_reported_ = true;
  if (app_.exited()) {
    core_->on_app_exited(app_.exit_status());
  } else {
    if (!app_.failure().empty() && !world_->may_diverge()) {
      world_->fail(fmt::format("replica {}: {}", static_cast<char>('a' + id_), app_.failure()));
    }
    core_->on_app_failed(app_.failure().empty() ? "killed" : app_.failure(), 137, app_.suspect());
  }
}

// --- what happens to it ---

void Replica::kill_supervisor() {
  if (done()) {
    return;
  }
  dead_ = true;
  paused_ = false;
  app_.kill();
  deferred_.clear();
  for (unit::ReplicaId to = 0; to < world_->replicas(); ++to) {
    // What it had not given to its kernel is lost, from some byte on.
    std::deque<SimFrame>& link = world_->link(id_, to);
    link.resize(world_->random.below(link.size() + 1));
  }
}

void Replica::wake(bool jumpy) {
  if (!paused_ || done()) {
    return;
  }
  paused_ = false;
  jumpy_ = jumpy;
  if (world_->random.one_in(2)) {
    core_->on_view(world_->current_view());
  }
}

void Replica::tell_signal(uint32_t sequence, int number) {
  signals_.emplace_back(sequence, number);
}

// --- Host: the unit ---

void Replica::send(unit::ReplicaId to, const unit::Frame& frame) {
  FTRUN_ASSERT(to != id_);
  SimFrame copy;
  copy.frame = frame;
  copy.bytes.assign(frame.bytes.begin(), frame.bytes.end());
  if (spoils_turns_ && frame.kind == unit::FrameKind::kTurns) {
    std::fill(copy.bytes.begin() + static_cast<long>(copy.bytes.size() / 2), copy.bytes.end(), 255);
  }
  if (!world_->replica(to)->done()) {
    world_->note_sent(copy);
    world_->link(id_, to).push_back(std::move(copy));
  }
}

void Replica::event(std::string_view kind, std::string_view text) {
  last_event_ = std::string(kind) + ": " + std::string(text);
  world_->trace(id_, kind, text);
  if ((kind == "protocol" && !world_->has_liar()) || kind == "invalid_log" ||
      kind == "app_output" || kind == "takeover" ||
      (kind == "diverged" && !world_->may_diverge())) {
    world_->fail(fmt::format("replica {}: {}", static_cast<char>('a' + id_), last_event_));
  }
}

void Replica::finished(int status) {
  if (finished_) {
    world_->fail("finished twice");
  }
  finished_ = true;
  status_ = status;
  app_.kill();
  world_->kernel.close_all(id_);
}

// --- Host: the application ---

namespace {
std::string describe_arrivals(unit::Bytes bytes) {
  std::string text;
  for (const uint8_t* cursor = bytes.data(); cursor != bytes.data() + bytes.size();) {
    Arrival item;
    cursor = get_arrival(cursor, bytes.data() + bytes.size(), &item);
    if (cursor == nullptr) {
      return text + " ?";
    }
    constexpr const char* kNames[] = {"open",   "data",   "fin",   "reset",
                                      "credit", "signal", "bound", "urgent"};
    text += fmt::format(" {} {} ({})", kNames[static_cast<int>(item.kind) % 8], item.id,
                        item.kind == ArrivalKind::kData ? item.length : item.value);
  }
  return text;
}
}  // namespace

void Replica::feed_primary(unit::Bytes arrivals) {
  world_->trace(id_, "feeds", describe_arrivals(arrivals));
  world_->replica(0)->app().feed_input(arrivals.data(), arrivals.size());
}
void Replica::feed_input(unit::Bytes arrivals) {
  if (trails()) {
    world_->fail("two supervisors feed one application");
  }
  world_->trace(id_, "feeds", describe_arrivals(arrivals));
  if (stepping_) {
    held_back_.insert(held_back_.end(), arrivals.begin(), arrivals.end());
    return;
  }
  fed_early_ = !app_.live();
  app_.feed_input(arrivals.data(), arrivals.size());
}
unit::Bytes Replica::fed_input() {
  fed_.assign(app_.input().trail_data(),
              app_.input().trail_data() + app_.input().trail_available());
  if (trails()) {
    app_.log_out().lead();
    app_.output().lead();
  }
  world_->trace(id_, "fed", describe_arrivals(fed_));
  return fed_;
}
void Replica::step_down() {
  stepping_ = true;
  withdrawn_ = fed_early_ = false;
  app_.ask_to_step_down();
}
void Replica::stay() {
  withdrawn_ = true;
}

// Answers whether the application has stepped down: once its rings are drained; or, after a while,
// that it has not.
void Replica::step_role() {
  if (!stepping_ || done() || app_.dead() || app_.exited()) {
    return;
  }
  if (!app_.stepped_down() && (withdrawn_ || world_->random.one_in(64)) && app_.stay()) {
    stepping_ = false;
    app_.feed_input(held_back_.data(), held_back_.size());
    held_back_.clear();
    return defer([this] { core_->on_stepped_down(false); });
  }
  if (!app_.stepped_down() || app_.output().available() != 0 || !marks_.empty()) {
    return;
  }
  stepping_ = false;
  held_back_.clear();
  live_from_ = UINT64_MAX;
  input_void_ = app_.input().published() - core_->logged_input_bytes();
  app_.input().trail_to(app_.input().published());
  core_->on_stepped_down(true);
}

void Replica::feed_log(unit::Bytes turns) {
  if (!world_->config().sender_serves_primary && !world_->is_logged(this, log_.size(), turns)) {
    world_->fail(fmt::format("replica {} is fed a log that nobody has made from {} on",
                             static_cast<char>('a' + id_), log_.size()));
  }
  check_lag(log_.size() + turns.size());
  log_.insert(log_.end(), turns.begin(), turns.end());
  FTRUN_ASSERT(unit::begins_with(turns, ahead_));
  const unit::Bytes rest = turns.subspan(ahead_.size());
  ahead_.clear();
  app_.feed_log(rest.data(), rest.size());
}
void Replica::go_live() {
  live_from_ = log_.size();
  log_base_ = live_from_ + ahead_.size() - log_shipped_;
  parts_read_ = 0;
  app_.go_live();
}
void Replica::stop_application(std::string_view) {
  app_.kill();
}

}  // namespace ftrun::sim
