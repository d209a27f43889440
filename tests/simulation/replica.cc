// SPDX-License-Identifier: Apache-2.0
// One simulated replica. Test program only.
#include "tests/simulation/replica.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "supervisor/result.h"
#include "tests/simulation/world.h"

namespace ftrun::sim {

Replica::Replica(World* world, unit::ReplicaId id, const unit::CoreConfig& config)
    : world_(world),
      id_(id),
      core_(std::make_unique<unit::UnitCore>(config, this)),
      app_(config.view.replicas.front() == id, world->random.next(), world->turns_clients_away(),
           world->backlog()) {
  if (core_->trails()) {
    app_.input().begin_trail();
    app_.log_out().begin_trail();
    app_.output().begin_trail();
  }
}

namespace {

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
      break;
    case 4:
      step_edge();
      break;
    case 5:
      step_accept();
      retry_lock();
      step_watch();
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
      step_edge();
      core_->flush();
      break;
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
    if (!link.empty()) {
      SimFrame frame = std::move(link.front());
      link.pop_front();
      frame.frame.bytes = frame.bytes;
      drain_shared();
      core_->on_frame(from, frame.frame);
    }
  }
}

// A primary that trails reads at other positions than the sender, which serves its application.
void Replica::step_drain(size_t entries) {
  SimRing& ring = app_.output();
  const bool trails = this->trails();
  while (!done() && entries-- > 0 && core_->may_read_app_log()) {
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
      if (entry.value > log_fed_) {
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
  const uint64_t base = log_fed_;
  size_t ready = 0;
  while (ready < marks_.size() && marks_[ready].position - base <= ring.published()) {
    ++ready;
  }
  if (done() || ready == 0 || !core_->may_read_app_log()) {
    return;
  }
  const size_t count = world_->random.one_in(2) ? ready : 1 + world_->random.below(ready);
  const Mark mark = marks_[count - 1];
  const size_t bytes = mark.position - base - log_shipped_;
  core_->on_app_turns({trails ? ring.trail_data() : ring.data(), bytes}, mark.lsn, mark.digest);
  log_shipped_ += bytes;
  marks_.erase(marks_.begin(), marks_.begin() + static_cast<long>(count));
  if (trails) {
    ring.trail_to(ring.trail() + bytes);
    app_.input().trail_to(core_->logged_input_bytes());
  } else {
    ring.consume(bytes);
  }
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
  const Mark mark = primary_marks_[ready - 1];
  const size_t bytes = mark.position - primary_read_;
  core_->on_primary_turns({log.data(), bytes}, mark.lsn, mark.digest);
  log.consume(bytes);
  primary_read_ += bytes;
  primary_marks_.erase(primary_marks_.begin(), primary_marks_.begin() + static_cast<long>(ready));
}

// What a peer says rests on what stood in the rings before it.
void Replica::drain_shared() {
  if (trails()) {
    step_drain(SIZE_MAX);
    while (!marks_.empty() && marks_.front().position - log_fed_ <= app_.log_out().published() &&
           !done()) {
      step_ship();
    }
  }
  step_primary();
}

// The sender is gone: this replica serves its application itself.
void Replica::serve_own_rings() {
  if (!trails()) {
    return;
  }
  drain_shared();
  core_->on_fed_input({app_.input().trail_data(), app_.input().trail_available()});
  app_.input().end_trail();
  app_.log_out().lead();
  app_.output().lead();
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
  for (unit::ReplicaId other = 0; other < world_->replicas() && !done(); ++other) {
    if (other == id_) {
      continue;
    }
    const Replica& peer = *world_->replica(other);
    if (peer.dead() && world_->random.one_in(4)) {
      core_->on_replica_suspected(other, "dead");
    } else if (peer.paused() && world_->random.one_in(20)) {
      core_->on_replica_suspected(other, "silent");
    } else if (jumpy_ && world_->random.one_in(8)) {
      jumpy_ = false;
      core_->on_replica_suspected(other, "silent, as it seems");
    }
  }
}

void Replica::report_app_end() {
  step_drain(SIZE_MAX);
  step_ship();
  if (done() || (trails() ? app_.output().trail_available() : app_.output().available()) != 0 ||
      (!marks_.empty() && marks_.front().position - log_fed_ <= app_.log_out().published())) {
    return;  // the rings are not drained yet
  }
  app_reported_ = true;
  if (app_.exited()) {
    core_->on_app_exited(app_.exit_status());
  } else {
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

void Replica::wake() {
  if (!paused_ || done()) {
    return;
  }
  paused_ = false;
  jumpy_ = true;
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
  if (!world_->replica(to)->done()) {
    world_->link(id_, to).push_back(std::move(copy));
  }
}

void Replica::propose_view(const unit::View& view) {
  const unit::View current = world_->publish(view);
  defer([this, current] { core_->on_view(current); });
}

void Replica::kill_replica(unit::ReplicaId replica, bool take_connections) {
  world_->note_takeover();
  defer([this, replica, take_connections] {
    if (!world_->options.skip_kill) {
      world_->replica(replica)->kill_supervisor();
    }
    world_->link(replica, id_).clear();
    defer([this, replica, take_connections] {
      if (take_connections) {
        serve_own_rings();
        take_sockets(replica);
      }
      defer([this, replica] { core_->on_replica_gone(replica); });
    });
  });
}

void Replica::take_sockets(unit::ReplicaId from) {
  if (!world_->replica(from)->done()) {
    return world_->fail("sockets are taken from a supervisor that lives");
  }
  std::vector<unit::AdoptedConnection> connections;
  for (auto& socket : world_->kernel.connections) {
    if (socket->holder != from || socket->closed) {
      continue;
    }
    if (world_->lose_a_socket()) {  // it cannot be taken: it goes with the old keeper
      socket->lost = true;
      socket->closed = socket->server_reset = true;
      continue;
    }
    socket->holder = id_;
    unit::AdoptedConnection adopted;
    adopted.id = socket->tag;
    adopted.handle = static_cast<uint64_t>(socket->number);
    adopted.input_dropped = socket->dropped;
    adopted.output_written = socket->out.size();
    adopted.output_shut = socket->out_fin;
    adopted.listener = socket->listener;
    adopted.peer = socket->peer;
    connections.push_back(adopted);
  }
  std::vector<unit::AdoptedListener> listeners;
  take_listeners(from, &listeners);
  core_->on_edge_adopted(connections, listeners);
}

void Replica::take_listeners(unit::ReplicaId from, std::vector<unit::AdoptedListener>* listeners) {
  for (KernelListener& listener : world_->kernel.listeners) {
    if (listener.holder == from && !listener.closed) {
      listener.holder = id_;
      listeners->push_back({listener.socket, make_address(listener.port), listener.listening});
    }
  }
  std::erase_if(world_->kernel.locks, [this, from](const KernelLock& lock) {
    const bool is_lost = lock.holder == from && world_->lose_a_socket();
    // Who waits for it gets it at once.
    world_->kernel.locked_by_stranger |= is_lost && lock.held && world_->random.one_in(2);
    return is_lost;
  });
  for (KernelLock& lock : world_->kernel.locks) {
    if (lock.holder == from) {
      lock.holder = id_;
      lock.waits = false;  // whoever waited is dead
      listeners->push_back({.socket = lock.id, .address = {}, .ask_again = true});
    }
  }
}

void Replica::event(std::string_view kind, std::string_view text) {
  last_event_ = std::string(kind) + ": " + std::string(text);
  world_->trace(id_, kind, text);
  if (kind == "protocol" || kind == "invalid_log" || kind == "app_output" || kind == "takeover") {
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

void Replica::feed_primary(unit::Bytes arrivals) {
  world_->replica(0)->app().feed_input(arrivals.data(), arrivals.size());
}
void Replica::feed_input(unit::Bytes arrivals) {
  if (trails()) {
    world_->fail("two supervisors feed one application");
  }
  app_.feed_input(arrivals.data(), arrivals.size());
}
void Replica::feed_log(unit::Bytes turns) {
  log_fed_ += turns.size();
  app_.feed_log(turns.data(), turns.size());
}
void Replica::go_live() {
  app_.go_live();
}
void Replica::stop_application(std::string_view) {
  app_.kill();
}

}  // namespace ftrun::sim
