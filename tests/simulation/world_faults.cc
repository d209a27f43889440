// SPDX-License-Identifier: Apache-2.0
// What fails in a simulated run, when, and what the unit is to bear. Test program only.
#include <fmt/format.h>

#include <algorithm>

#include "tests/simulation/world.h"

namespace ftrun::sim {

// Some processes and some links are much slower than others; some members in one direction only.
void World::choose_links() {
  const auto anybody = [this] {
    return static_cast<unit::ReplicaId>(random.below(replicas_.size()));
  };
  slow_app_ = random.one_in(3) ? anybody() : unit::kNoReplica;
  slow_supervisor_ = random.one_in(8) ? anybody() : unit::kNoReplica;
  if (random.one_in(3)) {
    // Often the sender's: others have turns before the input to which they refer.
    slow_from_ = random.one_in(2) ? view_.sender : anybody();
    slow_to_ = anybody();
    slowness_ = random.one_in(2) ? 64 : 16;
    slowness_ = slow_supervisor_ != unit::kNoReplica ? 4 : slowness_;  // or nothing gets on
    if (slow_app_ != unit::kNoReplica && random.one_in(2)) {
      (random.one_in(2) ? slow_from_ : slow_to_) = slow_app_;
    }
  }
}

// One failure mostly, several of them in larger units: at once, as far as the unit is to bear that,
// while another one is dealt with, and again once it has recovered.
void World::choose_faults() {
  const size_t members = replicas_.size();
  if (members == 1 || random.one_in(10)) {
    return;
  }
  has_fault_ = true;
  reckless_ = random.one_in(16) || options.reckless;
  const size_t count = 1 + (reckless_ || random.one_in(2) ? random.below(members) : 0);
  const uint64_t spread = random.one_in(2) ? 200 : 4000;
  for (size_t i = 0; i < count; ++i) {
    choose_strike(i, spread);
  }
  const Fault first = strikes_.front().fault;
  const bool kills = first == Fault::kKillApp || first == Fault::kKillSupervisor;
  if (count > 1 && (kills || first == Fault::kPause) && random.one_in(3)) {
    // The two that hold most, at once.
    strikes_[1].step = strikes_[0].step;
    strikes_[1].in_change = false;
    strikes_[0].victim = 0;
    strikes_[1].victim = static_cast<unit::ReplicaId>(members - 1);
  }
  reckless_ = reckless_ && !poisoned_;
  if (random.one_in(4)) {
    arbiter_fails_from_ = strikes_.front().step;
    arbiter_fails_until_ = arbiter_fails_from_ + random.below(4000);
  }
}

void World::choose_strike(size_t index, uint64_t spread) {
  const size_t members = replicas_.size();
  constexpr Fault kFaults[] = {Fault::kKillApp,   Fault::kKillSupervisor, Fault::kPause,
                               Fault::kCut,       Fault::kStopAll,        Fault::kCorrupt,
                               Fault::kPoison,    Fault::kBadDigest,      Fault::kBadTurns,
                               Fault::kSpoilInput};
  constexpr size_t kRepeatable = 5;
  Strike strike{};
  strike.fault = kFaults[random.below(index == 0 ? std::size(kFaults) : kRepeatable)];
  if (index == 0 && options.fault != Fault::kNone) {
    strike.fault = options.fault;
  }
  if (strike.fault == Fault::kPoison && config_.logging == unit::Logging::kEarly) {
    strike.fault = Fault::kKillApp;  // what crashes one would crash all
  }
  if (strike.fault == Fault::kCut && config_.sender_serves_primary) {
    strike.fault = Fault::kPause;  // no link carries what matters
  }
  strike.victim = static_cast<unit::ReplicaId>(
      strike.fault == Fault::kCorrupt ? random.between(1, members - 1) : random.below(members));
  strike.other =
      static_cast<unit::ReplicaId>((strike.victim + random.between(1, members - 1)) % members);
  strike.both_ways = random.one_in(2);
  strike.in_change = index != 0 && random.one_in(3);
  strike.at_front = strike.in_change && strike.fault != Fault::kCut && random.one_in(2);
  strike.step = strike.in_change ? random.sized(2000) : random.below(spread) * (members / 2);
  strike.wake_step = strike.step + random.below(random.one_in(4) ? 10000 : 1000);
  if (strike.fault == Fault::kCut && random.one_in(2)) {
    strike.wake_step = UINT64_MAX / 2;
  }
  poisoned_ = poisoned_ || strike.fault == Fault::kPoison;
  strikes_.push_back(strike);
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
  text += config_.logging == unit::Logging::kEarly ? ", early" : "";
  for (const Strike& strike : strikes_) {
    text += fmt::format("; fault {} of {} (and {}) at {}{}, wakes at {}",
                        static_cast<int>(strike.fault), static_cast<char>('a' + strike.victim),
                        static_cast<char>('a' + strike.other), strike.step,
                        strike.in_change ? " of a change" : "", strike.wake_step);
  }
  return text + (reckless_ ? "; reckless" : "");
}

// Every member that lives is at work in one view, and holds what any of them held when that began.
bool World::is_recovered() {
  for (const Strike& strike : strikes_) {
    if (is_cut(strike.victim, strike.other) || is_cut(strike.other, strike.victim)) {
      return false;
    }
  }
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
// as it tolerates. Somebody must be left who can go on. A member that is paused can, later, unless
// it is removed by one that is yet to fail.
bool World::may_strike(const Strike& strike) {
  const bool lies = strike.fault == Fault::kBadDigest || strike.fault == Fault::kBadTurns;
  if (lies) {
    return may_lie(strike);
  }
  const bool some_will_fail =
      poisoned_ || strike.fault == Fault::kCorrupt ||
      std::any_of(replicas_.begin(), replicas_.end(), [](const auto& replica) {
        return !replica->done() && !replica->app().dead() && replica->will_fail();
      });
  const bool may_wake =
      (strike.fault == Fault::kPause || strike.fault == Fault::kStopAll) && !some_will_fail;
  size_t able = 0;
  for (const auto& replica : replicas_) {
    const bool stays = replica->id() != strike.victim || may_wake;
    const bool counts = is_able(replica->id()) && (!some_will_fail || replica->is_sound());
    able += stays && counts ? 1 : 0;
  }
  const bool strikes = strike.fault != Fault::kPoison && replicas_[strike.victim]->is_sound();
  const size_t most = config_.topology == unit::Topology::kChain || replicas_.size() == 2
                          ? unit::kMembersMax
                          : config_.tolerance;
  const bool fits =
      !some_will_fail || (strike.fault != Fault::kCut && strike.fault != Fault::kStopAll);
  const bool bearable =
      !strikes || (able > (poisoned_ ? 1 : 0) && fits && unrecovered_ + (poisoned_ ? 1 : 0) < most);
  if (!bearable && reckless_) {
    doomed_ = true;
  }
  return bearable || reckless_;
}

// Nobody who is paused, or was, may remove the others meanwhile.
bool World::may_lie(const Strike& strike) const {
  return replicas_[strike.victim]->app().leads() && unrecovered_ == 0 &&
         std::all_of(replicas_.begin(), replicas_.end(),
                     [](const auto& replica) { return replica->done() || replica->is_sound(); });
}

bool World::has_liar() const {
  return std::any_of(strikes_.begin(), strikes_.end(), [](const Strike& strike) {
    return strike.done && strike.fault == Fault::kBadTurns;
  });
}

// But the primary of a fan-out, which bears that, but not without a primary.
bool World::strikes_all_others() const {
  return config_.topology == unit::Topology::kFanout &&
         std::any_of(strikes_.begin(), strikes_.end(),
                     [](const Strike& strike) { return strike.fault == Fault::kBadDigest; });
}

bool World::may_diverge() const {
  return std::any_of(strikes_.begin(), strikes_.end(), [](const Strike& strike) {
    return strike.done && (strike.fault == Fault::kCorrupt || strike.fault == Fault::kSpoilInput ||
                           strike.fault == Fault::kBadDigest || strike.fault == Fault::kBadTurns);
  });
}

// It is in the unit, and goes on, or will when it wakes.
bool World::is_able(unit::ReplicaId member) const {
  const Replica& replica = *replicas_[member];
  return unit::contains(view_, member) && !replica.done() && !replica.app().dead() &&
         !replica.will_fail();
}

bool World::is_due(const Strike& strike) const {
  const uint64_t from = strike.in_change ? view_step_ : 0;
  return !strike.done && outcome_.steps >= from + strike.step &&
         (!strike.in_change || view_.epoch > 1);
}

// Cuts end when somebody has finished: the others are told by whoever runs the unit.
bool World::is_cut(unit::ReplicaId from, unit::ReplicaId to) const {
  const bool ended = std::any_of(replicas_.begin(), replicas_.end(),
                                 [](const auto& replica) { return replica->finished(); });
  return !ended && std::any_of(strikes_.begin(), strikes_.end(), [&](const Strike& strike) {
    return strike.done && strike.fault == Fault::kCut && outcome_.steps < strike.wake_step &&
           ((from == strike.victim && to == strike.other) ||
            (strike.both_ways && from == strike.other && to == strike.victim));
  });
}

// Somebody who was sound counts as lost; but one of the two ends of a cut does already.
void World::note_removal(unit::ReplicaId member) {
  if (!replicas_[member]->is_sound()) {
    return;
  }
  marked_ = false;
  for (Strike& strike : strikes_) {
    if (strike.done && strike.fault == Fault::kCut && !strike.counted &&
        (member == strike.victim || member == strike.other)) {
      strike.counted = true;
      return;
    }
  }
  ++unrecovered_;
}

// At whoever alone holds what the others are still to be sent, once that is settled.
bool World::aim(Strike* strike) const {
  uint64_t most = 0;
  bool alone = false;
  for (const auto& replica : replicas_) {
    if (!unit::contains(view_, replica->id()) || replica->done()) {
      continue;
    }
    const unit::Status status = replica->core().status();
    alone = alone && status.received != most;
    if (status.received > most) {
      most = status.received;
      strike->victim = replica->id();
      alone = status.view == view_ && status.primary_id != unit::kNoReplica;
    }
  }
  return alone;
}

void World::strike() {
  for (Strike& strike : strikes_) {
    if (is_due(strike) && (!strike.at_front || aim(&strike)) && may_strike(strike)) {
      hit(&strike);
    }
    if (strike.done && !strike.woken && outcome_.steps >= strike.wake_step) {
      wake(&strike);
    }
  }
  if (doomed_ && all_ended()) {
    for (size_t i = 0; i < replicas_.size(); ++i) {
      kernel.close_all(static_cast<int>(i));  // the keepers are cleaned up
    }
  }
}

// A supervisor that was stopped knows it mostly; of those in a fan-out, all but one do.
void World::wake(Strike* strike) {
  const bool all_stopped =
      std::any_of(strikes_.begin(), strikes_.end(), [this](const Strike& other) {
        return other.done && other.fault == Fault::kStopAll && outcome_.steps < other.wake_step;
      });
  if (all_stopped) {
    return;
  }
  strike->woken = true;
  if (strike->fault == Fault::kPause) {
    replicas_[strike->victim]->wake(true);
  } else if (strike->fault == Fault::kStopAll) {
    bool first = true;
    for (const auto& replica : replicas_) {
      if (replica->paused()) {
        replica->wake(first || config_.topology == unit::Topology::kChain);
        first = false;
      }
    }
  }
}

void World::hit(Strike* strike) {
  Replica& victim = *replicas_[strike->victim];
  strike->done = true;
  strike->wake_step += outcome_.steps - strike->step;
  if (!victim.is_sound() || strike->fault == Fault::kPoison ||
      (strike->fault == Fault::kCorrupt && victim.app().leads()) ||
      (strike->fault == Fault::kSpoilInput && !victim.may_spoil_input())) {
    strike->fault = Fault::kNone;
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
    case Fault::kBadDigest:
    case Fault::kBadTurns:
      return lie(*strike);
    case Fault::kStopAll:
      for (const auto& replica : replicas_) {
        replica->pause();
      }
      return;
    case Fault::kCut:
    case Fault::kPoison:
    case Fault::kNone:
      return;
  }
}

// A wrong digest stands against all others, who cannot know whose fault it is: they are lost, and
// the primary goes on. Turns that do not decode are its own fault.
void World::lie(const Strike& strike) {
  if (strike.fault == Fault::kBadTurns) {
    return replicas_[strike.victim]->spoil_turns();
  }
  replicas_[strike.victim]->spoil_digest();
  unrecovered_ += unit::kMembersMax;
  for (const auto& replica : replicas_) {
    if (replica->id() != strike.victim) {
      replica->app().spoil();
    }
  }
}

}  // namespace ftrun::sim
