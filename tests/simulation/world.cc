// SPDX-License-Identifier: Apache-2.0
// One simulated run. Test program only.
#include "tests/simulation/world.h"

#include <fmt/format.h>

#include <algorithm>

namespace ftrun::sim {

namespace {
constexpr uint64_t kStepsMaxPerClient = 300000;
constexpr int kSignalStop = 15;
constexpr int kSignalUser = 10;
}  // namespace

World::World(const Options& chosen) : options(chosen), random(chosen.seed) {
  const size_t count = random.one_in(8) ? 1 : 2;
  view_.epoch = 1;
  for (size_t i = 0; i < count; ++i) {
    view_.replicas.push_back(static_cast<unit::ReplicaId>(i));
  }
  view_.sender = view_.replicas.back();
  unit::CoreConfig config;
  config.view = view_;
  config.mutation = options.mutation;
  config.sender_serves_primary = random.one_in(2);
  turns_clients_away_ = random.one_in(8);
  backlog_ = static_cast<int>(random.one_in(2) ? 128 : random.below(4));
  if (random.one_in(3)) {  // small enough to matter
    config.log_run_ahead_bytes_max = random.between(64, 4096);
    config.progress_report_bytes = config.log_run_ahead_bytes_max / 2;
  }
  for (size_t i = 0; i < count; ++i) {
    config.self = static_cast<unit::ReplicaId>(i);
    replicas_.push_back(std::make_unique<Replica>(this, config.self, config));
  }
  patient_ = !random.one_in(4);
  loses_sockets_ = random.one_in(16);
  early_signals_ = random.one_in(3) ? static_cast<uint32_t>(random.between(1, 3)) : 0;
  choose_fault(count);
  const uint64_t clients = random.one_in(100) ? random.between(20, 40) : random.between(1, 5);
  for (uint64_t i = 0; i < clients; ++i) {
    const bool poisoner = fault_ == Fault::kPoison && i == 0;
    clients_.push_back(std::make_unique<Client>(this, static_cast<int>(i), poisoner));
  }
}

void World::choose_fault(size_t replicas) {
  if (replicas == 2 && !random.one_in(10)) {
    constexpr Fault kFaults[] = {Fault::kKillApp, Fault::kKillSupervisor, Fault::kPause,
                                 Fault::kCorrupt, Fault::kPoison};
    fault_ = kFaults[random.below(std::size(kFaults))];
    victim_ = static_cast<unit::ReplicaId>(fault_ == Fault::kCorrupt ? 1 : random.below(2));
    strike_step_ = random.below(random.one_in(2) ? 200 : 4000);
    wake_step_ = strike_step_ + random.below(1000);
    const bool twice = fault_ != Fault::kCorrupt && fault_ != Fault::kPoison && random.one_in(16);
    second_step_ = twice ? strike_step_ + random.below(1000) : 0;
  }
}

void World::fail(const std::string& text) {
  if (!failed()) {
    outcome_.failure = text;
    trace(unit::kNoReplica, "FAILURE", text);
  }
}

void World::trace(unit::ReplicaId who, std::string_view kind, std::string_view text) {
  if (options.trace) {
    fmt::print("{:7} {} {}: {}\n", outcome_.steps,
               who == unit::kNoReplica ? '-' : static_cast<char>('a' + who), kind, text);
  }
}

const unit::View& World::publish(const unit::View& view) {
  if (view.epoch == view_.epoch + 1) {
    view_ = view;
  }
  return view_;
}

void World::note_counter(uint64_t counter) {
  if (counter >= counters_seen_.size()) {
    counters_seen_.resize(counter + 64);
  }
  if (counter == 0 || counter > requests_made_ || counters_seen_[counter]) {
    return fail(fmt::format("counter {} {}", counter,
                            counter > requests_made_ ? "is too high" : "was seen twice"));
  }
  counters_seen_[counter] = true;
}

Outcome World::run() {
  trace(unit::kNoReplica, "seed",
        fmt::format("{}: {} replicas, {} clients, fault {} of {} at {}, wakes at {}", options.seed,
                    replicas_.size(), clients_.size(), static_cast<int>(fault_),
                    static_cast<char>('a' + victim_), strike_step_, wake_step_));
  while (!failed() && !all_done()) {
    if (++outcome_.steps > kStepsMaxPerClient * (3 + clients_.size())) {
      fail("no progress");
      for (const auto& client : clients_) {
        trace(unit::kNoReplica, "client", client->describe());
      }
      for (size_t i = 0; i < replicas_.size(); ++i) {
        trace(static_cast<unit::ReplicaId>(i), "replica", replicas_[i]->describe());
      }
      break;
    }
    if (fault_ != Fault::kNone) {
      strike();
    }
    if (second_step_ != 0) {
      strike_again();
    }
    step();
    move_stranger();
    check_lock();
    operate();
    if (outcome_.steps % 64 == 0) {
      check_bounds();
    }
  }
  if (!failed()) {
    check_end();
  }
  outcome_.requests = requests_made_;
  return outcome_;
}

void World::step() {
  const uint64_t actor = random.below(2 * replicas_.size() + clients_.size());
  if (actor < replicas_.size()) {
    replicas_[actor]->step();
  } else if (actor < 2 * replicas_.size()) {
    replicas_[actor - replicas_.size()]->step_app();
  } else {
    clients_[actor - 2 * replicas_.size()]->step();
  }
}

void World::strike() {
  Replica& victim = *replicas_[victim_];
  if (outcome_.steps == strike_step_ && !victim.done()) {
    trace(victim_, "strike", "");
    switch (fault_) {
      case Fault::kKillApp:
        victim.kill_app();
        break;
      case Fault::kKillSupervisor:
        victim.kill_supervisor();
        break;
      case Fault::kPause:
        victim.pause();
        break;
      case Fault::kCorrupt:
        victim.app().corrupt_next_write();
        break;
      case Fault::kPoison:
      case Fault::kNone:
        break;
    }
  }
  if (fault_ == Fault::kPause && outcome_.steps >= wake_step_) {
    victim.wake();
  }
}

void World::strike_again() {
  if (outcome_.steps == second_step_) {
    Replica& victim = *replicas_[random.below(replicas_.size())];
    doomed_ = true;
    trace(unit::kNoReplica, "strike again", "");
    if (random.one_in(2)) {
      victim.kill_app();
    } else {
      victim.kill_supervisor();
    }
  }
  if (doomed_ && std::all_of(replicas_.begin(), replicas_.end(),
                             [](const auto& replica) { return replica->done(); })) {
    for (size_t i = 0; i < replicas_.size(); ++i) {
      kernel.close_all(static_cast<int>(i));  // the keepers are cleaned up
    }
  }
}

// Somebody else locks the file that the unit locks, now and then, if it is free.
void World::move_stranger() {
  if (outcome_.steps % 32 == 0 && random.one_in(4)) {
    kernel.locked_by_stranger = !kernel.locked_by_stranger && !kernel.is_locked();
  }
}

// What the program was told of its lock is so, for as long as it asks for nothing else.
void World::check_lock() {
  for (const auto& replica : replicas_) {
    const ToyState& state = replica->app().state();
    if (replica->done() || replica->app().dead() || !replica->app().live() || doomed_ ||
        loses_sockets_) {
      continue;
    }
    const auto lock =
        std::find_if(kernel.locks.begin(), kernel.locks.end(),
                     [&state](const KernelLock& other) { return other.id == state.lock_socket; });
    const bool held = lock != kernel.locks.end() && lock->held;
    if ((state.lock == ToyLock::kHeld && !held) || (state.lock == ToyLock::kFree && held)) {
      fail(held ? "the lock that was given back is held" : "the lock that is held is free");
    }
  }
}

// The operator: signals now and then, and a stop once all clients are served.
void World::operate() {
  int number = kSignalUser;
  if (signals_sent_ < early_signals_) {
    if (!random.one_in(100)) {
      return;
    }
  } else if (!stopping_ && outcome_.steps % 16 == 0 && may_stop()) {
    stopping_ = true;
    number = kSignalStop;
  } else {
    return;
  }
  // Two processes may give one each at the same time; replicas hear of them in any order then.
  const bool pair = number == kSignalUser && signals_sent_ + 1 < early_signals_ && random.one_in(2);
  const uint32_t first = signals_sent_ + 1;
  signals_sent_ += pair ? 2 : 1;
  for (auto& replica : replicas_) {
    const bool swapped = pair && random.one_in(2);
    replica->tell_signal(first + (swapped ? 1 : 0), number);
    if (pair) {
      replica->tell_signal(first + (swapped ? 0 : 1), number);
    }
  }
}

bool World::may_stop() const {
  size_t staying = 0;
  for (const auto& client : clients_) {
    if (!client->served()) {
      return false;
    }
    staying += client->stays() ? 1 : 0;
  }
  return !patient_ || std::all_of(replicas_.begin(), replicas_.end(), [&](const auto& replica) {
    const ToyState& state = replica->app().state();
    return replica->done() || !replica->app().live() ||
           (state.conns.size() == staying && (state.extra_stage == 0 || state.extra_stage == 3) &&
            state.lock != ToyLock::kAsked && state.lock != ToyLock::kAskedBack &&
            kernel.port_in_use(kToyExtraPort) == (state.extra_stage == 3));
  });
}

bool World::all_done() const {
  return std::all_of(replicas_.begin(), replicas_.end(),
                     [](const auto& replica) { return replica->done(); }) &&
         std::all_of(clients_.begin(), clients_.end(),
                     [](const auto& client) { return client->done(); });
}

void World::check_bounds() {
  for (const auto& replica : replicas_) {
    if (replica->done()) {
      continue;
    }
    const unit::Status status = replica->core().status();
    if (replica->core().resend_bytes_max() > kSendWindowBytes) {
      fail(fmt::format("a resend queue holds {} bytes", replica->core().resend_bytes_max()));
    }
    if (status.live && status.lag_records != 0) {
      fail("a live replica is behind");
    }
  }
}

// What must hold in the end: somebody finished, cleanly, in the state that the world has seen.
void World::check_end() {
  uint64_t finished = 0;
  uint64_t exited = 0;  // an application may be killed between publishing its exit and exiting
  for (const auto& replica : replicas_) {
    if (!replica->finished()) {
      continue;
    }
    ++finished;
    const ToyState& state = replica->app().state();
    if (doomed_) {
      continue;
    }
    exited += replica->app().exited() ? 1 : 0;
    if (replica->status() != 0) {
      fail(fmt::format("the unit ended with status {}: {}", replica->status(),
                       replica->last_event()));
    }
    const bool aborts = std::any_of(clients_.begin(), clients_.end(), [](const auto& client) {
      return client->aborts() || client->lost();
    });
    if (state.counter > requests_made_ || (!aborts && state.counter != requests_made_)) {
      fail(fmt::format("{} requests made, {} applied", requests_made_, state.counter));
    }
    if (replica->console_bytes() != state.counter) {
      fail(fmt::format("{} bytes on the console for {} requests", replica->console_bytes(),
                       state.counter));
    }
    std::vector<uint32_t> signals = state.signals;
    std::sort(signals.begin(), signals.end());
    if (signals.size() != signals_sent_ ||
        std::adjacent_find(signals.begin(), signals.end()) != signals.end()) {
      fail(fmt::format("{} signals sent, {} received", signals_sent_, state.signals.size()));
    }
  }
  if (exited == 0 && !doomed_) {
    fail(finished == 0 ? "no replica finished" : "the unit ended, but no application exited");
  }
  if (fault_ == Fault::kNone && finished != replicas_.size()) {
    fail("a replica was lost without a fault");
  }
}

}  // namespace ftrun::sim
