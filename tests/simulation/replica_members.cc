// SPDX-License-Identifier: Apache-2.0
// The simulated replica among the others: views, fences, and a dead sender's sockets. Test program
// only.
#include <fmt/format.h>

#include <algorithm>

#include "tests/simulation/replica.h"
#include "tests/simulation/world.h"

namespace ftrun::sim {

namespace {
bool is_one_of(int holder, const std::vector<unit::ReplicaId>& members) {
  return std::find(members.begin(), members.end(), holder) != members.end();
}
}  // namespace

void Replica::propose_view(const unit::View& view) {
  const unit::View current = world_->publish(view);
  answer_view(current);
}

void Replica::read_view() {
  answer_view(world_->current_view());
}

// The arbiter may be slow.
void Replica::answer_view(const unit::View& view) {
  if (world_->random.one_in(8)) {
    return defer([this, view] { answer_view(view); });
  }
  defer([this, view] { core_->on_view(view); });
}

void Replica::fence(unit::ReplicaId member) {
  world_->note_takeover();
  defer([this, member] {
    if (!world_->options.skip_kill) {
      world_->replica(member)->kill_supervisor();
    }
    world_->link(member, id_).clear();
    defer([this, member] {
      drain_shared();
      if (!done()) {
        core_->on_member_gone(member);
      }
    });
  });
}

void Replica::bury(unit::ReplicaId member) {
  for (const auto& socket : world_->kernel.connections) {
    if (socket->holder == member && !socket->closed) {
      world_->fail(
          fmt::format("replica {} is buried with its sockets", static_cast<char>('a' + member)));
    }
  }
}

// ORDER: some now, the others later: this replica may die in between.
void Replica::edge_take_over(const std::vector<unit::ReplicaId>& from) {
  defer([this, from] {
    take_sockets(from, world_->random.below(4));
    defer([this, from] {
      if (take_sockets(from, SIZE_MAX)) {
        answer_take_over(from);
      }
    });
  });
}

std::vector<unit::Unwritten> Replica::edge_let_go() {
  ++edges_;
  keeps_off_ = true;
  const std::vector<EdgeConnection> connections = std::move(edge_);
  edge_.clear();
  untagged_.clear();
  answers_due_ = 0;
  quarantine_steps_ = 0;
  std::vector<unit::Unwritten> unwritten;
  unwritten_.clear();
  for (const EdgeConnection& connection : connections) {
    unwritten_.push_back(connection.unsent);
    unwritten.push_back({connection.id, connection.socket->out.size(), unwritten_.back()});
  }
  return unwritten;
}

void Replica::edge_forget() {
  for (const auto& socket : world_->kernel.connections) {
    if (socket->holder == id_ && !socket->closed) {
      world_->fail(fmt::format("replica {} is to forget a socket that nobody has taken",
                               static_cast<char>('a' + id_)));
    }
  }
}

bool Replica::take_sockets(const std::vector<unit::ReplicaId>& from, size_t most) {
  for (const unit::ReplicaId member : from) {
    if (!world_->replica(member)->keeps_off()) {
      world_->fail("sockets are taken from a supervisor that lives and uses them");
      return false;
    }
  }
  for (auto& socket : world_->kernel.connections) {
    const bool is_taken = std::find(taken_.begin(), taken_.end(), socket.get()) != taken_.end();
    if (!is_one_of(socket->holder, from) || socket->closed || is_taken) {
      continue;
    }
    if (most-- == 0) {
      return true;
    }
    if (world_->lose_a_socket()) {  // it cannot be taken: it goes with the old keeper
      socket->lost = true;
      socket->closed = socket->server_reset = true;
      continue;
    }
    socket->holder = id_;
    taken_.push_back(socket.get());
  }
  return true;
}

void Replica::answer_take_over(const std::vector<unit::ReplicaId>& from) {
  std::vector<unit::AdoptedConnection> connections;
  for (const KernelConnection* socket : taken_) {
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
  taken_.clear();
  keeps_off_ = false;
  std::vector<unit::AdoptedListener> listeners;
  take_listeners(from, &listeners);
  core_->on_edge_adopted(connections, listeners);
}

void Replica::take_listeners(const std::vector<unit::ReplicaId>& from,
                             std::vector<unit::AdoptedListener>* listeners) {
  for (KernelListener& listener : world_->kernel.listeners) {
    if (is_one_of(listener.holder, from) && !listener.closed) {
      listener.holder = id_;
      listeners->push_back({listener.socket, make_address(listener.port), listener.listening});
    }
  }
  std::erase_if(world_->kernel.locks, [&](const KernelLock& lock) {
    const bool is_lost = is_one_of(lock.holder, from) && world_->lose_a_socket();
    // Who waits for it gets it at once.
    world_->kernel.locked_by_stranger |= is_lost && lock.held && world_->random.one_in(2);
    return is_lost;
  });
  for (KernelLock& lock : world_->kernel.locks) {
    if (is_one_of(lock.holder, from)) {
      lock.holder = id_;
      lock.waits = false;  // whoever waited is dead
      listeners->push_back({.socket = lock.id, .address = {}, .ask_again = true});
    }
  }
}

// No member is further behind than the primary may be ahead.
void Replica::check_run_ahead() {
  const unit::Status own = core_->status();
  for (const unit::ReplicaId other : own.view.replicas) {
    const unit::Status theirs = world_->replica(other)->core().status();
    if (!trails() && other != id_ && theirs.state == unit::State::kRunning &&
        own.state == unit::State::kRunning && theirs.view == own.view &&
        own.received - std::min(own.received, theirs.replayed) >
            world_->config().log_run_ahead_bytes_max) {
      world_->fail(fmt::format("the primary runs on, {} bytes before replica {}",
                               own.received - theirs.replayed, static_cast<char>('a' + other)));
    }
  }
}

// A standby that lags is fed only what the sender's replica has replayed.
void Replica::check_lag(uint64_t end) {
  const unit::Status own = core_->status();
  const unit::Status sender = world_->replica(own.view.sender)->core().status();
  const unit::Routes routes{own.view, own.primary_id, world_->config().topology};
  if (world_->config().standby_lags && routes.topology == unit::Topology::kFanout &&
      own.primary_id != unit::kNoReplica && routes.standby() == id_ && sender.view == own.view &&
      end > sender.replayed) {
    world_->fail(fmt::format("the standby {} replays to {}, the sender to {} only",
                             static_cast<char>('a' + id_), end, sender.replayed));
  }
}

}  // namespace ftrun::sim
