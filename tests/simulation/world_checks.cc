// SPDX-License-Identifier: Apache-2.0
// What must hold in a simulated run: at every step, now and then, and in the end. Test program
// only.
#include <fmt/format.h>

#include <algorithm>

#include "tests/simulation/world.h"

namespace ftrun::sim {

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
    if (status.view.replicas.size() == 1 && status.state == unit::State::kRunning &&
        status.kept_bytes != 0) {
      fail(fmt::format("{} bytes of log are kept, and nobody is left to ask for them",
                       status.kept_bytes));
    }
    if (!has_fault_ && status.primary_id != unit::kNoReplica &&
        status.primary_id != status.view.replicas.front()) {
      fail("the primary is not whom the operator wanted");
    }
    if (status.pending_output_bytes > unit::kPendingOutputBytesMax) {
      fail(fmt::format("{} bytes of output are pending", status.pending_output_bytes));
    }
    check_kept_input(status);
    for (const auto& other : replicas_) {
      check_link(replica->id(), other->id());
    }
  }
}

void World::note_sent(const SimFrame& frame) {
  const bool is_input = frame.frame.kind == unit::FrameKind::kInput;
  size_t& largest = is_input ? largest_input_ : largest_turns_;
  largest = std::max(largest, frame.bytes.size());
}

bool World::is_behind(unit::ReplicaId member) const {
  return std::any_of(replicas_.begin(), replicas_.end(), [this, member](const auto& to) {
    size_t bytes = 0;
    for (const SimFrame& frame : links_[member][to->id()]) {
      bytes += frame.bytes.size();
    }
    return bytes > link_bytes_max_ && !to->done() && unit::contains(view_, to->id());
  });
}

// In each view: the turns that others still need, and those that came since, each as much as the
// slowest may be behind; and input until the link is full. What was sent then is one frame more.
void World::check_link(unit::ReplicaId from, unit::ReplicaId to) {
  constexpr size_t kSmallFramesBytesMax = 64 << 10;
  struct Sum {
    uint64_t epoch = 0;
    size_t turns = 0;
    size_t input = 0;
  } sum;
  for (const SimFrame& frame : links_[from][to]) {
    if (frame.frame.epoch != sum.epoch) {
      sum = {frame.frame.epoch, 0, 0};
    }
    (frame.frame.kind == unit::FrameKind::kInput ? sum.input : sum.turns) += frame.bytes.size();
    if (sum.turns > 2 * (config_.log_run_ahead_bytes_max + largest_turns_) + kSmallFramesBytesMax ||
        sum.input > link_bytes_max_ + 2 * largest_input_ + kSmallFramesBytesMax) {
      return fail(fmt::format("{} bytes of turns and {} of input on the way from {} to {}",
                              sum.turns, sum.input, static_cast<char>('a' + from),
                              static_cast<char>('a' + to)));
    }
  }
}

bool World::is_logged(const Replica* reader, uint64_t position, unit::Bytes turns) const {
  return std::any_of(replicas_.begin(), replicas_.end(), [&](const auto& replica) {
    return replica.get() != reader && replica->has_logged(position, turns);
  });
}

void World::count_bytes() {
  for (const auto& replica : replicas_) {
    const unit::Status status = replica->core().status();
    outcome_.turn_bytes += status.turn_bytes_sent;
    outcome_.fed_bytes += status.input_bytes_sent;
    outcome_.input_bytes = std::max(outcome_.input_bytes, status.input_bytes_logged);
  }
}

// Beyond what the sender keeps, a member keeps what it is behind.
void World::check_kept_input(const unit::Status& status) {
  const unit::Status sender = replicas_[status.view.sender]->core().status();
  if (!(sender.view == status.view) || status.state != unit::State::kRunning ||
      sender.state != unit::State::kRunning) {
    return;
  }
  const uint64_t behind = sender.received - std::min(sender.received, status.received);
  if (status.kept_input_bytes > sender.kept_input_bytes + behind) {
    fail(fmt::format("{} bytes of input are kept, {} by the sender, which is {} bytes ahead",
                     status.kept_input_bytes, sender.kept_input_bytes, behind));
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
    if (doomed_ || replica->app().spoilt()) {
      continue;  // it may have been found out when the unit had ended
    }
    exited += replica->app().exited() ? 1 : 0;
    if ((!replica->app().exited() || !replica->knows_app_end()) && replicas_.size() > 2) {
      continue;  // it had followed the log as far as it could when the unit ended
    }
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
  if (poisoned_ && strikes_.size() == 1 && !doomed_ && finished + 1 < replicas_.size()) {
    fail("one poison has crashed two applications");
  }
  if (exited == 0 && !doomed_) {
    fail(finished == 0 ? "no replica finished" : "the unit ended, but no application exited");
  }
  if (!has_fault_ && finished != replicas_.size()) {
    fail("a replica was lost without a fault");
  }
}

}  // namespace ftrun::sim
