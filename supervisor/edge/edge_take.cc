// SPDX-License-Identifier: Apache-2.0
// The edge: sockets taken from a dead supervisor, until the core has named them. See edge.h.
// Supervisor. Positions come from the kernel; nothing is read or written before adopt().
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "supervisor/edge/connection.h"
#include "supervisor/edge/edge.h"
#include "supervisor/edge/socket_state.h"

namespace ftrun::edge {

namespace {

constexpr uint64_t kListenerBit = uint64_t{1} << 40;

uint16_t port_of(const Address& address) {
  uint16_t port = 0;
  // sockaddr_in and sockaddr_in6 have the port at the same place.
  std::memcpy(&port, address.bytes + 2, sizeof(port));
  return port;
}

void reset_and_close(int fd) {
  reset_at_close(fd);
  close(fd);
}

}  // namespace

// The listener that must have accepted a connection that nobody had named yet; 0 if none.
uint32_t Edge::listener_of(const Address& local) const {
  uint32_t found = 0;
  for (const auto& [socket, listener] : listeners_) {
    if (!listener->listening || port_of(listener->address) != port_of(local)) {
      continue;
    }
    // An exact address goes before a wildcard on the same port.
    if (found == 0 || (listener->address.length == local.length &&
                       std::memcmp(listener->address.bytes, local.bytes, local.length) == 0)) {
      found = socket;
    }
  }
  return found;
}

void Edge::take_listener(const TakenSocket& socket, Adopted* adopted) {
  const Result<Address> local = local_address(socket.fd);
  if (!local.ok()) {
    sink_->edge_trouble("takeover: a listener: " + local.error().message);
    ::close(socket.fd);
    return;
  }
  int accepting = 0;
  socklen_t length = sizeof(accepting);
  getsockopt(socket.fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &length);
  Listener* listener = add_listener(socket.id, socket.fd);
  listener->address = *local;
  listener->listening = accepting != 0;
  table_.set(socket.fd, socket.cookie, SocketKind::kListener, socket.id, 0,
             listener->listening ? kSocketListening : 0);
  if (listener->listening) {
    // Connections that wait in its backlog raise an event at once.
    watch(socket.fd, kListenerBit | socket.id, EPOLLIN);
  }
  adopted->listeners.push_back({socket.id, *local, listener->listening});
}

void Edge::take_connection(const TakenSocket& socket, Adopted* adopted) {
  const Result<SocketState> state = read_socket_state(socket.fd, (socket.flags & kSocketShut) != 0);
  const Result<Address> local = local_address(socket.fd);
  const Result<Address> peer = peer_address(socket.fd);
  uint32_t listener_id = socket.listener;
  if (socket.kind == SocketKind::kNone) {
    listener_id = local.ok() ? listener_of(*local) : 0;
    if (listener_id == 0 || !peer.ok()) {
      ::close(socket.fd);  // no client's (a link, say), or a client that has gone unannounced
      return;
    }
  }
  if (!state.ok()) {
    sink_->edge_trouble("takeover: a connection: " + state.error().message);
    reset_and_close(socket.fd);
    return;
  }
  Connection* connection = add(socket.fd, listener_id);
  connection->dropped = connection->releasable = connection->received = state->input_dropped;
  connection->written = connection->offered = state->output_written;
  connection->shut_done = connection->shut_wanted = state->output_shut;
  if (state->closed && (socket.flags & kSocketShut) == 0) {
    connection->reset_error = ECONNRESET;  // its error may have been fetched by the dead owner
  }
  // Until it has a name, the line has none either: should this supervisor die now, the next one
  // finds an unnamed connection again.
  connection->cookie = socket.cookie;
  table_.set(socket.fd, socket.cookie, socket.kind, socket.id, listener_id, socket.flags);
  expect_urgent(connection);
  watch(socket.fd, connection->slot, kConnectionEvents);

  unit::AdoptedConnection found;
  found.id = socket.id;
  found.handle = uint64_t{connection->slot} + 1;
  found.input_dropped = state->input_dropped;
  found.output_written = state->output_written;
  found.output_shut = state->output_shut;
  found.listener = listener_id;
  found.local = local.ok() ? *local : Address{};
  found.peer = peer.ok() ? *peer : Address{};
  adopted->connections.push_back(found);
}

Edge::Adopted Edge::take(std::vector<TakenSocket> sockets) {
  Adopted adopted;
  // ORDER: listeners first; connections without a name are matched with them.
  for (const TakenSocket& socket : sockets) {
    if (socket.kind == SocketKind::kListener) {
      take_listener(socket, &adopted);
    } else if (socket.kind == SocketKind::kLock) {
      locks_.adopt(socket.id, socket.fd);
      adopted.listeners.push_back({.socket = socket.id, .ask_again = true});
    }
  }
  for (const TakenSocket& socket : sockets) {
    if (socket.kind == SocketKind::kConnection || socket.kind == SocketKind::kNone) {
      take_connection(socket, &adopted);
    }
  }
  return adopted;
}

void Edge::adopt(uint64_t handle, ConnectionId id) {
  FTRUN_ASSERT(handle >= 1 && handle <= slots_.size());
  Connection* connection = slots_[handle - 1].get();
  FTRUN_ASSERT(connection->fd >= 0 && connection->id == 0);
  name(connection, id);
  set_unaccepted(connection);
  table_.set(connection->fd, connection->cookie, SocketKind::kConnection, id, connection->listener,
             connection->shut_done ? kSocketShut : 0);
}

void Edge::discard(uint64_t handle) {
  FTRUN_ASSERT(handle >= 1 && handle <= slots_.size());
  Connection* connection = slots_[handle - 1].get();
  FTRUN_ASSERT(connection->fd >= 0 && connection->id == 0);
  table_.clear(connection->fd);
  reset_and_close(connection->fd);
  connection->fd = -1;
  closed_.push_back(connection);  // frees the slot; without an id nothing is reported
}

}  // namespace ftrun::edge
