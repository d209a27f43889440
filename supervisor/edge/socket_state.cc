// SPDX-License-Identifier: Apache-2.0
// Stream positions from the kernel: see socket_state.h. Runs in the supervisor.
#include "supervisor/edge/socket_state.h"

#include <linux/sockios.h>
#include <linux/tcp.h>  // the kernel's tcp_info: glibc's lacks the byte counters
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace ftrun::edge {

namespace {

// From the kernel's include/net/tcp_states.h (not exported by linux/tcp.h).
enum TcpState : uint8_t {
  kFinWait1 = 4,
  kFinWait2 = 5,
  kTimeWait = 6,
  kClose = 7,
  kCloseWait = 8,
  kLastAck = 9,
  kClosing = 11,
};
constexpr int kStableReadsMax = 1000;

struct Sample {
  tcp_info info;
  int input_queue = 0;
  int output_queue = 0;
};

Result<void> take_info(int fd, tcp_info* info) {
  std::memset(info, 0, sizeof(*info));
  socklen_t length = sizeof(*info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) != 0) {
    return system_error("TCP_INFO", errno);
  }
  return {};
}

// The counters and the queues come from different calls: a segment between them would spoil the
// sum, so it is taken again until the counters stood still around the queues.
Result<Sample> take_sample(int fd) {
  Sample sample;
  for (int i = 0; i < kStableReadsMax; ++i) {
    tcp_info before;
    FTRUN_TRY(take_info(fd, &before));
    if (ioctl(fd, SIOCINQ, &sample.input_queue) != 0 ||
        ioctl(fd, SIOCOUTQ, &sample.output_queue) != 0) {
      return system_error("SIOCINQ or SIOCOUTQ", errno);
    }
    FTRUN_TRY(take_info(fd, &sample.info));
    if (before.tcpi_bytes_received == sample.info.tcpi_bytes_received &&
        before.tcpi_bytes_acked == sample.info.tcpi_bytes_acked &&
        before.tcpi_state == sample.info.tcpi_state) {
      return sample;
    }
  }
  return Error{"TCP_INFO: the connection's counters never stood still"};
}

Result<Address> address_of(int fd, bool peer) {
  Address address;
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  auto* name = reinterpret_cast<sockaddr*>(&storage);
  if ((peer ? getpeername(fd, name, &length) : getsockname(fd, name, &length)) != 0) {
    return system_error(peer ? "getpeername" : "getsockname", errno);
  }
  if (length > kAddressBytesMax ||
      (storage.ss_family != AF_INET && storage.ss_family != AF_INET6)) {
    return Error{"not an IP socket", EAFNOSUPPORT};
  }
  address.length = static_cast<uint8_t>(length);
  std::memcpy(address.bytes, &storage, length);
  return address;
}

}  // namespace

Result<SocketState> read_socket_state(int fd, bool shutdown_called) {
  Result<Sample> sample = take_sample(fd);
  if (!sample.ok()) {
    return sample.error();
  }
  const tcp_info& info = sample->info;
  const uint8_t tcp_state = info.tcpi_state;
  SocketState state;
  state.closed = tcp_state == kClose;
  state.output_shut = tcp_state == kFinWait1 || tcp_state == kFinWait2 || tcp_state == kTimeWait ||
                      tcp_state == kClosing || tcp_state == kLastAck ||
                      (state.closed && shutdown_called);
  // A connection in TCP_CLOSE that we never shut down was reset: no FIN of the peer was counted,
  // except one that had come before; then the sum is one too high, and nothing is left to read.
  state.peer_shut = tcp_state == kCloseWait || tcp_state == kTimeWait || tcp_state == kClosing ||
                    tcp_state == kLastAck || (state.closed && shutdown_called);
  state.input_unread = static_cast<uint64_t>(sample->input_queue);
  uint64_t received = info.tcpi_bytes_received;
  FTRUN_ASSERT(received >= state.input_unread);
  if (state.peer_shut && received > state.input_unread) {
    received -= 1;
  }
  state.input_dropped = received - state.input_unread;
  state.output_written = info.tcpi_bytes_acked + static_cast<uint64_t>(sample->output_queue) -
                         (state.output_shut ? 1 : 0);
  return state;
}

Result<Address> local_address(int fd) {
  return address_of(fd, false);
}
Result<Address> peer_address(int fd) {
  return address_of(fd, true);
}

}  // namespace ftrun::edge
