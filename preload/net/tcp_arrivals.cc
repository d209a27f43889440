// SPDX-License-Identifier: Apache-2.0
// What the world does to virtual sockets: applies arrivals, which are the same in every replica.
// Runs in the application at an ingest point with the token held; no libc, no system calls.
//
// Arrivals for a connection that the application has closed are of no interest any more; those for
// a connection that never was are a broken supervisor.
#include "preload/net/lock.h"
#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

void apply_open(const Arrival& item) {
  if (item.id == 0 || item.id >= kOptionOfSocket || tcp_find_connection(item.id) != nullptr) {
    shim_fail("a connection was opened twice or has no id", item.id);
  }
  TcpSocket* listener = tcp_find_socket(item.listener);
  // ORDER of these checks: what the supervisor cannot rightly have sent stops the replica before
  // anything is made; what is only late (the listener is closed) is answered to the client.
  if (listener == nullptr && !tcp_socket_was_seen(item.listener)) {
    shim_fail("a connection came for an unknown listener", item.listener);
  }
  const sa_family_t family = listener != nullptr ? listener->family : sa_family_t{AF_INET};
  TcpSocket* connection = tcp_new(family, O_RDWR);
  tcp_name_connection(connection, item.id);
  if (listener == nullptr || listener->state != TcpState::kListening) {
    return tcp_turn_away(connection);  // closed meanwhile
  }
  connection->state = TcpState::kOpen;
  connection->local = item.local;
  connection->peer = item.peer;
  // Linux lets connections inherit what was set on the listener, and so does the edge's kernel.
  connection->options = listener->options;
  (listener->accept_last != nullptr ? listener->accept_last->accept_next : listener->accept_first) =
      connection;
  listener->accept_last = connection;
  // One connection, one accept: the oldest waiter (accept waits exclusively).
  wake(&listener->readers, 1);
  notify(listener, kKeyReadable);
  tell_owner(listener, POLL_IN);
}

void apply_data(TcpSocket* socket, const Arrival& item) {
  if (socket->input_ended) {
    shim_fail("input after the end of a connection's input", socket->connection_id);
  }
  // Counted against what the edge was told, not against what was read: between two reports the edge
  // cannot know better. So the memory that a client can take up here is bounded.
  const uint64_t position = socket->consumed + socket->input.size() + item.length;
  if (position - socket->reported > kReceiveWindowBytes) {
    shim_fail("input beyond the receive window", socket->connection_id,
              static_cast<int64_t>(position));
  }
  // After a reset the program may read on what it has, but nothing more comes.
  if (socket->state == TcpState::kOpen) {
    socket->input.append(item.data, item.length);
    tcp_input_arrived(socket);
  }
}

// tcp_check_urg and tcp_urg of the kernel.
void apply_urgent(TcpSocket* socket, const Arrival& item) {
  const uint64_t received = socket->consumed + socket->input.size();
  const bool known = socket->urgent != Urgent::kNone && item.value <= socket->mark;
  if (socket->state != TcpState::kOpen || item.value < socket->consumed || known) {
    return;  // told again after a takeover
  }
  tell_owner_of_urgent(socket);
  // The urgent byte before this one was the last that was read: it does not become ordinary.
  if (is_at_mark(socket) && is_out_of_line(socket) && socket->consumed != received) {
    socket->consumed += socket->input.take(nullptr, 1);
  }
  socket->urgent = Urgent::kUnread;
  socket->mark = item.value;
  socket->urgent_byte = item.urgent_byte;
  tell_owner_of_input(socket, POLL_IN);
  wake(&socket->readers, kWakeAll);
  notify(socket, kKeyReadable);
}

void apply_fin(TcpSocket* socket) {
  if (socket->state != TcpState::kOpen) {
    return;  // a reset came first
  }
  // ORDER: the end of input is in the log behind all data, so a reader finds what is left first.
  socket->input_ended = true;
  socket->shut |= kShutReceive;
  tcp_close_if_done(socket);
  if (socket->shut == kShutBoth) {
    tell_owner_of_input(socket, POLL_HUP);
  }
  tell_owner_of_input(socket, POLL_IN);
  tcp_state_changed(socket);
}

void apply_reset(TcpSocket* socket, int error) {
  if (socket->state != TcpState::kOpen) {
    return;
  }
  if (error == kResetAndDiscard) {
    socket->input.take(nullptr, socket->input.size());
    error = ECONNRESET;
  }
  // tcp_reset(): after the peer's FIN the error is a broken pipe.
  socket->error = socket->input_ended && error == ECONNRESET ? EPIPE : error;
  socket->state = TcpState::kClosed;
  socket->shut = kShutBoth;
  tcp_state_changed(socket);
  notify(socket, EPOLLERR);
  tell_owner(socket, POLL_ERR);
}

void apply_credit(TcpSocket* socket, uint64_t position) {
  if (position > socket->written) {
    shim_fail("credit beyond what was written", socket->connection_id,
              static_cast<int64_t>(position));
  }
  // A count and not an amount: offered again, late or twice, it does no harm.
  if (position <= socket->credited) {
    return;  // offered again after a promotion
  }
  socket->credited = position;
  if (socket->wants_room && is_writable(socket)) {
    socket->wants_room = false;
    wake(&socket->writers, kWakeAll);
    notify(socket, kKeyWritable);
    if ((socket->shut & kShutSend) == 0) {
      tell_owner(socket, POLL_OUT);
    }
  }
}

void apply_bound(const Arrival& item) {
  TcpSocket* socket = tcp_find_socket(item.id);
  // Nobody waits for it: the socket was closed or renamed after it had asked, or it is a lock's.
  if (socket == nullptr || socket->pending != Pending::kAsked) {
    if (!edge_lock_answered(item) && !tcp_socket_was_seen(item.id)) {
      shim_fail("the answer to a bind that was never asked", item.id);
    }
    return;
  }
  socket->edge_result = item.value;
  socket->pending = Pending::kAnswered;
  wake(&socket->readers, kWakeAll);
  if (socket->asked_to_listen) {
    if (item.value == 0) {
      socket->state = TcpState::kListening;
      socket->shut = 0;
    }
    return;
  }
  socket->state = item.value == 0 ? TcpState::kBound : TcpState::kFresh;
  if (item.value == 0) {
    socket->local = item.local;
    socket->unlistened = false;
    // ORDER: only now is there a socket at the edge; and before any listen, so that no connection
    // comes without what was set.
    options_emit_pending(socket);
  }
}

}  // namespace

void net_apply(const Arrival& item) {
  if (item.kind == ArrivalKind::kOpen) {
    return apply_open(item);
  }
  if (item.kind == ArrivalKind::kBound) {
    return apply_bound(item);
  }
  TcpSocket* socket = tcp_find_connection(item.id);
  if (socket == nullptr) {
    if (!tcp_connection_was_seen(item.id)) {
      shim_fail("an arrival for a connection that never was", item.id,
                static_cast<int64_t>(item.kind));
    }
    return;
  }
  switch (item.kind) {
    case ArrivalKind::kData:
      return apply_data(socket, item);
    case ArrivalKind::kUrgent:
      return apply_urgent(socket, item);
    case ArrivalKind::kFin:
      return apply_fin(socket);
    case ArrivalKind::kReset:
      return apply_reset(socket, static_cast<int>(item.value));
    case ArrivalKind::kCredit:
      return apply_credit(socket, item.value);
    default:
      shim_fail("an arrival that is none of a socket's", static_cast<int64_t>(item.kind));
  }
}

}  // namespace ftrun::shim
