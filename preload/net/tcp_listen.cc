// SPDX-License-Identifier: Apache-2.0
// bind() and listen(): the edge is asked, and the calls wait for its answer (tcp_arrivals.cc).
// Runs in the application with the token held; no libc, no system calls.
#include <netinet/in.h>

#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

// A constant, though a setting of the host: what listen() is asked for shows in the output, and the
// edge's host may have another one.
constexpr int kBacklogMax = 4096;        // net.core.somaxconn
constexpr socklen_t kIn6LengthMin = 24;  // SIN6_LEN_RFC2133
constexpr size_t kPortAt = offsetof(sockaddr_in, sin_port);
static_assert(kPortAt == offsetof(sockaddr_in6, sin6_port));

in_port_t port_of(const Address& address) {
  in_port_t port = 0;
  __builtin_memcpy(&port, address.bytes + kPortAt, sizeof(port));
  return port;
}

// Checks an address as inet_bind does; 0 or -errno.
long check_bind_address(sa_family_t family, const struct sockaddr* address, socklen_t length) {
  if (length < (family == AF_INET ? sizeof(sockaddr_in) : kIn6LengthMin)) {
    return -EINVAL;
  }
  if (address->sa_family == family) {
    return 0;
  }
  const bool any = reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr == INADDR_ANY;
  return family == AF_INET && address->sa_family == AF_UNSPEC && any ? 0 : -EAFNOSUPPORT;
}

uint64_t bind_flags(const TcpSocket* socket) {
  const int* value = socket->options.value;
  return (value[kOptReuseAddress] != 0 ? kBindReuseAddress : 0) |
         (value[kOptReusePort] != 0 ? kBindReusePort : 0) |
         (socket->family == AF_INET6 && value[kOptV6Only] != 0 ? kBindV6Only : 0);
}

bool is_pending(const TcpSocket* socket, bool listen) {
  return socket->pending != Pending::kNo && socket->asked_to_listen == listen;
}

// Asks the edge, if that was not done yet, and waits for its answer. Natively nothing waits: a
// handler that is due runs now, and the call, which is always made again, joins what was asked for.
long ask_edge(TcpSocket* socket, const Output& entry) {
  // A call that was interrupted has asked already, and its answer is still to come, or is here.
  if (socket->pending == Pending::kNo) {
    socket->pending = Pending::kAsked;
    socket->asked_to_listen = entry.kind == OutputKind::kListen;
    emit_output(entry);
  }
  // A shutdown by another thread renames the socket: an answer to the old name is not for it.
  const uint32_t id = socket->socket_id;
  while (socket->pending == Pending::kAsked && socket->socket_id == id) {
    const int error = sched_wait(&socket->readers, kNoDeadline);
    if (error != 0 && socket->pending == Pending::kAsked && socket->socket_id == id) {
      return kErrRestartAlways;
    }
  }
  if (socket->socket_id != id) {
    return 0;  // it listened already, until a shutdown
  }
  socket->pending = Pending::kNo;
  return -static_cast<long>(socket->edge_result);
}

long bind_at_edge(TcpSocket* socket, const Address& address) {
  Output entry;
  entry.kind = OutputKind::kBind;
  entry.id = socket->socket_id;
  entry.value = bind_flags(socket);
  entry.address = address;
  if (socket->pending == Pending::kNo) {
    socket->state = TcpState::kBinding;
    socket->any_port = port_of(address) == 0;
  }
  return ask_edge(socket, entry);
}

long listen_at_edge(TcpSocket* socket, int backlog) {
  // Compared as unsigned by the kernel: a negative backlog is a large one (__sys_listen).
  const bool above = backlog < 0 || backlog > kBacklogMax;
  Output entry;
  entry.kind = OutputKind::kListen;
  entry.id = socket->socket_id;
  entry.value = static_cast<uint64_t>(above ? kBacklogMax : backlog);
  return ask_edge(socket, entry);
}

}  // namespace

// It keeps its port, if it had asked for that one. What the edge has yet to tell of it must not be
// taken for news of what it becomes: it gets another number.
void tcp_unlisten(TcpSocket* socket) {
  tcp_emit(OutputKind::kUnlisten, socket->socket_id, 0);
  tcp_drop_accept_queue(socket);
  tcp_rename(socket);
  socket->pending = Pending::kNo;
  socket->state = socket->any_port ? TcpState::kFresh : TcpState::kBound;
  socket->unlistened = !socket->any_port;
}

long tcp_bind(Socket* file, const struct sockaddr* address, socklen_t length) {
  TcpSocket* socket = to_tcp(file);
  const long error = check_bind_address(socket->family, address, length);
  if (error < 0) {
    return error;
  }
  if (socket->state != TcpState::kFresh && !is_pending(socket, false)) {
    return -EINVAL;
  }
  // What is sent is compared, so every byte of it is set: of a shorter address, and of padding.
  Address wanted = tcp_unspecified(socket->family);
  const size_t n = length < wanted.length ? length : wanted.length;
  __builtin_memcpy(wanted.bytes, address, n);
  __builtin_memcpy(wanted.bytes, &socket->family, sizeof(socket->family));
  if (socket->family == AF_INET) {
    __builtin_memset(wanted.bytes + 8, 0, 8);  // sin_zero
  }
  return bind_at_edge(socket, wanted);
}

long tcp_listen(Socket* file, int backlog) {
  TcpSocket* socket = to_tcp(file);
  // Again where another thread shuts down what it has bound and listened to meanwhile.
  while (socket->state == TcpState::kFresh || socket->unlistened || is_pending(socket, false)) {
    Address wanted = socket->local;
    if (!socket->unlistened) {
      __builtin_memset(wanted.bytes + kPortAt, 0, sizeof(in_port_t));
    }
    const long error = bind_at_edge(socket, wanted);
    if (error < 0) {
      return error;
    }
  }
  if (socket->state != TcpState::kBound && socket->state != TcpState::kListening) {
    return -EINVAL;
  }
  return listen_at_edge(socket, backlog);
}

}  // namespace ftrun::shim
