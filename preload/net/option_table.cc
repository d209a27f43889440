// SPDX-License-Identifier: Apache-2.0
// See option_table.h.
// Runs in the application with the token held; no libc, no system calls of its own.
#include "preload/net/option_table.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "eventlog/limits.h"

namespace ftrun::shim {
namespace {

// In the order of OptionIndex. Edge::kTell: what a client can notice on the wire, or what bounds
// how long a dead connection lasts; the edge sets no others (edge_commands.cc). Initial values are
// those of a host with default settings, equal everywhere.
constexpr OptionSpec kSpecs[] = {
    {SOL_SOCKET, SO_REUSEADDR, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_REUSEPORT, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_KEEPALIVE, OptionKind::kBool, Edge::kTell, 0},
    {SOL_SOCKET, SO_BROADCAST, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_OOBINLINE, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_DONTROUTE, OptionKind::kBool, Edge::kTell, 0},
    {SOL_SOCKET, SO_PRIORITY, OptionKind::kPriority, Edge::kKeep, 0, 0, 6},
    {SOL_SOCKET, SO_SNDBUF, OptionKind::kBuffer, Edge::kKeep, kSocketBufferBytes, 4608},
    {SOL_SOCKET, SO_RCVBUF, OptionKind::kBuffer, Edge::kKeep, kSocketBufferBytes, 2304},
    {SOL_SOCKET, SO_RCVLOWAT, OptionKind::kLowWater, Edge::kKeep, 1},
    {SOL_SOCKET, SO_BUSY_POLL, OptionKind::kPrivileged, Edge::kKeep, 0},
    {SOL_SOCKET, SO_PASSCRED, OptionKind::kOff, Edge::kKeep, 0},
    {SOL_SOCKET, SO_TIMESTAMP, OptionKind::kOff, Edge::kKeep, 0},
    {SOL_SOCKET, SO_TIMESTAMPNS, OptionKind::kOff, Edge::kKeep, 0},
    {SOL_SOCKET, SO_TIMESTAMPING, OptionKind::kOff, Edge::kKeep, 0},
    {IPPROTO_TCP, TCP_NODELAY, OptionKind::kBool, Edge::kTell, 0},
    {IPPROTO_TCP, TCP_CORK, OptionKind::kBool, Edge::kKeep, 0},
    {IPPROTO_TCP, TCP_MAXSEG, OptionKind::kSegment, Edge::kTell, 0, 88, 32767},
    {IPPROTO_TCP, TCP_KEEPIDLE, OptionKind::kRange, Edge::kTell, 7200, 1, 32767},
    {IPPROTO_TCP, TCP_KEEPINTVL, OptionKind::kRange, Edge::kTell, 75, 1, 32767},
    {IPPROTO_TCP, TCP_KEEPCNT, OptionKind::kRange, Edge::kTell, 9, 1, 127},
    {IPPROTO_TCP, TCP_SYNCNT, OptionKind::kRange, Edge::kKeep, 6, 1, 127},
    {IPPROTO_TCP, TCP_LINGER2, OptionKind::kLinger2, Edge::kTell, 60},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, OptionKind::kDefer, Edge::kTell, 0},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, OptionKind::kRange, Edge::kKeep, 0},
    {IPPROTO_TCP, TCP_QUICKACK, OptionKind::kBool, Edge::kKeep, 1},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, OptionKind::kRange, Edge::kTell, 0, 0},
    {IPPROTO_TCP, TCP_FASTOPEN, OptionKind::kRange, Edge::kKeep, 0, 0},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, OptionKind::kRange, Edge::kKeep, 0},
    {IPPROTO_IP, IP_TOS, OptionKind::kService, Edge::kTell, 0},
    {IPPROTO_IP, IP_TTL, OptionKind::kHops, Edge::kTell, 64, 1, 255},
    {IPPROTO_IP, IP_MTU_DISCOVER, OptionKind::kRange, Edge::kTell, 1, 0, 5},
    {IPPROTO_IP, IP_RECVERR, OptionKind::kBool, Edge::kKeep, 0},
    {IPPROTO_IPV6, IPV6_V6ONLY, OptionKind::kBool, Edge::kKeep, 0},
    {IPPROTO_IPV6, IPV6_TCLASS, OptionKind::kService, Edge::kTell, 0, -1, 255},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, OptionKind::kHops, Edge::kTell, 64, 0, 255},
    {IPPROTO_IPV6, IPV6_RECVERR, OptionKind::kBool, Edge::kKeep, 0},
};
static_assert(sizeof(kSpecs) / sizeof(kSpecs[0]) == kOptionCount);

constexpr int kDeferLimitSeconds = 120;    // TCP_RTO_MAX
constexpr int kLinger2LimitSeconds = 120;  // TCP_FIN_TIMEOUT_MAX
constexpr int kServiceBitsOfTcp = 3;       // INET_ECN_MASK

// Numbers of options with the new form of their times: on 64 bits the same (asm-generic/socket.h).
constexpr int kTimestampNew = 63;
constexpr int kTimestampNsNew = 64;
constexpr int kTimestampingNew = 65;

bool has_level(const Socket* socket, int level) {
  const bool is_internet = socket->family == AF_INET || socket->family == AF_INET6;
  switch (level) {
    case SOL_SOCKET:
      return true;
    case IPPROTO_TCP:
      return socket->protocol == IPPROTO_TCP;
    case IPPROTO_IP:
      return is_internet;
    case IPPROTO_IPV6:
      return socket->family == AF_INET6;
    default:
      return false;
  }
}

// The name under which an option's value is kept.
// Old and new numbers of one option share a value: set by one, read by the other.
int kept_as(int level, int name) {
  if (level != SOL_SOCKET) {
    return name;
  }
  switch (name) {
    case kTimestampNew:
      return SO_TIMESTAMP;
    case kTimestampNsNew:
      return SO_TIMESTAMPNS;
    case kTimestampingNew:
      return SO_TIMESTAMPING;
    case SO_SNDBUFFORCE:
      return SO_SNDBUF;
    case SO_RCVBUFFORCE:
      return SO_RCVBUF;
    default:
      return name;
  }
}

// TCP_DEFER_ACCEPT counts SYN-ACK retransmissions that double from one second; what is read back
// is the time that they cover (secs_to_retrans and retrans_to_secs of the kernel).
int rounded_defer_seconds(int seconds) {
  int period = 0;
  for (int step = 1; seconds > 0 && period < seconds && period < 255 * kDeferLimitSeconds;) {
    period += step;
    step = step * 2 > kDeferLimitSeconds ? kDeferLimitSeconds : step * 2;
  }
  return period;
}

// sock_setsockopt(): above the host's limit it is the limit, and negative sizes are large ones.
long store_buffer(const OptionSpec& spec, int name, int value, int* stored) {
  const bool force = name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE;
  int limit = INT32_MAX / 2;
  if (!force) {
    limit = ask_buffer_limit(spec.name == SO_SNDBUF);
  } else if (const long error = ask_permission(name, value)) {
    return error;
  }
  // Doubled, since the kernel counts its own bookkeeping in (socket(7)).
  const int kept = value < 0 ? (force ? 0 : limit) : (value < limit ? value : limit);
  const int doubled = kept > INT32_MAX / 2 ? INT32_MAX - 1 : kept * 2;
  *stored = doubled > spec.minimum ? doubled : spec.minimum;
  return 0;
}

// TCP's is never above what the window can hold while consumption is not yet reported.
int low_water(const Socket* socket, int value) {
  constexpr int kLimit = static_cast<int>(kReceiveWindowBytes / 2);
  const int wanted = value < 0 ? INT32_MAX : value == 0 ? 1 : value;
  return socket->protocol == IPPROTO_TCP && wanted > kLimit ? kLimit : wanted;
}

long store_service(const Socket* socket, const OptionSpec& spec, int value, int* stored) {
  if (value < spec.minimum || value > spec.maximum) {
    return -EINVAL;
  }
  const int kept = value == -1 && spec.level == IPPROTO_IPV6 ? 0 : value & 0xff;
  *stored = socket->kind == SOCK_STREAM
                ? (kept & ~kServiceBitsOfTcp) | (*stored & kServiceBitsOfTcp)
                : kept;
  return 0;
}

bool is_in_range(const OptionSpec& spec, int value) {
  return value >= spec.minimum && value <= spec.maximum;
}

}  // namespace

const OptionSpec& option_spec(int index) {
  return kSpecs[index];
}

int find_option(const Socket* socket, int level, int name) {
  const int kept = kept_as(level, name);
  for (int i = 0; i < kOptionCount && has_level(socket, level); ++i) {
    if (kSpecs[i].level == level && kSpecs[i].name == kept) {
      return i;
    }
  }
  return -1;
}

long store_option(Socket* socket, int index, int name, int value) {
  const OptionSpec& spec = kSpecs[index];
  int* stored = &socket->options.value[index];
  switch (spec.kind) {
    case OptionKind::kBool:
      *stored = value != 0 ? 1 : 0;
      return 0;
    case OptionKind::kRange:
      if (!is_in_range(spec, value)) {
        return -EINVAL;
      }
      *stored = value;
      return 0;
    case OptionKind::kBuffer:
      return store_buffer(spec, name, value, stored);
    case OptionKind::kPriority:
    case OptionKind::kPrivileged: {
      const bool asks =
          // Only where the kernel might say no: the usual values need no record.
          spec.kind == OptionKind::kPriority ? !is_in_range(spec, value) : value != *stored;
      const long error = asks ? ask_permission(name, value) : 0;
      *stored = error == 0 ? value : *stored;
      return error;
    }
    case OptionKind::kLowWater:
      *stored = low_water(socket, value);
      return 0;
    case OptionKind::kHops:
      if (value != -1 && !is_in_range(spec, value)) {
        return -EINVAL;
      }
      *stored = value == -1 ? spec.initial : value;
      return 0;
    case OptionKind::kService:
      return store_service(socket, spec, value, stored);
    case OptionKind::kSegment:
      if (value != 0 && !is_in_range(spec, value)) {
        return -EINVAL;
      }
      *stored = value;
      return 0;
    case OptionKind::kLinger2:
      *stored = value < 0                      ? -1
                : value == 0                   ? spec.initial
                : value > kLinger2LimitSeconds ? kLinger2LimitSeconds
                                               : value;
      return 0;
    case OptionKind::kDefer:
      *stored = rounded_defer_seconds(value);
      return 0;
    case OptionKind::kOff:
      return value == 0 ? 0 : -ENOPROTOOPT;
  }
  return -ENOPROTOOPT;
}

}  // namespace ftrun::shim
