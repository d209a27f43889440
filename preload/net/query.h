// SPDX-License-Identifier: Apache-2.0
// Sockets that only ask about the host: netlink sockets to the routing tables; datagram sockets
// that are connected to learn a source address, or carry an interface ioctl; Unix sockets that look
// for a service that is not there. C libraries do this to list interfaces, to sort the addresses of
// a name (RFC 6724), to look for nscd and syslog. Nothing is sent to anybody: what the primary's
// kernel answers is a choice. What would leave the unit is refused where it would leave, by name.
// Runs in the application with the token held; no libc, no system calls of its own (preload/env.h
// has them).
#pragma once

#include "preload/net/socket.h"

namespace ftrun::shim {

// Whether socket(2) with these arguments (`kind`: the type without flags) makes one of these
// sockets.
bool query_can(int domain, int kind, int protocol);
// socket(2). REQUIRES: query_can().
long query_socket(int domain, int kind, int type_flags);
// Looks for a Unix socket that `call` names, which is never the unit's: -errno.
long query_unix_name(const char* call, const struct sockaddr* address, socklen_t length);

// SIOCGIF*: facts about interfaces, on any socket of `family`. -ENOTTY: not such a request.
long interface_ioctl(int family, unsigned long request, void* argument);

}  // namespace ftrun::shim
