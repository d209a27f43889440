// SPDX-License-Identifier: Apache-2.0
// setsockopt and getsockopt for sockets of all kinds: see options.h.
// Runs in the application with the token held; no libc, no system calls of its own.
#include "preload/net/options.h"

#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/time.h>

#include "preload/guarded.h"
#include "preload/net/constant_names.h"
#include "preload/net/descriptors.h"
#include "preload/net/option_table.h"
#include "preload/times.h"

namespace ftrun::shim {
namespace {

// SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW: on 64 bits what the old numbers are (asm-generic/socket.h).
constexpr int kReceiveTimeoutNew = 66;
constexpr int kSendTimeoutNew = 67;
// The middle ones of three: where a connection begins. Here they stay, since nothing is buffered by
// them.
constexpr int kTcpSendBufferBytes = 16384;      // net.ipv4.tcp_wmem
constexpr int kTcpReceiveBufferBytes = 131072;  // net.ipv4.tcp_rmem

// Where a time-out of the socket is kept; nullptr: another option.
int64_t* timeout_of(Socket* socket, int name) {
  switch (name) {
    case SO_RCVTIMEO:
    case kReceiveTimeoutNew:
      return &socket->options.receive_timeout_ns;
    case SO_SNDTIMEO:
    case kSendTimeoutNew:
      return &socket->options.send_timeout_ns;
    default:
      return nullptr;
  }
}

// Reads a timeval into a wait: 0 means for ever (-1), negative seconds not to wait.
long store_timeout(int64_t* timeout_ns, const void* value, socklen_t length) {
  struct timeval time;
  if (length < sizeof(time)) {
    return -EINVAL;
  }
  __builtin_memcpy(&time, value, sizeof(time));
  if (time.tv_usec < 0 || time.tv_usec >= 1000000) {
    return -EDOM;
  }
  if (time.tv_sec < 0) {
    *timeout_ns = 0;
    return 0;
  }
  // sock_set_timeout(): 0 means for ever, and so does more than the clock can tell.
  const int64_t ns = to_ns(time.tv_sec, time.tv_usec, 1'000'000);
  *timeout_ns = ns == 0 || ns == kNsForEver ? -1 : ns;
  return 0;
}

// The time stays what it was where lingering is switched off.
long set_linger(Socket* socket, const void* value, socklen_t length) {
  struct linger wanted;
  if (length < sizeof(wanted)) {
    return -EINVAL;
  }
  __builtin_memcpy(&wanted, value, sizeof(wanted));
  struct linger* linger = &socket->options.linger;
  linger->l_onoff = wanted.l_onoff != 0 ? 1 : 0;
  linger->l_linger = wanted.l_onoff != 0 ? wanted.l_linger : linger->l_linger;
  if (socket_ops(socket)->linger_changed != nullptr) {
    socket_ops(socket)->linger_changed(socket);
  }
  return 0;
}

long unknown_option(const char* call, int level, int name) {
  Notice()
      .text(call)
      .text("(")
      .constant(name_of_level(level), level)
      .text(", ")
      .constant(name_of_option(level, name), name)
      .text(") answered ENOPROTOOPT: not supported")
      .emit();
  return -ENOPROTOOPT;
}

// A number as setsockopt takes it. Options of IP may be given as one byte, or none: zero.
long number_of(int level, const void* value, socklen_t length, int* number) {
  if (length >= sizeof(*number)) {
    __builtin_memcpy(number, value, sizeof(*number));
    return 0;
  }
  if (level != IPPROTO_IP) {
    return -EINVAL;
  }
  *number = length > 0 ? *static_cast<const uint8_t*>(value) : 0;
  return 0;
}

// What can only be asked.
bool is_read_only(int name) {
  return name == SO_TYPE || name == SO_ERROR || name == SO_SNDLOWAT || name == SO_ACCEPTCONN ||
         name == SO_PROTOCOL || name == SO_DOMAIN || name == SO_PEERCRED || name == SO_PEERNAME;
}

// Options that sockets of other families have.
// Switching off what a socket does not have succeeds: it is off.
bool is_foreign(const Socket* socket, int index) {
  return (index == kOptReusePort && !is_internet(socket)) ||
         (index == kOptPassCredentials && is_internet(socket));
}

long set_integer(Socket* socket, int index, int name, int value) {
  if (is_foreign(socket, index) && value != 0) {
    return -EOPNOTSUPP;
  }
  const SocketOps* ops = socket_ops(socket);
  // ORDER: may it be changed, then is the value good, then stored and told: what fails has changed
  // nothing, and the edge hears of no value that the program was refused.
  long error = ops->check_option != nullptr ? ops->check_option(socket, index) : 0;
  if (error == 0) {
    error = store_option(socket, index, name, value);
  }
  if (error != 0) {
    const OptionSpec& spec = option_spec(index);
    return error == -ENOPROTOOPT ? unknown_option("setsockopt", spec.level, name) : error;
  }
  if (ops->option_changed != nullptr) {
    ops->option_changed(socket, index, value);
  }
  return 0;
}

// Options of SOL_SOCKET that are no plain integers, or cannot be set. False: none of these.
bool get_special(Socket* socket, int name, void* value, socklen_t* length, long* result) {
  if (const int64_t* timeout_ns = timeout_of(socket, name)) {
    const struct timeval time = to_timeval(*timeout_ns > 0 ? *timeout_ns : 0);
    *result = give_option(&time, sizeof(time), value, length);
    return true;
  }
  // Of the other end, whom nobody knows here.
  // Connected Unix sockets, which know their peers, answer for themselves (pair.cc).
  const struct ucred nobody = {0, static_cast<uid_t>(-1), static_cast<gid_t>(-1)};
  int number = 0;
  switch (name) {
    case SO_LINGER:
      *result = give_option(&socket->options.linger, sizeof(socket->options.linger), value, length);
      return true;
    case SO_PEERCRED:
      *result = give_option(&nobody, sizeof(nobody), value, length);
      return true;
    case SO_ERROR:
      number = take_error(socket);
      break;
    case SO_TYPE:
      number = socket->kind;
      break;
    case SO_DOMAIN:
      number = socket->family;
      break;
    case SO_PROTOCOL:
      number = socket->protocol;
      break;
    case SO_ACCEPTCONN:
      number = 0;
      break;
    case SO_SNDLOWAT:
      number = 1;
      break;
    default:
      return false;
  }
  *result = give_int(number, value, length);
  return true;
}

// What the kernel says of a level that this kind of socket does not have; 0: it has it.
long check_level(const Socket* socket, int level, bool sets) {
  if (level == SOL_SOCKET) {
    return 0;
  }
  if (socket->family == AF_UNIX) {
    return -EOPNOTSUPP;
  }
  if (socket->family == AF_NETLINK) {
    return level == SOL_NETLINK ? 0 : -ENOPROTOOPT;
  }
  const bool has_tcp = socket->protocol == IPPROTO_TCP;
  const bool known = level == IPPROTO_IP || (level == IPPROTO_TCP && has_tcp) ||
                     (level == IPPROTO_UDP && !has_tcp) ||
                     (level == IPPROTO_IPV6 && socket->family == AF_INET6);
  return known ? 0 : sets || socket->family == AF_INET6 ? -ENOPROTOOPT : -EOPNOTSUPP;
}

// ip_getsockopt: small numbers come as a byte where there is no room for more.
long give_number(int level, int number, void* value, socklen_t* length) {
  socklen_t room = 0;
  if (level == IPPROTO_IP && get_in(&room, length) && room > 0 && room < sizeof(number) &&
      number >= 0 && number <= 255) {
    const auto byte = static_cast<uint8_t>(number);
    return give_option(&byte, sizeof(byte), value, length);
  }
  return give_int(number, value, length);
}

}  // namespace

void options_init(Socket* socket) {
  for (int i = 0; i < kOptionCount; ++i) {
    socket->options.value[i] = option_spec(i).initial;
  }
  if (socket->protocol == IPPROTO_TCP) {
    socket->options.value[kOptSendBuffer] = kTcpSendBufferBytes;
    socket->options.value[kOptReceiveBuffer] = kTcpReceiveBufferBytes;
  }
}

// Into the application's memory, as much as it has room for.
long give_option(const void* from, size_t bytes, void* value, socklen_t* length) {
  socklen_t room = 0;
  if (!get_in(&room, length)) {
    return -EFAULT;
  }
  if (static_cast<int>(room) < 0) {
    return -EINVAL;
  }
  // What has no room is cut, and the length says how much there was room for (getsockopt(2)).
  const socklen_t n = room < bytes ? room : static_cast<socklen_t>(bytes);
  return copy_out(value, from, n) == n && put_out(length, n) ? 0 : -EFAULT;
}

long net_getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  long result = 0;
  File* file = socket_file(fd, &result);
  if (file == nullptr) {
    return result;
  }
  Socket* socket = as_socket(file);
  if (const long error = check_level(socket, level, false)) {
    return error;
  }
  const auto get = socket_ops(socket)->get_option;
  if ((get != nullptr && get(socket, level, name, value, length, &result)) ||
      (level == SOL_SOCKET && get_special(socket, name, value, length, &result))) {
    return result;
  }
  const int index = find_option(socket, level, name);
  const bool is_force = level == SOL_SOCKET && (name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE);
  if (index < 0 || is_force) {
    return unknown_option("getsockopt", level, name);
  }
  return give_number(level, socket->options.value[index], value, length);
}

long net_setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  long error = 0;
  File* file = socket_file(fd, &error);
  if (file == nullptr) {
    return error;
  }
  if (static_cast<int>(length) < 0) {
    return -EINVAL;
  }
  Socket* socket = as_socket(file);
  error = check_level(socket, level, true);
  if (error != 0) {
    return error;
  }
  if (level == SOL_SOCKET && name == SO_LINGER) {
    return set_linger(socket, value, length);
  }
  int64_t* timeout_ns = level == SOL_SOCKET ? timeout_of(socket, name) : nullptr;
  if (timeout_ns != nullptr) {
    return store_timeout(timeout_ns, value, length);
  }
  if (level == SOL_SOCKET && is_read_only(name)) {
    return -ENOPROTOOPT;
  }
  int number = 0;
  const int index = find_option(socket, level, name);
  const auto set = socket_ops(socket)->set_option;
  if (index < 0 && set == nullptr) {
    return unknown_option("setsockopt", level, name);
  }
  error = number_of(level, value, length, &number);
  if (error != 0) {
    return error;
  }
  if (index >= 0) {
    return set_integer(socket, index, name, number);
  }
  error = set(socket, level, name, number);
  return error != 0 ? unknown_option("setsockopt", level, name) : 0;
}

}  // namespace ftrun::shim
