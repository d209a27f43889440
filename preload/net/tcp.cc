// SPDX-License-Identifier: Apache-2.0
// Life of a virtual TCP socket: its ids, its state, what ends it. The calls: tcp_calls.cc; bind and
// listen: tcp_listen.cc; reading and writing: tcp_io.cc; what the world does to it:
// tcp_arrivals.cc.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/tcp.h"

#include <netinet/in.h>

#include "preload/exec/carry.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

// Connections have ids of the edge's, which come with their arrivals; the application's own sockets
// have ids in order of creation. Neither is given twice in the life of the unit: arrivals for what
// was closed may still be on their way, and must not meet something new of that name.
constinit Pool<TcpSocket> g_sockets;
constinit IdTable<TcpSocket, &TcpSocket::connection_id> g_connections;
constinit IdTable<TcpSocket, &TcpSocket::socket_id> g_named_sockets;
constinit uint32_t g_last_socket_id = 0;
constinit uint32_t g_highest_connection_id = 0;

// How much was taken decides at the edge between an end and a reset, as unread input does natively
// (docs/log_format.md).
void emit_close(const TcpSocket* connection) {
  tcp_emit(OutputKind::kClose, connection->connection_id, connection->consumed);
}

}  // namespace

void tcp_emit(OutputKind kind, uint32_t id, uint64_t value) {
  Output entry;
  entry.kind = kind;
  entry.id = id;
  entry.value = value;
  emit_output(entry);
}

Address tcp_unspecified(sa_family_t family) {
  Address address;
  address.length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  __builtin_memcpy(address.bytes, &family, sizeof(family));
  return address;
}

// inet_csk_listen_stop(): nobody will accept these.
void tcp_drop_accept_queue(TcpSocket* listener) {
  while (listener->accept_first != nullptr) {
    TcpSocket* connection = listener->accept_first;
    // ORDER: out of the queue before it goes: its release may notify.
    listener->accept_first = connection->accept_next;
    tcp_turn_away(connection);
  }
  listener->accept_last = nullptr;
}

// An exec is refused while there is a socket, but ids go on: the edge remembers those that were.
void tcp_carry(Carry& carry) {
  carry.value(g_last_socket_id);
  carry.value(g_highest_connection_id);
}

TcpSocket* tcp_new(sa_family_t family, int status_flags) {
  TcpSocket* socket = g_sockets.get();
  file_init(socket, &kTcpOps, status_flags);
  socket->family = family;
  socket->protocol = IPPROTO_TCP;
  socket->local = tcp_unspecified(family);
  return socket;
}

TcpSocket* tcp_find_connection(uint32_t id) {
  return g_connections.find(id);
}
TcpSocket* tcp_find_socket(uint32_t id) {
  return g_named_sockets.find(id);
}
bool tcp_connection_was_seen(uint32_t id) {
  return id <= g_highest_connection_id;
}
bool tcp_socket_was_seen(uint32_t id) {
  return id != 0 && id <= g_last_socket_id;
}

uint32_t tcp_new_socket_id() {
  if (g_last_socket_id + 1 >= kOptionOfSocket) {
    shim_fail("socket ids are used up");
  }
  return ++g_last_socket_id;
}

void tcp_name_socket(TcpSocket* socket) {
  socket->socket_id = tcp_new_socket_id();
  g_named_sockets.insert(socket);
}

void tcp_rename(TcpSocket* socket) {
  g_named_sockets.remove(socket);
  tcp_name_socket(socket);
}

void tcp_name_connection(TcpSocket* socket, uint32_t id) {
  socket->connection_id = id;
  g_connections.insert(socket);
  if (id > g_highest_connection_id) {
    g_highest_connection_id = id;
  }
}

uint32_t tcp_poll(File* file, uint32_t) {
  TcpSocket* socket = static_cast<TcpSocket*>(file);
  if (socket->state == TcpState::kListening) {
    return socket->accept_first != nullptr ? EPOLLIN | EPOLLRDNORM : 0;
  }
  uint32_t events = 0;
  if (socket->shut == kShutBoth || socket->state != TcpState::kOpen) {
    events |= EPOLLHUP;
  }
  if ((socket->shut & kShutReceive) != 0) {
    events |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  }
  // At the mark one byte more is needed: the urgent one is not read in line.
  const size_t skipped = is_at_mark(socket) && is_out_of_line(socket) ? 1 : 0;
  if (socket->input.size() >=
      static_cast<size_t>(socket->options.value[kOptReceiveLow]) + skipped) {
    events |= EPOLLIN | EPOLLRDNORM;
  }
  events |= socket->urgent == Urgent::kUnread ? EPOLLPRI : 0u;
  if ((socket->shut & kShutSend) != 0 || is_writable(socket)) {
    events |= EPOLLOUT | EPOLLWRNORM;
  } else {
    // As tcp_poll() sets SOCK_NOSPACE: who has looked in vain is told. Polling changes state here,
    // and may, since it is the application's own act and so the same in every replica.
    socket->wants_room = true;
  }
  return socket->error != 0 ? events | EPOLLERR : events;
}

void tcp_state_changed(TcpSocket* socket) {
  wake(&socket->readers, kWakeAll);
  wake(&socket->writers, kWakeAll);
  notify(socket, kKeyAny);
}

void tcp_input_arrived(TcpSocket* socket) {
  // ORDER: looked at before they are woken: SIGIO is not for a socket that somebody reads.
  const bool read = socket->readers.first != nullptr;
  // Whatever the low-water mark says: with MSG_WAITALL or a peek each knows itself what is enough.
  wake(&socket->readers, kWakeAll);
  if (socket->input.size() >= static_cast<size_t>(socket->options.value[kOptReceiveLow]) ||
      socket->input_ended) {
    notify(socket, kKeyReadable);
    if (!read) {
      tell_owner(socket, POLL_IN);
    }
  }
}

void tcp_close_if_done(TcpSocket* socket) {
  if (socket->state == TcpState::kOpen && socket->input_ended && (socket->shut & kShutSend) != 0) {
    socket->state = TcpState::kClosed;
    socket->shut = kShutBoth;
  }
}

void tcp_release(File* file) {
  TcpSocket* socket = static_cast<TcpSocket*>(file);
  if (socket->connection_id != 0) {
    emit_close(socket);
    g_connections.remove(socket);
  } else {
    const bool at_edge = socket->state == TcpState::kBound ||
                         socket->state == TcpState::kListening ||
                         socket->state == TcpState::kBinding;
    if (at_edge && !socket->unlistened) {
      tcp_emit(OutputKind::kUnlisten, socket->socket_id, 0);
    }
    tcp_drop_accept_queue(socket);
    g_named_sockets.remove(socket);
  }
  socket->input.clear();
  g_sockets.put(socket);
}

// ORDER: the option before the close, which it turns into a reset.
void tcp_turn_away(TcpSocket* connection) {
  options_emit_reset(connection);
  file_release(connection);
}

void net_end() {
  // ORDER: connections that nobody accepted first: they are reset, as at the end of a process, and
  // not closed with the others. All of it stands in the last turn (doors_exit).
  g_named_sockets.for_each(tcp_drop_accept_queue);
  g_connections.for_each(emit_close);
}

}  // namespace ftrun::shim
