// SPDX-License-Identifier: Apache-2.0
// The simulated replica's edge: sockets of the simulated kernel. Test program only.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "eventlog/locks.h"
#include "supervisor/base/result.h"
#include "tests/simulation/replica.h"
#include "tests/simulation/world.h"

namespace ftrun::sim {

// Arrivals of other kinds, and what stands before the data of a connection.
constexpr size_t kSmallArrivalsBytesMax = 8192;

Replica::EdgeConnection& Replica::find(ConnectionId id) {
  for (EdgeConnection& connection : edge_) {
    if (connection.id == id) {
      return connection;
    }
  }
  world_->fail(fmt::format("replica {} asks for connection {}, which its edge does not have",
                           static_cast<char>('a' + id_), id));
  static EdgeConnection nothing;
  static KernelConnection nowhere;
  nothing = EdgeConnection{};
  nothing.socket = &nowhere;
  return nothing;
}

void Replica::step_edge() {
  if (done() || edge_.empty()) {
    return;
  }
  const size_t index = world_->random.below(edge_.size());
  EdgeConnection& connection = edge_[index];
  if (connection.socket->holder != id_) {
    return world_->fail(fmt::format("replica {} uses a socket that was taken from it",
                                    static_cast<char>('a' + id_)));
  }
  if (world_->random.one_in(2)) {
    edge_read(connection);
  }
  if (world_->random.one_in(2)) {
    edge_send(connection);
  }
  if (edge_finish(connection)) {
    const ConnectionId id = connection.id;
    edge_.erase(edge_.begin() + static_cast<long>(index));
    core_->on_edge_closed(id);
  }
}

void Replica::edge_read(EdgeConnection& connection) {
  KernelConnection& socket = *connection.socket;
  if (connection.close) {
    return;
  }
  if (socket.client_reset && !connection.reset_reported) {
    connection.reset_reported = true;
    core_->on_edge_reset(connection.id, ECONNRESET);
    return;
  }
  const uint64_t end = std::min<uint64_t>(socket.in.size(), connection.limit);
  if (connection.reported < end) {
    if (!core_->may_read_input() || world_->is_behind(id_)) {
      return;
    }
    const uint64_t count = std::min(end - connection.reported, world_->random.sized(300000));
    const uint64_t position = connection.reported;
    connection.reported += count;
    core_->on_edge_data(connection.id, position, {socket.in.data() + position, count});
    if (core_->status().unlogged_input_bytes >
        world_->config().input_store_bytes_max + count + kSmallArrivalsBytesMax) {
      world_->fail(
          fmt::format("{} bytes of input wait for a turn", core_->status().unlogged_input_bytes));
    }
  } else if (socket.in_fin && connection.reported == socket.in.size() && !connection.fin_reported) {
    connection.fin_reported = true;
    core_->on_edge_fin(connection.id);
  }
  if (world_->random.one_in(3)) {  // lazily
    socket.dropped += world_->random.below(connection.releasable - socket.dropped + 1);
  }
}

void Replica::edge_send(EdgeConnection& connection) {
  KernelConnection& socket = *connection.socket;
  if (socket.client_reset) {
    connection.unsent.clear();
    return;
  }
  const uint64_t queued = socket.out.size() - socket.read;
  const uint64_t room = queued < socket.send_buffer ? socket.send_buffer - queued : 0;
  const uint64_t count = std::min(
      {static_cast<uint64_t>(connection.unsent.size()), room, world_->random.sized(100000)});
  if (count == 0) {
    return;
  }
  if (!socket.no_delay) {
    return world_->fail(fmt::format("connection {}: an option was forgotten", connection.id));
  }
  const uint64_t end = socket.out.size() + count;
  if (connection.urgent_end > socket.out.size() && connection.urgent_end <= end) {
    socket.urgent_end = connection.urgent_end;
  }
  const auto begin = connection.unsent.begin();
  socket.out.insert(socket.out.end(), begin, begin + static_cast<long>(count));
  connection.unsent.erase(begin, begin + static_cast<long>(count));
  if (!world_->random.one_in(4)) {  // a later report covers this one
    core_->on_edge_sent(connection.id, connection.offered - connection.unsent.size());
  } else {
    defer_edge(
        [this, id = connection.id, position = connection.offered - connection.unsent.size()] {
          for (const EdgeConnection& other : edge_) {
            if (other.id == id && other.offered - other.unsent.size() == position) {
              core_->on_edge_sent(id, position);
            }
          }
        });
  }
}

// Shutdown and close, once all output is out. True: the connection is closed.
bool Replica::edge_finish(EdgeConnection& connection) {
  KernelConnection& socket = *connection.socket;
  if (!connection.unsent.empty()) {
    return false;
  }
  if (connection.shutdown && !socket.out_fin) {
    socket.out_fin = true;
    return false;
  }
  if (!connection.close) {
    return false;
  }
  const bool unread = socket.dropped > connection.consumed;
  socket.dropped = std::max(socket.dropped, connection.consumed);
  Kernel::close(socket, connection.reset || unread);
  socket.server_reset |= connection.quarantined;
  return true;
}

void Replica::step_accept() {
  // ORDER: as in the edge, the answer to a listen comes first.
  if (done() || keeps_off_ || (answers_due_ > 0 && !world_->options.accept_early)) {
    return;
  }
  if (!untagged_.empty()) {
    KernelConnection* const socket = untagged_.front();
    untagged_.erase(untagged_.begin());
    EdgeConnection connection;
    connection.id = core_->on_edge_open(socket->listener, make_address(7000), socket->peer);
    connection.socket = socket;
    connection.limit = kReceiveWindowBytes;
    socket->tag = connection.id;
    edge_.push_back(connection);
    return;
  }
  for (KernelListener& listener : world_->kernel.listeners) {
    if (listener.holder == id_ && listener.listening && !listener.backlog.empty() &&
        may_accept(listener)) {
      KernelConnection& socket = *world_->kernel.connections[listener.backlog.front()];
      listener.backlog.pop_front();
      socket.accepted = true;
      socket.holder = id_;
      untagged_.push_back(&socket);
    }
  }
}

bool Replica::may_accept(const KernelListener& listener) const {
  const auto most = unaccepted_max_.find(listener.socket);
  size_t count = untagged_.size();
  for (const EdgeConnection& connection : edge_) {
    count += connection.unaccepted && connection.socket->listener == listener.socket ? 1 : 0;
  }
  return count < (most == unaccepted_max_.end() ? 1 : most->second);
}

std::string Replica::describe() const {
  const unit::Status status = core_->status();
  std::string text =
      fmt::format("state {}, primary {}, sender {}, received {}, replayed {}, {} deferred; ",
                  static_cast<int>(status.state), status.primary_id, status.sender, status.received,
                  status.replayed, deferred_.size());
  for (unit::ReplicaId from = 0; from < world_->replicas(); ++from) {
    text += fmt::format("{} frames from {}; ", world_->link(from, id_).size(), from);
  }
  text += fmt::format("{}{}{}app {}{}{}", dead_ ? "dead, " : "", paused_ ? "paused, " : "",
                      finished_ ? "finished, " : "", app_.dead() ? "dead" : "alive",
                      app_.live() ? ", live" : "", app_.idle() ? ", idle" : "");
  for (const EdgeConnection& connection : edge_) {
    text +=
        fmt::format("; socket {}: {} in, {} dropped, {} reported, limit {}, {} out, {} unsent{}",
                    connection.id, connection.socket->in.size(), connection.socket->dropped,
                    connection.reported, connection.limit, connection.socket->out.size(),
                    connection.unsent.size(), connection.close ? ", closing" : "");
  }
  for (const ToyState::Conn& conn : app_.state().conns) {
    text += fmt::format("; conn {}: {} in, {} consumed, {} unwritten, {} written, {} credited{}",
                        conn.id, conn.in.size(), conn.consumed, conn.out.size(), conn.produced,
                        conn.credited, conn.fin ? ", fin" : "");
  }
  return text;
}

// --- Host ---

// Carried out at once, or when nobody else holds it; answered later.
void Replica::edge_lock(uint32_t id, uint32_t flags, const Address& address) {
  std::vector<KernelLock>& locks = world_->kernel.locks;
  auto lock = std::find_if(locks.begin(), locks.end(),
                           [id](const KernelLock& other) { return other.id == id; });
  if (lock == locks.end()) {
    lock = locks.insert(locks.end(), {id, id_, false, false});
  }
  if (lock->holder != id_) {
    return world_->fail("a lock is asked for beside whoever has it");
  }
  const auto operation = static_cast<LockOperation>(flags >> kLockOperationShift);
  const bool busy = !lock->held && world_->kernel.is_locked();
  lock->waits = false;
  int error = 0;
  if (operation == LockOperation::kUnlock) {
    lock->held = false;
  } else if (!busy) {
    lock->held = true;
  } else if ((flags & kBindLockWait) != 0) {
    lock->waits = true;
    return;
  } else {
    error = EAGAIN;
  }
  defer_edge([this, id, error, address] { core_->on_edge_bound(id, error, address); });
}

void Replica::retry_lock() {
  for (KernelLock& lock : world_->kernel.locks) {
    if (!done() && !keeps_off_ && lock.holder == id_ && lock.waits && !world_->kernel.is_locked()) {
      lock.waits = false;
      lock.held = true;
      defer_edge([this, id = lock.id] { core_->on_edge_bound(id, 0, {}); });
    }
  }
}

void Replica::edge_bind(uint32_t socket, uint32_t flags, const Address& address) {
  if ((flags & kBindLock) != 0) {
    return edge_lock(socket, flags, address);
  }
  const uint16_t port = port_of(address);
  const int error = world_->kernel.port_in_use(port) ? EADDRINUSE : 0;
  if (error == 0) {
    world_->kernel.listeners.push_back({socket, id_, port, false, false, {}, 0});
  } else {
    world_->fail("the port is in use");
  }
  defer_edge(
      [this, socket, error, port] { core_->on_edge_bound(socket, error, make_address(port)); });
}

void Replica::edge_listen(uint32_t socket, int backlog) {
  KernelListener* listener = world_->kernel.find_listener(id_, socket);
  if (listener == nullptr) {
    return world_->fail("listen on a socket that is not bound");
  }
  listener->listening = true;
  const size_t waiting_max = static_cast<size_t>(backlog) + 1;
  unaccepted_max_[socket] = std::max<size_t>(waiting_max / 2, 1);
  listener->backlog_max = std::max<size_t>(waiting_max - waiting_max / 2, 1) - 1;
  const uint16_t port = listener->port;
  ++answers_due_;
  defer_edge([this, socket, port] {
    --answers_due_;
    core_->on_edge_bound(socket, 0, make_address(port));
  });
}

void Replica::edge_accepted(ConnectionId id) {
  find(id).unaccepted = false;
}

void Replica::edge_unlisten(uint32_t socket) {
  KernelListener* listener = world_->kernel.find_listener(id_, socket);
  if (listener != nullptr) {
    world_->kernel.close_listener(*listener);
  }
  std::erase_if(world_->kernel.locks, [this, socket](const KernelLock& lock) {
    return lock.id == socket && lock.holder == id_;
  });
}

void Replica::edge_option(uint32_t id, int level, int name, unit::Bytes value) {
  find(id).socket->no_delay = level == 6 && name == 1 && value.size() == 1 && value[0] == 1;
}

void Replica::edge_write(ConnectionId id, uint64_t position, unit::Bytes data) {
  EdgeConnection& connection = find(id);
  if (position != connection.offered || connection.shutdown || connection.close) {
    return world_->fail(fmt::format("connection {}: output from {} after {}{}", id, position,
                                    connection.offered, connection.close ? " and a close" : ""));
  }
  connection.unsent.insert(connection.unsent.end(), data.begin(), data.end());
  connection.offered += data.size();
  if (connection.unsent.size() > kSendWindowBytes) {
    world_->fail(fmt::format("connection {}: {} bytes unsent", id, connection.unsent.size()));
  }
}

void Replica::edge_urgent(ConnectionId id, uint64_t position) {
  find(id).urgent_end = position + 1;
}

void Replica::edge_shutdown(ConnectionId id) {
  find(id).shutdown = true;
}

void Replica::edge_close(ConnectionId id, uint64_t consumed, unit::Ending ending) {
  EdgeConnection& connection = find(id);
  connection.close = true;
  connection.unaccepted = false;
  connection.reset = ending == unit::Ending::kReset;
  connection.consumed = consumed;
  if (consumed > connection.socket->in.size()) {
    world_->fail(fmt::format("connection {}: more consumed than came", id));
  }
}

void Replica::edge_release_input(ConnectionId id, uint64_t position) {
  EdgeConnection& connection = find(id);
  if (position > connection.socket->in.size()) {
    return world_->fail(fmt::format("connection {}: released beyond what came", id));
  }
  connection.releasable = std::max(connection.releasable, position);
}

void Replica::edge_reoffer_input(ConnectionId id, uint64_t position) {
  EdgeConnection& connection = find(id);
  if (position < connection.socket->dropped) {
    return world_->fail(
        fmt::format("connection {}: input from {} is needed, but it was forgotten "
                    "up to {}",
                    id, position, connection.socket->dropped));
  }
  connection.reported = position;
  if (world_->random.one_in(2)) {
    connection.fin_reported = false;
  }
}

void Replica::edge_input_limit(ConnectionId id, uint64_t position) {
  EdgeConnection& connection = find(id);
  if (position < connection.limit) {
    return world_->fail(fmt::format("connection {}: the window shrinks", id));
  }
  connection.limit = position;
}

void Replica::edge_adopt(uint64_t handle, ConnectionId id) {
  KernelConnection& socket = *world_->kernel.connections[handle];
  EdgeConnection connection;
  connection.id = id;
  connection.socket = &socket;
  connection.reported = connection.releasable = socket.dropped;
  connection.limit = kReceiveWindowBytes;
  connection.offered = socket.out.size();
  socket.tag = id;
  edge_.push_back(connection);
}

void Replica::edge_quarantine(ConnectionId id, uint64_t position) {
  find(id).quarantined = true;
  if (position > find(id).socket->in.size()) {
    return world_->fail(fmt::format("connection {}: suspected of more than it sent", id));
  }
  quarantine_steps_ = 1 + world_->random.sized(400);
}

void Replica::edge_discard(uint64_t handle) {
  KernelConnection& socket = *world_->kernel.connections[handle];
  socket.server_reset = true;
  socket.closed = true;
}

}  // namespace ftrun::sim
