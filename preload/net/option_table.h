// SPDX-License-Identifier: Apache-2.0
// The table of integer socket options: who has them, what they take and what is read back, as
// sk_setsockopt(), do_tcp_setsockopt() and their kin of Linux 6 have it.
// Runs in the application with the token held; no libc, no system calls of its own.
#pragma once

#include "preload/net/socket.h"

namespace ftrun::shim {

enum class OptionKind : uint8_t {
  kBool,        // any non-zero value reads back as 1
  kRange,       // minimum..maximum, else -EINVAL
  kBuffer,      // stored doubled, with a minimum; the host has a maximum
  kPriority,    // above `maximum` the kernel asks who wants it
  kPrivileged,  // any more than nothing asks who wants it
  kLowWater,    // SO_RCVLOWAT
  kHops,        // minimum..maximum, or -1 for the default
  kService,     // IP_TOS, IPV6_TCLASS: the two bits that are TCP's stay
  kSegment,     // TCP_MAXSEG: none, or minimum..maximum
  kLinger2,     // TCP_LINGER2: seconds, or none
  kDefer,       // TCP_DEFER_ACCEPT: seconds rounded up to retransmissions
  kOff,         // cannot be switched on here
};
enum class Edge : uint8_t { kKeep, kTell };  // is the edge's kernel told?

struct OptionSpec {
  int level;
  int name;
  OptionKind kind;
  Edge edge;
  int initial;
  int minimum = INT32_MIN;
  int maximum = INT32_MAX;
};
const OptionSpec& option_spec(int index);

// Of an integer option that this socket has; -1: none.
int find_option(const Socket* socket, int level, int name);

// Gives the option its value as the kernel would keep it: 0 or -errno; -ENOPROTOOPT: not here.
// `name` says which of two options that have one value (SO_SNDBUFFORCE).
long store_option(Socket* socket, int index, int name, int value);

}  // namespace ftrun::shim
