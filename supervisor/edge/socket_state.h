// SPDX-License-Identifier: Apache-2.0
// What the kernel knows about a TCP connection that we accepted: exact stream positions, read from
// the socket alone. Runs in the supervisor; used at a takeover and by tests.
//
//   input dropped  = tcpi_bytes_received - SIOCINQ - (1 if the peer's FIN has arrived)
//   output written = tcpi_bytes_acked + SIOCOUTQ  - (1 if our own FIN is queued or sent)
//
// A FIN counts as a byte in the kernel's sums (measured, hard-cases 8), so the state of the
// connection decides. Our own FIN is known from the state, except in TCP_CLOSE, where only whether
// we had called shutdown() tells.
#pragma once

#include <cstdint>
#include <optional>

#include "eventlog/arrivals.h"
#include "supervisor/base/result.h"

namespace ftrun::edge {

struct SocketState {
  uint64_t input_dropped = 0;   // bytes of input that the kernel no longer has
  uint64_t input_unread = 0;    // bytes of input that it has (peeked ones included)
  uint64_t output_written = 0;  // bytes of output that it has taken
  bool peer_shut = false;       // the peer's FIN has arrived
  bool output_shut = false;     // our FIN is queued or sent
  bool closed = false;          // TCP_CLOSE: both FINs are done, or the connection was reset
};

// `shutdown_called`: whether the owner had called shutdown(SHUT_WR).
// REQUIRES: nobody else reads from or writes to the socket.
Result<SocketState> read_socket_state(int fd, bool shutdown_called);

Result<Address> local_address(int fd);
Result<Address> peer_address(int fd);

}  // namespace ftrun::edge
