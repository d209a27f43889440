// SPDX-License-Identifier: Apache-2.0
// Streams: a dead sender's sockets become this member's; and the end of all. Pure.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "eventlog/locks.h"
#include "supervisor/base/result.h"
#include "supervisor/unit/streams.h"

namespace ftrun::unit {

void Streams::adopt(const std::vector<AdoptedConnection>& connections,
                    const std::vector<AdoptedListener>& listeners, bool ended) {
  FTRUN_ASSERT(!has_edge_ && knows_input_);
  has_edge_ = true;
  for (const AdoptedListener& adopted : listeners) {
    if (find_socket(adopted.socket) == nullptr) {
      edge_->edge_unlisten(adopted.socket);  // closed by the application, not yet by the edge
    }
  }
  // ORDER: the answers to a listen are known before offer(), which passes them on behind the
  // suspect's reset and before the connections.
  if (!ended && !mutated(Mutation::kBoundAfterAdopted)) {
    adopt_listeners(listeners);
  }
  for (const AdoptedConnection& adopted : connections) {
    adopt_connection(adopted);
  }
  adopt_missing();
  if (!ended && mutated(Mutation::kBoundAfterAdopted)) {
    offer();
    adopt_listeners(listeners);
  }
}

// ORDER: before any connection gets an id here: listeners that were taken may accept before
// adopt().
void Streams::reserve_ids(const std::vector<AdoptedConnection>& connections) {
  for (const AdoptedConnection& adopted : connections) {
    next_id_ = std::max(next_id_, adopted.id + 1);
  }
}

void Streams::adopt_connection(const AdoptedConnection& adopted) {
  Connection* connection = adopted.id == 0 ? nullptr : connections_.find(adopted.id);
  if (connection != nullptr && !connection->at_edge && !connection->gone) {
    return adopt_known(connection, adopted);
  }
  // Broken when it was let go here; closed by the application since, perhaps.
  if (connection != nullptr ? connection->gone : adopted.id != 0 && adopted.id < next_logged_id_) {
    return edge_->edge_discard(adopted.handle);
  }
  // Accepted just before its edge died: nobody has seen a byte of it.
  if (connection != nullptr || adopted.input_dropped != 0 || adopted.output_written != 0 ||
      adopted.output_shut) {
    event("takeover", fmt::format("a socket of connection {} with {} bytes read and {} written is "
                                  "not known; it is reset",
                                  adopted.id, adopted.input_dropped, adopted.output_written));
    return edge_->edge_discard(adopted.handle);
  }
  if (mutated(Mutation::kDropUnknownAdopted)) {
    return;
  }
  const ConnectionId id = adopted.id != 0 ? adopted.id : next_id_++;
  connection = &connections_.insert(id);
  connection->listener = adopted.listener;
  connection->local = adopted.local;
  connection->peer = adopted.peer;
  connection->at_edge = true;
  edge_->edge_adopt(adopted.handle, id);
  if (is_quarantined(adopted.peer)) {
    hold(connection);
  }
}

void Streams::adopt_known(Connection* connection, const AdoptedConnection& adopted) {
  if (adopted.output_written < connection->written ||
      adopted.output_written > connection->released || adopted.input_dropped > connection->logged) {
    event("takeover",
          fmt::format("connection {} is reset: its socket has {} bytes written (known: {} to {}) "
                      "and {} dropped (logged: {})",
                      connection->id, adopted.output_written, connection->written,
                      connection->released, adopted.input_dropped, connection->logged));
    return edge_->edge_discard(adopted.handle);  // adopt_missing() tells the application
  }
  connection->at_edge = true;
  edge_->edge_adopt(adopted.handle, connection->id);
  if (connection->accepted && !mutated(Mutation::kForgetAcceptedBefore)) {
    edge_->edge_accepted(connection->id);
  }
  for (const SocketOption& option : connection->options) {
    edge_->edge_option(connection->id, option.level, option.name, {option.value, option.length});
  }
  if (!connection->closed) {
    edge_->edge_reoffer_input(connection->id, connection->received);
    edge_->edge_release_input(connection->id, connection->logged);
    edge_->edge_input_limit(connection->id, connection->consumed + kReceiveWindowBytes);
  }
  resend(connection, adopted);
  connection->resend = ByteQueue{};
  connection->options = {};
}

void Streams::resend(Connection* connection, const AdoptedConnection& adopted) {
  connection->written = adopted.output_written;
  if (connection->urgent_end > connection->written && !mutated(Mutation::kForgetUrgent)) {
    edge_->edge_urgent(connection->id, connection->urgent_end - 1);
  }
  const uint64_t from =
      mutated(Mutation::kResendFromStart) ? connection->resend.start() : connection->written;
  const auto [first, second] = connection->resend.from(from);
  if (!first.empty()) {
    edge_->edge_write(connection->id, from, first);
  }
  if (!second.empty()) {
    edge_->edge_write(connection->id, from + first.size(), second);
  }
  if (connection->shut && !adopted.output_shut) {
    edge_->edge_shutdown(connection->id);
  }
  if (connection->closed) {
    close_at_edge(*connection, Ending::kAsRead);
  }
}

void Streams::let_go(const std::vector<Unwritten>& connections) {
  has_edge_ = knows_input_ = false;
  next_id_ = next_logged_id_;  // of the others the next sender may say that they are closed
  std::vector<const Unwritten*> of(connections_.slots());
  for (const Unwritten& unwritten : connections) {
    if (const Connection* connection = connections_.find(unwritten.id); connection != nullptr) {
      of[connections_.slot_of(*connection)] = &unwritten;
    }
  }
  connections_.for_each([&](Connection& connection) {
    let_connection_go(&connection, of[connections_.slot_of(connection)]);
  });
  for (Socket& socket : sockets_) {
    socket.forget_unlogged();
  }
  quarantined_ = Address{};
  held_anew_.clear();
  sent_list_.clear();
  unheld_.clear();
}

// What no turn has is found again by whoever takes the socket.
void Streams::let_connection_go(Connection* connection, const Unwritten* unwritten) {
  if (!connection->open_logged || (unwritten == nullptr && connection->closed)) {
    return connections_.erase(*connection);
  }
  if (!mutated(Mutation::kKeepUnlogged)) {
    connection->received = connection->logged;
    connection->fin_seen = connection->fin_passed = connection->fin_logged;
    connection->reset_seen = connection->reset_passed = connection->reset_logged;
  }
  connection->held = connection->suspected = connection->in_sent_list = false;
  if (!connection->at_edge) {
    return;
  }
  connection->at_edge = false;
  connection->resend = ByteQueue{};
  // A broken socket has dropped what it had.
  connection->gone =
      unwritten == nullptr || unwritten->written + unwritten->output.size() != connection->released;
  if (connection->gone) {
    return;
  }
  connection->written = unwritten->written;
  connection->resend.restart(unwritten->written);
  connection->resend.append(unwritten->output);
  if (mutated(Mutation::kForgetUnwritten)) {
    connection->resend.trim(connection->resend.end());
  }
}

// Connections whose sockets are nowhere: closed by the dead sender, or lost with it.
void Streams::adopt_missing() {
  connections_.for_each([this](Connection& connection) {
    if (connection.at_edge) {
      return;
    }
    if (connection.closed) {
      return connections_.erase(connection);
    }
    connection.gone = true;
    connection.resend = ByteQueue{};
    if (!connection.reset_seen && !mutated(Mutation::kForgetMissing)) {
      connection.reset_seen = true;  // offer() passes it on
      connection.reset_error = ECONNRESET;
    }
  });
}

void Streams::adopt_listeners(const std::vector<AdoptedListener>& listeners) {
  for (Socket& socket : sockets_) {
    const auto adopted = std::find_if(
        listeners.begin(), listeners.end(),
        [&socket](const AdoptedListener& listener) { return listener.socket == socket.id; });
    const bool is_whole =
        adopted != listeners.end() && (!adopted->ask_again || mutated(Mutation::kTrustAdoptedLock));
    restore_socket(&socket, is_whole ? &*adopted : nullptr);
  }
}

void Streams::restore_socket(Socket* socket, const AdoptedListener* adopted) {
  const bool lock = (socket->bind_flags & kBindLock) != 0;
  for (const SocketOption& option : socket->options) {
    edge_->edge_option(socket->id | kOptionOfSocket, option.level, option.name,
                       {option.value, option.length});
  }
  socket->options = {};
  // What the application has an answer for is done again silently.
  if (adopted == nullptr && socket->is_bound) {
    // A lock must not wait: the program thinks that it has it, and its next request would end the
    // wait, whose answer is then taken for that request's.
    ++socket->silent_answers;
    edge_->edge_bind(socket->id, lock ? socket->bind_flags & ~kBindLockWait : socket->bind_flags,
                     socket->bound);
  } else if (adopted == nullptr && (!socket->answered() || socket->listening)) {
    edge_->edge_bind(socket->id, socket->bind_flags, socket->wanted);
  } else if (adopted != nullptr && !socket->is_bound && !socket->answered()) {
    socket->learn({0, adopted->address});  // bound, but the answer died with the sender
  }
  if (socket->listening && !socket->answered() && adopted != nullptr && adopted->listening) {
    socket->learn({0, adopted->address});  // this answer died with the sender as well
  }
  // Also where it listens already: the new edge learns of the backlog.
  if (socket->listening && !mutated(Mutation::kForgetBacklog)) {
    socket->silent_answers += socket->answered() ? 1 : 0;
    edge_->edge_listen(socket->id, socket->backlog);
  }
}

// An exit has closed all that the application knew. Others waited for an accept: they are reset, as
// by a kernel. A failed application may have left input unread: what it is not known to have read
// counts as unread.
void Streams::close_all() {
  for (const Socket& socket : sockets_) {
    edge_->edge_unlisten(socket.id);
  }
  sockets_.clear();
  connections_.for_each([this](Connection& connection) {
    if (!connection.at_edge) {
      return connections_.erase(connection);
    }
    if (!connection.closed) {
      connection.closed = true;
      close_at_edge(connection, connection.open_logged ? Ending::kAsRead : Ending::kReset);
    }
  });
}

}  // namespace ftrun::unit
