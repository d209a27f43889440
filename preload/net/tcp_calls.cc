// SPDX-License-Identifier: Apache-2.0
// TCP's part of the socket calls: socket, accept, connect, shutdown, names, and the tables by which
// the calls and files find all of it. Life of a socket: tcp.cc; bind and listen: tcp_listen.cc;
// reading and writing: tcp_io.cc.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/guarded.h"
#include "preload/net/descriptors.h"
#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

TcpSocket* take_accepted(TcpSocket* listener) {
  TcpSocket* connection = listener->accept_first;
  listener->accept_first = connection->accept_next;
  if (listener->accept_first == nullptr) {
    listener->accept_last = nullptr;
  }
  connection->accept_next = nullptr;
  return connection;
}

long tcp_accept(Socket* socket, struct sockaddr* address, socklen_t* length, int flags) {
  TcpSocket* listener = to_tcp(socket);
  auto attempt = [&]() -> long {
    // Looked at anew after each wait: another thread may have shut the listener down.
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
      // The edge lets one more of this listener's connections in.
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
  // Only where the queue is empty: while there are connections no turn needs to end for one more.
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
  // inet_getname(): a connection that was reset has no peer, though its address is still known.
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
    // The edge is told once, however often the program shuts down.
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

long tcp_socket(sa_family_t family, int type_flags) {
  TcpSocket* socket =
      tcp_new(family, O_RDWR | ((type_flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0));
  // ORDER: a name before the number: a socket without one could not be released.
  options_init(socket);
  tcp_name_socket(socket);
  const long fd = install_file(socket, 0, (type_flags & SOCK_CLOEXEC) != 0);
  if (fd < 0) {
    file_release(socket);
  }
  return fd;
}

constexpr FileOps kTcpOps = {.type = FileType::kTcp,
                             .poll = tcp_poll,
                             .read = tcp_read,
                             .write = tcp_write,
                             .room = tcp_room,
                             .release = tcp_release,
                             .socket = &kTcpSocketOps};

}  // namespace ftrun::shim
