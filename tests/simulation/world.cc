// SPDX-License-Identifier: Apache-2.0
// One simulated run. Test program only.
#include "tests/simulation/world.h"

#include <fmt/format.h>
#include <signal.h>

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
  config.standby_lags = members > 2 && random.one_in(3);
  config.input = options.input.value_or(config.input);
  // By a hash: whatever else a seed chooses is as it is without early logging.
  const bool early = Random(options.seed * 3 + 1).one_in(3);
  config.logging = early ? unit::Logging::kEarly : unit::Logging::kLate;
  config.logging = options.logging.value_or(config.logging);
  config.standby_lags = config.standby_lags && config.logging == unit::Logging::kLate;
  config.topology = options.topology.value_or(config.topology);
  config.tolerance = options.tolerance != 0 ? options.tolerance : config.tolerance;
  if (random.one_in(3)) {  // small enough to matter
    config.log_run_ahead_bytes_max = random.between(64, 4096);
    config.progress_report_bytes = config.log_run_ahead_bytes_max / 2;
  }
  if (random.one_in(3)) {
    config.input_store_bytes_max = random.sized(100000);
  }
  if (random.one_in(3)) {
    config.waiting_output_bytes_max = random.sized(100000);
  }
  return config;
}

World::World(const Options& chosen) : options(chosen), random(chosen.seed) {
  const size_t count = options.members != 0 ? options.members : choose_members(&random);
  config_ = choose_config(count);
  view_ = config_.view;
  turns_clients_away_ = random.one_in(8);
  backlog_ = static_cast<int>(random.one_in(2) ? 128 : random.below(4));
  link_bytes_max_ = random.one_in(3) ? random.sized(300000) : link_bytes_max_;
  if (random.one_in(3)) {  // an entry fits in any case, and a turn in an empty log
    rings_.output_bytes = 2 * kOutputDataBytesMax + random.sized(300000);
    rings_.log_bytes = random.sized(300000);
  }
  for (size_t i = 0; i < count; ++i) {
    unit::CoreConfig config = config_;
    config.self = static_cast<unit::ReplicaId>(i);
    replicas_.push_back(std::make_unique<Replica>(this, config.self, config));
  }
  patient_ = !random.one_in(4);
  loses_sockets_ = random.one_in(16);
  hand_overs_ = random.one_in(3) ? random.between(1, 4) : 0;
  if (options.hands_over) {
    hand_overs_ = random.between(20, 60);
  }
  early_signals_ = random.one_in(3) ? static_cast<uint32_t>(random.between(1, 3)) : 0;
  choose_links();
  choose_faults();
  const uint64_t clients = random.one_in(100) ? random.between(20, 40) : random.between(1, 5);
  for (uint64_t i = 0; i < clients; ++i) {
    clients_.push_back(std::make_unique<Client>(this, static_cast<int>(i), poisoned_ && i == 0));
  }
}

void World::fail(const std::string& text) {
  if (!failed()) {
    outcome_.failure = text;
    trace(unit::kNoReplica, "FAILURE", text);
    if (options.breaks) {
      raise(SIGTRAP);
    }
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
      if (!unit::contains(view, member)) {
        note_removal(member);
      }
    }
    view_ = view;
    view_step_ = outcome_.steps;
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
  outcome_.fingerprint = fingerprint.value();
  return outcome_;
}

void World::step() {
  const uint64_t actor = random.below(2 * replicas_.size() + clients_.size());
  if (actor < replicas_.size()) {
    if (!is_slow_supervisor(static_cast<unit::ReplicaId>(actor)) || random.one_in(8)) {
      replicas_[actor]->step();
    }
  } else if (actor < 2 * replicas_.size()) {
    const size_t app = actor - replicas_.size();
    if (!is_slow(static_cast<unit::ReplicaId>(app)) || random.one_in(16)) {
      replicas_[app]->step_app();
    }
  } else {
    clients_[actor - 2 * replicas_.size()]->step();
  }
}

// Somebody else locks the file that the unit locks, now and then, if it is free.
void World::move_stranger() {
  if (outcome_.steps % 32 == 0 && random.one_in(4)) {
    kernel.locked_by_stranger = !kernel.locked_by_stranger && !kernel.is_locked();
  }
}

// The operator gives the sender's part to another member, or the primary's.
void World::hand_over() {
  if (hand_overs_ == 0 || !random.one_in(options.hands_over ? 60 : 300)) {
    return;
  }
  if (random.one_in(2)) {
    return hand_over_primary();
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

void World::hand_over_primary() {
  const auto at = std::find_if(replicas_.begin(), replicas_.end(), [](const auto& replica) {
    return !replica->done() && !replica->paused() && replica->core().status().primary;
  });
  if (at == replicas_.end() || (strikes_all_others() && replicas_.size() > 2)) {
    return;
  }
  --hand_overs_;
  const auto to = static_cast<unit::ReplicaId>(random.below(replicas_.size()));
  const std::string refused = (*at)->core().on_hand_over_primary(to);
  outcome_.hand_overs += refused.empty() ? 1 : 0;
  trace((*at)->id(), "hand over",
        fmt::format("primary to {}{}", static_cast<char>('a' + to), refused));
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
