// SPDX-License-Identifier: Apache-2.0
// Life of a virtual TCP socket: socket, accept, connect, shutdown, close, names. Bind and listen:
// tcp_listen.cc; reading and writing: tcp_io.cc; what the world does to it: tcp_arrivals.cc.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/tcp.h"

#include <netinet/in.h>

#include "preload/exec/carry.h"
#include "preload/guarded.h"
#include "preload/net/descriptors.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

constinit Pool<TcpSocket> g_sockets;
constinit IdTable<TcpSocket, &TcpSocket::connection_id> g_connections;
constinit IdTable<TcpSocket, &TcpSocket::socket_id> g_named_sockets;
constinit uint32_t g_last_socket_id = 0;
constinit uint32_t g_highest_connection_id = 0;

void emit_close(const TcpSocket* connection) {
  tcp_emit(OutputKind::kClose, connection->connection_id, connection->consumed);
}

TcpSocket* take_accepted(TcpSocket* listener) {
  TcpSocket* connection = listener->accept_first;
  listener->accept_first = connection->accept_next;
  if (listener->accept_first == nullptr) {
    listener->accept_last = nullptr;
  }
  connection->accept_next = nullptr;
  return connection;
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
    listener->accept_first = connection->accept_next;
    tcp_turn_away(connection);
  }
  listener->accept_last = nullptr;
}

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

void tcp_rename(TcpSocket* socket) {
  g_named_sockets.remove(socket);
  socket->socket_id = tcp_new_socket_id();
  g_named_sockets.insert(socket);
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
  const bool read = socket->readers.first != nullptr;
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

void tcp_turn_away(TcpSocket* connection) {
  options_emit_reset(connection);
  file_release(connection);
}

void net_end() {
  g_named_sockets.for_each(tcp_drop_accept_queue);
  g_connections.for_each(emit_close);
}

long tcp_socket(sa_family_t family, int type_flags) {
  TcpSocket* socket =
      tcp_new(family, O_RDWR | ((type_flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0));
  options_init(socket);
  socket->socket_id = tcp_new_socket_id();
  g_named_sockets.insert(socket);
  const long fd = install_file(socket, 0, (type_flags & SOCK_CLOEXEC) != 0);
  if (fd < 0) {
    file_release(socket);
  }
  return fd;
}

namespace {

long tcp_accept(Socket* socket, struct sockaddr* address, socklen_t* length, int flags) {
  TcpSocket* listener = to_tcp(socket);
  auto attempt = [&]() -> long {
    if (listener->state != TcpState::kListening) {
      return -EINVAL;
    }
    if (listener->accept_first == nullptr) {
      return -EAGAIN;
    }
    // ORDER: the number first; without one the connection stays in the queue.
    TcpSocket* connection = listener->accept_first;
    const long new_fd = install_file(connection, 0, (flags & SOCK_CLOEXEC) != 0);
    if (new_fd >= 0) {
      take_accepted(listener);
      tcp_emit(OutputKind::kAccepted, connection->connection_id, 0);
      connection->status_flags |= (flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0;
      const long error = address != nullptr ? give_address(connection->peer, address, length) : 0;
      if (error < 0) {
        net_close(static_cast<int>(new_fd));  // the connection is lost, as the kernel has it
        return error;
      }
    }
    return new_fd;
  };
  long result = attempt();
  if (result != -EAGAIN) {
    return result;
  }
  ingest_point();
  return attempt_or_wait(listener, &listener->readers, is_nonblocking(listener, 0),
                         listener->options.receive_timeout_ns, attempt);
}

// Outbound connections need the edge to dial; until it can, the network is unreachable.
long tcp_connect(Socket* file, const struct sockaddr* address, socklen_t length) {
  const TcpSocket* socket = to_tcp(file);
  if (length < sizeof(address->sa_family)) {
    return -EINVAL;
  }
  if (socket->state != TcpState::kFresh && socket->state != TcpState::kBound) {
    return -EISCONN;
  }
  Notice()
      .text("connect to ")
      .address(reinterpret_cast<const uint8_t*>(address), length)
      .text(" answered ENETUNREACH: outgoing connections are not supported")
      .emit();
  return -ENETUNREACH;
}

long tcp_name(const Socket* file, bool of_peer, Address* name) {
  const TcpSocket* socket = to_tcp(file);
  *name = of_peer ? socket->peer : socket->local;
  return of_peer && socket->state != TcpState::kOpen ? -ENOTCONN : 0;
}

long tcp_output_bytes(const Socket* file) {
  const TcpSocket* socket = to_tcp(file);
  return socket->state == TcpState::kListening
             ? -EINVAL
             : static_cast<long>(socket->written - socket->credited);
}

long tcp_at_mark(const Socket* file) {
  return is_at_mark(to_tcp(file)) ? 1 : 0;
}

long tcp_shutdown(Socket* file, int how) {
  TcpSocket* socket = to_tcp(file);
  const uint8_t bits = static_cast<uint8_t>(how + 1);  // SHUT_RD, SHUT_WR, SHUT_RDWR
  long result = 0;
  if (socket->state == TcpState::kListening) {
    if ((bits & kShutReceive) != 0) {
      tcp_unlisten(socket);
    }
  } else {
    result = socket->state == TcpState::kOpen ? 0 : -ENOTCONN;
    const bool first = (bits & kShutSend) != 0 && (socket->shut & kShutSend) == 0;
    socket->shut |= bits;
    if (socket->state == TcpState::kOpen && first) {
      tcp_emit(OutputKind::kShutdown, socket->connection_id, 0);
    }
    tcp_close_if_done(socket);
  }
  tcp_state_changed(socket);
  return result;
}

constexpr SocketOps kTcpSocketOps = {
    .bind = tcp_bind,
    .listen = tcp_listen,
    .accept = tcp_accept,
    .connect = tcp_connect,
    .name = tcp_name,
    .shutdown = tcp_shutdown,
    .receive = tcp_receive,
    .input_bytes = tcp_input_bytes,
    .output_bytes = tcp_output_bytes,
    .at_mark = tcp_at_mark,
    .get_option = tcp_get_option,
    .check_option = tcp_check_option,
    .option_changed = tcp_option_changed,
    .linger_changed = tcp_linger_changed,
};

}  // namespace

constexpr FileOps kTcpOps = {.type = FileType::kTcp,
                             .poll = tcp_poll,
                             .read = tcp_read,
                             .write = tcp_write,
                             .room = tcp_room,
                             .release = tcp_release,
                             .socket = &kTcpSocketOps};

}  // namespace ftrun::shim
