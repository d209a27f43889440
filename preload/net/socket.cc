// SPDX-License-Identifier: Apache-2.0
// socket(2): which kind of socket a family, a type and a protocol name.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/socket.h"

#include <linux/net.h>
#include <netinet/in.h>

#include "preload/net/constant_names.h"
#include "preload/net/descriptors.h"
#include "preload/net/query.h"
#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

constexpr int kFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
constexpr int kTypeMask = 0xf;
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

}  // namespace ftrun::shim
