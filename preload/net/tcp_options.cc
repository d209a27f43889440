// SPDX-License-Identifier: Apache-2.0
// TCP's own part of the socket options: what the edge is told, and what depends on the state.
// Runs in the application with the token held; no libc, no system calls.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "preload/net/option_table.h"
#include "preload/net/options.h"
#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

// What the edge's kernel has negotiated depends on path and host, is another after a takeover, and
// is not known before: constants, equal in all replicas.
constexpr int kSegmentBytes = 1448;        // of a connection: what an Ethernet takes
constexpr int kSegmentBytesDefault = 536;  // TCP_MSS_DEFAULT

void emit_option(TcpSocket* socket, int level, int name, const void* value, size_t length) {
  Output entry;
  entry.kind = OutputKind::kOption;
  // Sockets and connections are numbered apart; the bit says which is meant (eventlog/limits.h).
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
  // Only what follows from arrivals and from what the program has done. Round-trip times, windows
  // and counters are the edge's kernel's: they stay zero.
  struct tcp_info info = {};
  info.tcpi_state = static_cast<uint8_t>(tcp_info_state(socket));
  info.tcpi_unacked = socket->written > socket->credited ? 1 : 0;
  info.tcpi_snd_mss = info.tcpi_rcv_mss = kSegmentBytes;
  return give_option(&info, sizeof(info), value, length);
}

int segment_bytes(const TcpSocket* socket) {
  const int wanted = socket->options.value[kOptMaxSegment];
  return socket->state == TcpState::kOpen ? kSegmentBytes
         : wanted != 0                    ? wanted
                                          : kSegmentBytesDefault;
}

}  // namespace

void options_emit_reset(TcpSocket* connection) {
  const struct linger now = {1, 0};
  emit_option(connection, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

// The answer to a bind has come. What was set before is told again at every bind, since a socket
// that listens anew after a shutdown is a new one at the edge; connections inherit it there from
// the listener.
void options_emit_pending(TcpSocket* socket) {
  const SocketOptions* options = &socket->options;
  for (int i = 0; i < kOptionCount; ++i) {
    if ((options->to_emit >> i & 1) != 0) {
      const OptionSpec& spec = option_spec(i);
      emit_option(socket, spec.level, spec.name, &options->value[i], sizeof(int));
    }
  }
  if (options->emit_linger) {
    emit_option(socket, SOL_SOCKET, SO_LINGER, &options->linger, sizeof(options->linger));
  }
}

long tcp_check_option(const Socket* file, int index) {
  const TcpSocket* socket = to_tcp(file);
  const bool is_fresh = socket->state == TcpState::kFresh;
  const bool is_unconnected = socket->state != TcpState::kOpen;
  // ipv6(7): V6ONLY before the bind only. do_tcp_setsockopt(): FASTOPEN in CLOSE and LISTEN only.
  return (index == kOptV6Only && !is_fresh) || (index == kOptFastOpen && !is_unconnected) ? -EINVAL
                                                                                          : 0;
}

void tcp_option_changed(Socket* file, int index, int given) {
  TcpSocket* socket = to_tcp(file);
  const OptionSpec& spec = option_spec(index);
  // With a lower mark, what waits already may be enough: readers look again.
  if (index == kOptReceiveLow) {
    tcp_input_arrived(socket);
  }
  if (spec.edge == Edge::kTell) {
    // As given, not as kept: the edge's kernel makes the same of it as the shim has.
    if (has_edge_socket(socket)) {
      emit_option(socket, spec.level, spec.name, &given, sizeof(given));
    } else {
      socket->options.to_emit |= uint64_t{1} << index;
    }
  }
}

void tcp_linger_changed(Socket* file) {
  TcpSocket* socket = to_tcp(file);
  const struct linger& linger = socket->options.linger;
  if (linger.l_onoff != 0 && linger.l_linger != 0) {
    Notice()
        .text("setsockopt(SOL_SOCKET, SO_LINGER) for ")
        .number(linger.l_linger)
        .text(" s: close does not wait, the output goes out in the background")
        .emit();
  }
  if (has_edge_socket(socket)) {
    emit_option(socket, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
  } else {
    socket->options.emit_linger = true;
  }
}

bool tcp_get_option(Socket* file, int level, int name, void* value, socklen_t* length,
                    long* result) {
  const TcpSocket* socket = to_tcp(file);
  if (level == SOL_SOCKET && name == SO_ACCEPTCONN) {
    *result = give_int(socket->state == TcpState::kListening ? 1 : 0, value, length);
    return true;
  }
  if (level != IPPROTO_TCP) {
    return false;
  }
  switch (name) {
    case TCP_INFO:
      *result = get_info(socket, value, length);
      return true;
    case TCP_CONGESTION:
      // TCP_CA_NAME_MAX bytes. A constant: the default of the host at the edge may be another after
      // a takeover.
      *result = give_option("cubic\0\0\0\0\0\0\0\0\0\0", 16, value, length);
      return true;
    case TCP_MAXSEG:
      *result = give_int(segment_bytes(socket), value, length);
      return true;
    default:
      return false;
  }
}

}  // namespace ftrun::shim
