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

struct QuerySocket;

// nullptr: it is another kind of file.
QuerySocket* as_query(File* file);
QuerySocket* query_of(int fd);  // nullptr: not such a socket

// Whether socket(2) with these arguments (`kind`: the type without flags) makes one of these
// sockets.
bool query_can(int domain, int kind, int protocol);
// socket(2). REQUIRES: query_can().
long query_socket(int domain, int kind, int type_flags);
long query_bind(QuerySocket* socket, const struct sockaddr* address, socklen_t length);
long query_connect(QuerySocket* socket, const struct sockaddr* address, socklen_t length);
const Address& query_local(const QuerySocket* socket);
// nullptr: it is not connected.
const Address* query_peer(const QuerySocket* socket);
// Looks for a Unix socket that `call` names, which is never the unit's: -errno.
long query_unix_name(const char* call, const struct sockaddr* address, socklen_t length);
long query_shutdown(QuerySocket* socket);
// One datagram; `message` gets name and flags of what was received. `from` and `to` are the shim's
// copy of msg_iov.
long query_receive(QuerySocket* socket, IoCursor* to, struct msghdr* message, int flags);
long query_send(QuerySocket* socket, IoCursor* from);
long query_bytes(QuerySocket* socket);  // of the next datagram: FIONREAD
// An integer option of SOL_NETLINK: its value, 0, or -ENOPROTOOPT.
long query_option(const QuerySocket* socket, int name);
long query_set_option(QuerySocket* socket, int name, int value);

// SIOCGIF*: facts about interfaces, on any socket of `family`. -ENOTTY: not such a request.
long interface_ioctl(int family, unsigned long request, void* argument);

}  // namespace ftrun::shim
