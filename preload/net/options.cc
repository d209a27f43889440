// SPDX-License-Identifier: Apache-2.0
// setsockopt and getsockopt: see options.h. Unknown options fail with -ENOPROTOOPT and a notice.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/time.h>

#include "preload/guarded.h"
#include "preload/net/constant_names.h"
#include "preload/net/descriptors.h"
#include "preload/net/pair.h"
#include "preload/net/query.h"
#include "preload/net/tcp.h"
#include "preload/times.h"

namespace ftrun::shim {
namespace {

enum class OptionKind : uint8_t {
  kBool,      // any non-zero value reads back as 1
  kRange,     // minimum..maximum, else -EINVAL
  kBuffer,    // stored doubled, with a minimum
  kLowWater,  // SO_RCVLOWAT
  kHops,      // 1..255, or -1 for the default
  kDefer,     // TCP_DEFER_ACCEPT: seconds rounded up to retransmissions
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

constexpr OptionSpec kSpecs[] = {
    {SOL_SOCKET, SO_REUSEADDR, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_REUSEPORT, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_KEEPALIVE, OptionKind::kBool, Edge::kTell, 0},
    {SOL_SOCKET, SO_BROADCAST, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_OOBINLINE, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_DONTROUTE, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_PRIORITY, OptionKind::kRange, Edge::kKeep, 0},
    {SOL_SOCKET, SO_SNDBUF, OptionKind::kBuffer, Edge::kKeep, 16384, 4608},
    {SOL_SOCKET, SO_RCVBUF, OptionKind::kBuffer, Edge::kKeep, 131072, 2304},
    {SOL_SOCKET, SO_SNDBUFFORCE, OptionKind::kBuffer, Edge::kKeep, 0, 4608},
    {SOL_SOCKET, SO_RCVBUFFORCE, OptionKind::kBuffer, Edge::kKeep, 0, 2304},
    {SOL_SOCKET, SO_RCVLOWAT, OptionKind::kLowWater, Edge::kKeep, 1},
    {SOL_SOCKET, SO_TIMESTAMP, OptionKind::kBool, Edge::kKeep, 0},
    {SOL_SOCKET, SO_BUSY_POLL, OptionKind::kRange, Edge::kKeep, 0, 0},
    {IPPROTO_TCP, TCP_NODELAY, OptionKind::kBool, Edge::kTell, 0},
    {IPPROTO_TCP, TCP_CORK, OptionKind::kBool, Edge::kKeep, 0},
    {IPPROTO_TCP, TCP_MAXSEG, OptionKind::kRange, Edge::kKeep, 536, 88, 32767},
    {IPPROTO_TCP, TCP_KEEPIDLE, OptionKind::kRange, Edge::kTell, 7200, 1, 32767},
    {IPPROTO_TCP, TCP_KEEPINTVL, OptionKind::kRange, Edge::kTell, 75, 1, 32767},
    {IPPROTO_TCP, TCP_KEEPCNT, OptionKind::kRange, Edge::kTell, 9, 1, 127},
    {IPPROTO_TCP, TCP_SYNCNT, OptionKind::kRange, Edge::kKeep, 6, 1, 127},
    {IPPROTO_TCP, TCP_LINGER2, OptionKind::kRange, Edge::kKeep, 60},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, OptionKind::kDefer, Edge::kTell, 0},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, OptionKind::kRange, Edge::kKeep, 0},
    {IPPROTO_TCP, TCP_QUICKACK, OptionKind::kBool, Edge::kKeep, 1},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, OptionKind::kRange, Edge::kTell, 0, 0},
    {IPPROTO_TCP, TCP_FASTOPEN, OptionKind::kRange, Edge::kKeep, 0, 0},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, OptionKind::kRange, Edge::kKeep, 0},
    {IPPROTO_IP, IP_TOS, OptionKind::kRange, Edge::kTell, 0},
    {IPPROTO_IP, IP_TTL, OptionKind::kHops, Edge::kKeep, 64, 1, 255},
    {IPPROTO_IP, IP_MTU_DISCOVER, OptionKind::kRange, Edge::kKeep, 1, 0, 5},
    {IPPROTO_IP, IP_RECVERR, OptionKind::kBool, Edge::kKeep, 0},
    {IPPROTO_IPV6, IPV6_V6ONLY, OptionKind::kBool, Edge::kKeep, 0},
    {IPPROTO_IPV6, IPV6_TCLASS, OptionKind::kRange, Edge::kTell, 0, -1, 255},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, OptionKind::kHops, Edge::kKeep, 64, 0, 255},
    {IPPROTO_IPV6, IPV6_RECVERR, OptionKind::kBool, Edge::kKeep, 0},
};
static_assert(sizeof(kSpecs) / sizeof(kSpecs[0]) == kOptionCount);

constexpr int kBufferBytesMax = 212992;  // net.core.wmem_max, rmem_max
constexpr int kDeferLimitSeconds = 120;  // TCP_RTO_MAX

int find_option(int level, int name) {
  for (int i = 0; i < kOptionCount; ++i) {
    if (kSpecs[i].level == level && kSpecs[i].name == name) {
      return i;
    }
  }
  return -1;
}

void emit_option(TcpSocket* socket, int level, int name, const void* value, size_t length) {
  Output entry;
  entry.kind = OutputKind::kOption;
  entry.id =
      socket->connection_id != 0 ? socket->connection_id : socket->socket_id | kOptionOfSocket;
  entry.value = static_cast<uint64_t>(level);
  entry.value2 = static_cast<uint64_t>(name);
  entry.data = static_cast<const uint8_t*>(value);
  entry.length = length;
  emit_output(entry);
}

// The edge has a socket to set options on while there is a connection, or a bound port.
bool has_edge_socket(const TcpSocket* socket) {
  return socket->state == TcpState::kOpen || socket->state == TcpState::kListening ||
         (socket->state == TcpState::kBound && !socket->unlistened);
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

long store_integer(SocketOptions* options, int index, int value) {
  const OptionSpec& spec = kSpecs[index];
  int* stored = &options->value[index];
  switch (spec.kind) {
    case OptionKind::kBool:
      *stored = value != 0 ? 1 : 0;
      return 0;
    case OptionKind::kRange:
      if (value < spec.minimum || value > spec.maximum) {
        return -EINVAL;
      }
      *stored = value;
      return 0;
    case OptionKind::kHops:
      if (value != -1 && (value < spec.minimum || value > spec.maximum)) {
        return -EINVAL;
      }
      *stored = value == -1 ? spec.initial : value;
      return 0;
    case OptionKind::kBuffer: {
      const bool force = index == kOptSendBufferForce || index == kOptReceiveBufferForce;
      const int limit = force ? INT32_MAX / 2 : kBufferBytesMax;
      const int kept = value < 0 ? (force ? 0 : limit) : (value < limit ? value : limit);
      const bool send = index == kOptSendBuffer || index == kOptSendBufferForce;
      options->value[send ? kOptSendBuffer : kOptReceiveBuffer] =
          kept * 2 > spec.minimum ? kept * 2 : spec.minimum;
      return 0;
    }
    case OptionKind::kLowWater: {
      // Never above what the window can hold while consumption is not yet reported.
      constexpr int kLimit = static_cast<int>(kReceiveWindowBytes / 2);
      const int kept = value < 0 || value > kLimit ? kLimit : value;
      *stored = kept == 0 ? 1 : kept;
      return 0;
    }
    case OptionKind::kDefer:
      *stored = rounded_defer_seconds(value);
      return 0;
  }
  return -ENOPROTOOPT;
}

// Reads a timeval into a wait: 0 means for ever (-1).
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
  const int64_t ns = to_ns(time.tv_sec, time.tv_usec, 1'000'000);
  *timeout_ns = ns == 0 || ns == kNsForEver ? -1 : ns;
  return 0;
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
  const socklen_t n = room < bytes ? room : static_cast<socklen_t>(bytes);
  return copy_out(value, from, n) == n && put_out(length, n) ? 0 : -EFAULT;
}

long give_int(int from, void* value, socklen_t* length) {
  return give_option(&from, sizeof(from), value, length);
}

long give_timeout(int64_t timeout_ns, void* value, socklen_t* length) {
  const struct timeval time = to_timeval(timeout_ns > 0 ? timeout_ns : 0);
  return give_option(&time, sizeof(time), value, length);
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

long query_setsockopt(QuerySocket* socket, int level, int name, const void* value,
                      socklen_t length) {
  if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
    int64_t timeout_ns = -1;
    const long error = store_timeout(&timeout_ns, value, length);
    if (error == 0 && name == SO_RCVTIMEO) {
      query_set_receive_timeout(socket, timeout_ns);
    }
    return error;
  }
  int number = 0;
  if (length < sizeof(number)) {
    return -EINVAL;
  }
  if (!get_in(&number, value)) {
    return -EFAULT;
  }
  const long error = query_set_option(socket, level, name, number);
  return error < 0 ? unknown_option("setsockopt", level, name) : error;
}

long set_linger(TcpSocket* socket, const void* value, socklen_t length) {
  SocketOptions* options = &socket->options;
  if (length < sizeof(options->linger)) {
    return -EINVAL;
  }
  __builtin_memcpy(&options->linger, value, sizeof(options->linger));
  options->linger.l_onoff = options->linger.l_onoff != 0 ? 1 : 0;
  if (has_edge_socket(socket)) {
    emit_option(socket, SOL_SOCKET, SO_LINGER, &options->linger, sizeof(options->linger));
  } else {
    options->emit_linger = true;
  }
  return 0;
}

long set_integer(TcpSocket* socket, int index, int value) {
  const OptionSpec& spec = kSpecs[index];
  if (index == kOptV6Only && socket->state != TcpState::kFresh) {
    return -EINVAL;
  }
  if (spec.level == IPPROTO_IPV6 && socket->family != AF_INET6) {
    return -ENOPROTOOPT;
  }
  const long error = store_integer(&socket->options, index, value);
  if (error < 0) {
    return error;
  }
  if (index == kOptReceiveLow) {
    tcp_input_arrived(socket);
  }
  if (spec.edge == Edge::kTell) {
    if (has_edge_socket(socket)) {
      emit_option(socket, spec.level, spec.name, &value, sizeof(value));
    } else {
      socket->options.to_emit |= uint64_t{1} << index;
    }
  }
  return 0;
}

int tcp_info_state(const TcpSocket* socket) {
  switch (socket->state) {
    case TcpState::kListening:
      return TCP_LISTEN;
    case TcpState::kOpen:
      if (socket->input_ended) {
        return TCP_CLOSE_WAIT;
      }
      return (socket->shut & kShutSend) != 0 ? TCP_FIN_WAIT2 : TCP_ESTABLISHED;
    default:
      return TCP_CLOSE;
  }
}

long get_info(const TcpSocket* socket, void* value, socklen_t* length) {
  struct tcp_info info = {};
  info.tcpi_state = static_cast<uint8_t>(tcp_info_state(socket));
  info.tcpi_unacked = socket->written > socket->credited ? 1 : 0;
  info.tcpi_snd_mss = info.tcpi_rcv_mss = 1448;
  return give_option(&info, sizeof(info), value, length);
}

int take_socket_error(TcpSocket* socket) {
  const int error = socket->error;
  socket->error = 0;
  return error;
}

// Options that are no plain integers. False: not one of them.
bool get_special(TcpSocket* socket, int level, int name, void* value, socklen_t* length,
                 long* result) {
  const SocketOptions& options = socket->options;
  if (level == IPPROTO_TCP && name == TCP_INFO) {
    *result = get_info(socket, value, length);
    return true;
  }
  if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
    *result = give_option("cubic\0\0\0\0\0\0\0\0\0\0", 16, value, length);
    return true;
  }
  if (level != SOL_SOCKET) {
    return false;
  }
  switch (name) {
    case SO_LINGER:
      *result = give_option(&options.linger, sizeof(options.linger), value, length);
      return true;
    case SO_RCVTIMEO:
      *result = give_timeout(options.receive_timeout_ns, value, length);
      return true;
    case SO_SNDTIMEO:
      *result = give_timeout(options.send_timeout_ns, value, length);
      return true;
    case SO_ERROR:
      *result = give_int(take_socket_error(socket), value, length);
      return true;
    case SO_TYPE:
      *result = give_int(SOCK_STREAM, value, length);
      return true;
    case SO_DOMAIN:
      *result = give_int(socket->family, value, length);
      return true;
    case SO_PROTOCOL:
      *result = give_int(IPPROTO_TCP, value, length);
      return true;
    case SO_ACCEPTCONN:
      *result = give_int(socket->state == TcpState::kListening ? 1 : 0, value, length);
      return true;
    case SO_SNDLOWAT:
      *result = give_int(1, value, length);
      return true;
    default:
      return false;
  }
}

long tcp_setsockopt(TcpSocket* socket, int level, int name, const void* value, socklen_t length) {
  if (level == SOL_SOCKET && name == SO_LINGER) {
    return set_linger(socket, value, length);
  }
  if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
    return store_timeout(name == SO_RCVTIMEO ? &socket->options.receive_timeout_ns
                                             : &socket->options.send_timeout_ns,
                         value, length);
  }
  const int index = find_option(level, name);
  if (index < 0) {
    return unknown_option("setsockopt", level, name);
  }
  int number = 0;
  if (length < sizeof(number)) {
    // IP options may be given as one byte.
    if (level != IPPROTO_IP || length < 1) {
      return -EINVAL;
    }
    number = *static_cast<const uint8_t*>(value);
  } else {
    __builtin_memcpy(&number, value, sizeof(number));
  }
  return set_integer(socket, index, number);
}

}  // namespace

void options_init(SocketOptions* options) {
  for (int i = 0; i < kOptionCount; ++i) {
    options->value[i] = kSpecs[i].initial;
  }
}

void options_emit_reset(TcpSocket* connection) {
  const struct linger now = {1, 0};
  emit_option(connection, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void options_emit_pending(TcpSocket* socket) {
  SocketOptions* options = &socket->options;
  for (int i = 0; i < kOptionCount; ++i) {
    if ((options->to_emit >> i & 1) != 0) {
      emit_option(socket, kSpecs[i].level, kSpecs[i].name, &options->value[i], sizeof(int));
    }
  }
  if (options->emit_linger) {
    emit_option(socket, SOL_SOCKET, SO_LINGER, &options->linger, sizeof(options->linger));
  }
}

long net_getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  long result = 0;
  File* file = socket_file(fd, &result);
  if (file == nullptr) {
    return result;
  }
  if (QuerySocket* query = as_query(file)) {
    const long known = query_option(query, level, name);
    return known < 0 ? unknown_option("getsockopt", level, name)
                     : give_int(static_cast<int>(known), value, length);
  }
  TcpSocket* socket = as_tcp(file);
  if (socket == nullptr) {
    return pair_getsockopt(file, level, name, value, length);
  }
  if (get_special(socket, level, name, value, length, &result)) {
    return result;
  }
  const int index = find_option(level, name);
  if (index < 0 || (level == IPPROTO_IPV6 && socket->family != AF_INET6)) {
    return unknown_option("getsockopt", level, name);
  }
  return give_int(socket->options.value[index], value, length);
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
  if (QuerySocket* query = as_query(file)) {
    return query_setsockopt(query, level, name, value, length);
  }
  TcpSocket* socket = as_tcp(file);
  return socket != nullptr ? tcp_setsockopt(socket, level, name, value, length)
                           : pair_setsockopt(file, level, name, value, length);
}

// SO_TYPE and the like of socketpairs are answered; buffer sizes and time-outs stay the kernel's
// defaults.
long pair_getsockopt(File* file, int level, int name, void* value, socklen_t* length) {
  if (level == SOL_SOCKET) {
    switch (name) {
      case SO_TYPE:
        return give_int(pair_kind(file), value, length);
      case SO_DOMAIN:
        return give_int(AF_UNIX, value, length);
      case SO_ERROR:
        return give_int(pair_take_error(file), value, length);
      case SO_PROTOCOL:
      case SO_ACCEPTCONN:
        return give_int(0, value, length);
      case SO_SNDBUF:
      case SO_RCVBUF:
        return give_int(kBufferBytesMax, value, length);
      default:
        break;
    }
  }
  return level == SOL_SOCKET ? unknown_option("getsockopt", level, name) : -EOPNOTSUPP;
}

long pair_setsockopt(File*, int level, int name, const void*, socklen_t) {
  if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF)) {
    return 0;
  }
  return level == SOL_SOCKET ? unknown_option("setsockopt", level, name) : -EOPNOTSUPP;
}

}  // namespace ftrun::shim
