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

size_t World::choose_members(Random* random) {
  switch (random->below(8)) {
    case 0:
      return 1;
    case 1:
    case 2:
    case 3:
      return 2;
    case 4:
    case 5:
      return 3;
    case 6:
      return random->between(4, 5);
    default:
      return random->between(3, unit::kMembersMax);
  }
}

unit::CoreConfig World::choose_config(size_t members) {
  unit::CoreConfig config;
  config.view.epoch = 1;
  for (size_t i = 0; i < members; ++i) {
    config.view.replicas.push_back(static_cast<unit::ReplicaId>(i));
  }
  config.view.sender = config.view.replicas.back();
  config.mutation = options.mutation;
  config.sender_serves_primary = members <= 2 && random.one_in(2);
  config.topology = random.one_in(2) ? unit::Topology::kFanout : unit::Topology::kChain;
  config.promotion =
      random.one_in(2) ? unit::Promotion::kDesignated : unit::Promotion::kMostAdvanced;
  config.tolerance =
      static_cast<unsigned>(members < 3 ? 1 : 1 + random.below(std::min<size_t>(members - 1, 3)));
  config.input = random.one_in(3) ? unit::Input::kLog : unit::Input::kReference;
  config.input = options.input.value_or(config.input);
  config.topology = options.topology.value_or(config.topology);
  config.tolerance = options.tolerance != 0 ? options.tolerance : config.tolerance;
  if (random.one_in(3)) {  // small enough to matter
    config.log_run_ahead_bytes_max = random.between(64, 4096);
    config.progress_report_bytes = config.log_run_ahead_bytes_max / 2;
  }
  if (random.one_in(3)) {
    config.input_store_bytes_max = random.sized(100000);
  }
  return config;
}

World::World(const Options& chosen) : options(chosen), random(chosen.seed) {
  const size_t count = options.members != 0 ? options.members : choose_members(&random);
  config_ = choose_config(count);
  view_ = config_.view;
  turns_clients_away_ = random.one_in(8);
  backlog_ = static_cast<int>(random.one_in(2) ? 128 : random.below(4));
  for (size_t i = 0; i < count; ++i) {
    unit::CoreConfig config = config_;
    config.self = static_cast<unit::ReplicaId>(i);
    replicas_.push_back(std::make_unique<Replica>(this, config.self, config));
  }
  patient_ = !random.one_in(4);
  loses_sockets_ = random.one_in(16);
  hand_overs_ = random.one_in(3) ? random.between(1, 4) : 0;
  early_signals_ = random.one_in(3) ? static_cast<uint32_t>(random.between(1, 3)) : 0;
  if (random.one_in(3)) {
    slow_app_ = static_cast<unit::ReplicaId>(random.below(count));
  }
  if (random.one_in(3)) {
    // Often the sender's: others have turns before the input to which they refer.
    slow_from_ =
        random.one_in(2) ? view_.sender : static_cast<unit::ReplicaId>(random.below(count));
    slow_to_ = static_cast<unit::ReplicaId>(random.below(count));
    slowness_ = random.one_in(2) ? 64 : 16;
  }
  choose_faults();
  const uint64_t clients = random.one_in(100) ? random.between(20, 40) : random.between(1, 5);
  for (uint64_t i = 0; i < clients; ++i) {
    clients_.push_back(std::make_unique<Client>(this, static_cast<int>(i), poisoned_ && i == 0));
  }
}

// One failure mostly, several of them in larger units: at once, as far as the unit is to bear that,
// and again once it has recovered.
void World::choose_faults() {
  const size_t members = replicas_.size();
  if (members == 1 || random.one_in(10)) {
    return;
  }
  constexpr Fault kFaults[] = {Fault::kKillApp, Fault::kKillSupervisor, Fault::kPause,
                               Fault::kCorrupt, Fault::kPoison,         Fault::kSpoilInput};
  has_fault_ = true;
  reckless_ = random.one_in(16) || options.reckless;
  const size_t most = members - 1 + (reckless_ ? 1 : 0);
  const size_t count = 1 + (reckless_ || random.one_in(2) ? random.below(most) : 0);
  const uint64_t spread = random.one_in(2) ? 200 : 4000;
  for (size_t i = 0; i < count; ++i) {
    Strike strike{};
    strike.fault = kFaults[random.below(i == 0 ? std::size(kFaults) : 3)];
    strike.fault = i == 0 && options.fault != Fault::kNone ? options.fault : strike.fault;
    strike.victim = static_cast<unit::ReplicaId>(
        strike.fault == Fault::kCorrupt ? random.between(1, members - 1) : random.below(members));
    strike.step = random.below(spread) * (members / 2);
    strike.wake_step = strike.step + random.below(1000);
    poisoned_ = poisoned_ || strike.fault == Fault::kPoison;
    strikes_.push_back(strike);
  }
  const Fault first = strikes_.front().fault;
  if (count > 1 && first != Fault::kCorrupt && first != Fault::kPoison && random.one_in(3)) {
    // The two that hold most, at once.
    strikes_[1].step = strikes_[0].step;
    strikes_[0].victim = 0;
    strikes_[1].victim = static_cast<unit::ReplicaId>(members - 1);
  }
  reckless_ = reckless_ && !poisoned_;
  if (random.one_in(4)) {
    arbiter_fails_from_ = strikes_.front().step;
    arbiter_fails_until_ = arbiter_fails_from_ + random.below(4000);
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
    fmt::print(stderr, "{:7} {} {}: {}\n", outcome_.steps,
               who == unit::kNoReplica ? '-' : static_cast<char>('a' + who), kind, text);
  }
}

const unit::View& World::publish(const unit::View& view) {
  const bool fails = outcome_.steps >= arbiter_fails_from_ && outcome_.steps < arbiter_fails_until_;
  if (view.epoch == view_.epoch + 1 && !fails) {
    for (const unit::ReplicaId member : view_.replicas) {
      const bool wronged = !unit::contains(view, member) && replicas_[member]->is_sound();
      unrecovered_ += wronged ? 1 : 0;
      marked_ = marked_ && !wronged;
    }
    view_ = view;
    trace(unit::kNoReplica, "published", unit::describe(view));
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
  trace(unit::kNoReplica, "seed", describe_faults());
  while (!failed() && !all_done()) {
    if (++outcome_.steps >
        kStepsMaxPerClient * (3 + clients_.size()) * (1 + replicas_.size() / 2)) {
      fail("no progress");
      for (const auto& client : clients_) {
        trace(unit::kNoReplica, "client", client->describe());
      }
      for (size_t i = 0; i < replicas_.size(); ++i) {
        trace(static_cast<unit::ReplicaId>(i), "replica", replicas_[i]->describe());
      }
      break;
    }
    if (has_fault_) {
      note_losses();
      strike();
    }
    step();
    move_stranger();
    hand_over();
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
  count_bytes();
  return outcome_;
}

void World::step() {
  const uint64_t actor = random.below(2 * replicas_.size() + clients_.size());
  if (actor < replicas_.size()) {
    replicas_[actor]->step();
  } else if (actor < 2 * replicas_.size()) {
    const size_t app = actor - replicas_.size();
    if (!is_slow(static_cast<unit::ReplicaId>(app)) || random.one_in(16)) {
      replicas_[app]->step_app();
    }
  } else {
    clients_[actor - 2 * replicas_.size()]->step();
  }
}

std::string World::describe_faults() const {
  std::string text = fmt::format(
      "{}: {} replicas, {}, {}, tolerance {}{}, {} clients", options.seed, replicas_.size(),
      config_.topology == unit::Topology::kChain ? "chain" : "fan-out",
      config_.promotion == unit::Promotion::kDesignated ? "designated" : "most advanced",
      config_.tolerance,
      config_.sender_serves_primary              ? ", shared rings"
      : config_.input == unit::Input::kReference ? ", input by reference"
                                                 : "",
      clients_.size());
  for (const Strike& strike : strikes_) {
    text += fmt::format("; fault {} of {} at {}, wakes at {}", static_cast<int>(strike.fault),
                        static_cast<char>('a' + strike.victim), strike.step, strike.wake_step);
  }
  return text + (reckless_ ? "; reckless" : "");
}

// Every member that lives is at work in one view, and holds what any of them held when that began.
bool World::is_recovered() {
  uint64_t least = UINT64_MAX;
  uint64_t most = 0;
  for (const auto& replica : replicas_) {
    if (replica->done()) {
      if (replica->dead() && unit::contains(view_, replica->id())) {
        return false;
      }
      continue;
    }
    const unit::Status status = replica->core().status();
    if (!replica->is_sound() || status.suspects || status.state != unit::State::kRunning ||
        !(status.view == view_)) {
      return false;
    }
    least = std::min(least, status.received);
    most = std::max(most, status.received);
  }
  if (!marked_) {
    marked_ = true;
    recovery_mark_ = most;
  }
  return least >= recovery_mark_;
}

void World::note_losses() {
  if (unrecovered_ != 0 && outcome_.steps % 16 == 0 && is_recovered()) {
    unrecovered_ = 0;
    marked_ = false;
  }
}

// A chain bears any number: everybody has what its last member has let out. A fan-out bears as many
// as it tolerates.
bool World::may_strike(const Strike& strike) {
  const auto living =
      std::count_if(replicas_.begin(), replicas_.end(), [this](const auto& replica) {
        return replica->is_sound() && unit::contains(view_, replica->id());
      });
  const bool kills = strike.fault != Fault::kPoison && replicas_[strike.victim]->is_sound();
  const size_t most = config_.topology == unit::Topology::kChain || replicas_.size() == 2
                          ? unit::kMembersMax
                          : config_.tolerance;
  const bool bearable =
      !kills || (living > (poisoned_ ? 2 : 1) && unrecovered_ + (poisoned_ ? 1 : 0) < most);
  if (!bearable && reckless_) {
    doomed_ = true;
  }
  return bearable || reckless_;
}

void World::strike() {
  for (Strike& strike : strikes_) {
    if (!strike.done && outcome_.steps >= strike.step && may_strike(strike)) {
      hit(&strike);
    }
    if (strike.done && strike.fault == Fault::kPause && outcome_.steps >= strike.wake_step) {
      replicas_[strike.victim]->wake();
    }
  }
  if (doomed_ && all_ended()) {
    for (size_t i = 0; i < replicas_.size(); ++i) {
      kernel.close_all(static_cast<int>(i));  // the keepers are cleaned up
    }
  }
}

void World::hit(Strike* strike) {
  Replica& victim = *replicas_[strike->victim];
  strike->done = true;
  strike->wake_step += outcome_.steps - strike->step;
  if (!victim.is_sound() || strike->fault == Fault::kPoison ||
      (strike->fault == Fault::kCorrupt && victim.core().status().primary) ||
      (strike->fault == Fault::kSpoilInput && !victim.may_spoil_input())) {
    return;
  }
  trace(strike->victim, "strike", "");
  marked_ = false;
  ++unrecovered_;
  switch (strike->fault) {
    case Fault::kKillApp:
      return victim.kill_app();
    case Fault::kKillSupervisor:
      return victim.kill_supervisor();
    case Fault::kPause:
      return victim.pause();
    case Fault::kCorrupt:
      return victim.app().corrupt_next_write();
    case Fault::kSpoilInput:
      return victim.spoil_input();
    case Fault::kPoison:
    case Fault::kNone:
      return;
  }
}

// Somebody else locks the file that the unit locks, now and then, if it is free.
void World::move_stranger() {
  if (outcome_.steps % 32 == 0 && random.one_in(4)) {
    kernel.locked_by_stranger = !kernel.locked_by_stranger && !kernel.is_locked();
  }
}

// The operator gives the sender's part to another member.
void World::hand_over() {
  if (hand_overs_ == 0 || !random.one_in(300)) {
    return;
  }
  Replica& sender = *replicas_[view_.sender];
  if (sender.done() || sender.paused()) {
    return;
  }
  --hand_overs_;
  const auto to = static_cast<unit::ReplicaId>(random.below(replicas_.size()));
  const std::string refused = sender.core().on_hand_over(to);
  outcome_.hand_overs += refused.empty() ? 1 : 0;
  trace(sender.id(), "hand over", fmt::format("to {}{}", static_cast<char>('a' + to), refused));
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
    const unit::Status status = replica->core().status();
    if (!replica->done() && status.state == unit::State::kRunning &&
        status.connections != staying) {
      return false;  // somebody has not heard yet that a connection is gone
    }
    return replica->done() || !replica->app().live() ||
           (state.conns.size() == staying && (state.extra_stage == 0 || state.extra_stage == 3) &&
            state.lock != ToyLock::kAsked && state.lock != ToyLock::kAskedBack &&
            kernel.port_in_use(kToyExtraPort) == (state.extra_stage == 3));
  });
}

// Of a lost unit, who has no application waits for somebody to tell it so; whoever started it ends
// it.
bool World::all_ended() const {
  return std::all_of(replicas_.begin(), replicas_.end(), [this](const auto& replica) {
    return replica->done() || (doomed_ && replica->core().state() == unit::State::kAppFailed);
  });
}

bool World::all_done() const {
  return all_ended() && std::all_of(clients_.begin(), clients_.end(),
                                    [](const auto& client) { return client->done(); });
}

}  // namespace ftrun::sim
