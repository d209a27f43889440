// SPDX-License-Identifier: Apache-2.0
// socket(2): which kind of socket a family, a type and a protocol name; and the calls on sockets,
// which each kind carries out (socket.h).
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/socket.h"

#include <linux/net.h>
#include <netinet/in.h>

#include "preload/guarded.h"
#include "preload/net/constant_names.h"
#include "preload/net/descriptors.h"
#include "preload/net/query.h"
#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

constexpr int kFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
constexpr int kTypeMask = 0xf;
// Limits of Linux 6, by which it tells an unknown family or type from one that is not built in.
constexpr int kTypesMax = 11;       // SOCK_MAX
constexpr int kFamiliesMax = 46;    // NPROTO
constexpr int kProtocolsMax = 263;  // IPPROTO_MAX, above MPTCP

long refuse_socket(int domain, int type, long error) {
  Notice()
      .text("socket(")
      .constant(name_of_family(domain), domain)
      .text(", ")
      .constant(name_of_socket_type(type), type)
      .text(error == -EAFNOSUPPORT ? ") answered EAFNOSUPPORT"
            : error == -EPERM      ? ") answered EPERM"
                                   : ") answered EPROTONOSUPPORT")
      .text(": only TCP is supported")
      .text(describe_caller_of_wrapper())
      .emit();
  return error;
}

// inet_create(): 0 for TCP; what the kernel has and the shim has not is told of.
long check_internet(int domain, int kind, int protocol) {
  if (protocol < 0 || protocol >= kProtocolsMax) {
    return -EINVAL;
  }
  // What a kernel could do and the unit cannot says so in an event; what no kernel has does not.
  switch (kind) {
    case SOCK_STREAM:
      return protocol == 0 || protocol == IPPROTO_TCP ? 0
             : protocol == IPPROTO_UDP || protocol == 1
                 ? -EPROTONOSUPPORT
                 : refuse_socket(domain, kind, -EPROTONOSUPPORT);
    case SOCK_RAW:
    case SOCK_PACKET:
      return refuse_socket(domain, kind, -EPERM);
    case SOCK_DGRAM:
      return protocol == IPPROTO_TCP ? -EPROTONOSUPPORT
                                     : refuse_socket(domain, kind, -EPROTONOSUPPORT);
    default:
      return -ESOCKTNOSUPPORT;
  }
}

// What bind, listen, accept and connect say to a socket of a kind that does none of it. Unix
// sockets that could listen lack a name (unix_listen, unix_accept).
long cannot_listen(const Socket* socket) {
  return socket->family == AF_UNIX && socket->kind != SOCK_DGRAM ? -EINVAL : -EOPNOTSUPP;
}

// What a call does to the socket at `fd`; -errno where there is none. ORDER: the file is held for
// the whole call: while it waits, another thread may close the number.
template <typename F>
long on_socket(int fd, F&& function) {
  long error = 0;
  File* file = socket_file(fd, &error);
  if (file == nullptr) {
    return error;
  }
  FileHold hold(file);
  return function(as_socket(file), *file->ops->socket);
}

long give_name(int fd, bool of_peer, struct sockaddr* address, socklen_t* length) {
  return on_socket(fd, [&](Socket* socket, const SocketOps& ops) {
    Address name;
    const long error = ops.name(socket, of_peer, &name);
    return error < 0 ? error : give_address(name, address, length);
  });
}

// A descriptor in flight would be a number of one replica's process: nothing that a log can carry.
long refuse_control(const struct msghdr* message) {
  if (message->msg_control != nullptr && message->msg_controllen > 0) {
    Notice().text("sendmsg with control data answered EINVAL: descriptors cannot be passed").emit();
    return -EINVAL;
  }
  return 0;
}

// Bytes of all buffers of a message, or -errno.
long message_bytes(const struct msghdr* message) {
  constexpr size_t kBuffersMax = 1024;  // UIO_MAXIOV
  return message->msg_iovlen > kBuffersMax
             ? -EMSGSIZE
             : check_iovec(message->msg_iov, static_cast<int>(message->msg_iovlen));
}

}  // namespace

long check_socket(int domain, int type, int protocol) {
  if ((type & ~(kTypeMask | kFlags)) != 0) {
    return -EINVAL;  // a flag that the kernel does not know
  }
  if (domain < 0 || domain >= kFamiliesMax) {
    return -EAFNOSUPPORT;
  }
  const int kind = type & kTypeMask;
  if (kind >= kTypesMax) {
    return -EINVAL;
  }
  if (query_can(domain, kind, protocol)) {
    return 0;
  }
  switch (domain) {
    case AF_UNIX:
      return protocol != 0 && protocol != AF_UNIX ? -EPROTONOSUPPORT : -ESOCKTNOSUPPORT;
    case AF_INET:
    case AF_INET6:
      return check_internet(domain, kind, protocol);
    case AF_NETLINK:
      return kind != SOCK_RAW && kind != SOCK_DGRAM ? -ESOCKTNOSUPPORT
                                                    : refuse_socket(domain, kind, -EAFNOSUPPORT);
    default:
      return refuse_socket(domain, kind, -EAFNOSUPPORT);
  }
}

long net_socket(int domain, int type, int protocol) {
  if (const long error = check_socket(domain, type, protocol)) {
    return error;
  }
  const int kind = type & kTypeMask;
  return query_can(domain, kind, protocol) ? query_socket(domain, kind, type)
                                           : tcp_socket(static_cast<sa_family_t>(domain), type);
}

long net_check_socket(int fd) {
  long error = 0;
  return socket_file(fd, &error) != nullptr ? 0 : error;
}

long give_address(const Address& from, struct sockaddr* to, socklen_t* length) {
  socklen_t room = 0;
  if (!get_in(&room, length)) {
    return -EFAULT;
  }
  if (static_cast<int>(room) < 0) {
    return -EINVAL;
  }
  // The whole length is told, also of an address that was cut (accept(2)).
  const socklen_t n = room < from.length ? room : from.length;
  return copy_out(to, from.bytes, n) == n && put_out(length, from.length) ? 0 : -EFAULT;
}

long net_bind(int fd, const struct sockaddr* address, socklen_t length) {
  return on_socket(fd, [&](Socket* socket, const SocketOps& ops) -> long {
    return ops.bind != nullptr ? ops.bind(socket, address, length) : -EINVAL;
  });
}

long net_listen(int fd, int backlog) {
  return on_socket(fd, [&](Socket* socket, const SocketOps& ops) {
    return ops.listen != nullptr ? ops.listen(socket, backlog) : cannot_listen(socket);
  });
}

long net_accept(int fd, struct sockaddr* address, socklen_t* length, int flags) {
  if ((flags & ~kFlags) != 0) {
    return -EINVAL;
  }
  return on_socket(fd, [&](Socket* socket, const SocketOps& ops) {
    return ops.accept != nullptr ? ops.accept(socket, address, length, flags)
                                 : cannot_listen(socket);
  });
}

long net_connect(int fd, const struct sockaddr* address, socklen_t length) {
  return on_socket(fd, [&](Socket* socket, const SocketOps& ops) -> long {
    return ops.connect != nullptr ? ops.connect(socket, address, length) : -EISCONN;
  });
}

long net_getsockname(int fd, struct sockaddr* address, socklen_t* length) {
  return give_name(fd, false, address, length);
}

long net_getpeername(int fd, struct sockaddr* address, socklen_t* length) {
  return give_name(fd, true, address, length);
}

long net_shutdown(int fd, int how) {
  return on_socket(fd, [&](Socket* socket, const SocketOps& ops) -> long {
    return how < SHUT_RD || how > SHUT_RDWR ? -EINVAL : ops.shutdown(socket, how);
  });
}

long net_recvmsg(int fd, struct msghdr* message, int flags) {
  return on_socket(fd, [&](Socket* socket, const SocketOps& ops) -> long {
    const long length = message_bytes(message);
    if (length < 0) {
      return length;
    }
    if ((flags & MSG_ERRQUEUE) != 0 && is_internet(socket)) {
      return -EAGAIN;  // others do not know the flag
    }
    IoCursor to(message->msg_iov, static_cast<size_t>(length));
    message->msg_flags = 0;
    message->msg_controllen = 0;
    const long result = ops.receive(socket, &to, message, flags);
    message->msg_flags |= flags & MSG_CMSG_CLOEXEC;
    return result;
  });
}

long net_sendmsg(int fd, const struct msghdr* message, int flags) {
  return on_socket(fd, [&](Socket* socket, const SocketOps& ops) -> long {
    const long length = message_bytes(message);
    long error = length < 0 ? length : refuse_control(message);
    if (error == 0 && ops.check_receiver != nullptr && message->msg_name != nullptr &&
        message->msg_namelen > 0) {
      error = ops.check_receiver(socket, message);
    }
    if (error < 0) {
      return error;
    }
    IoCursor from(message->msg_iov, static_cast<size_t>(length));
    return socket->ops->write(socket, &from, flags);
  });
}

}  // namespace ftrun::shim
