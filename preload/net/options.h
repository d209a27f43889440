// SPDX-License-Identifier: Apache-2.0
// Socket options: stored and returned; those that the kernel must know go to the edge as well. One
// table (option_table.cc) for the sockets of all kinds. An option that would do what it says is
// accepted; any other is answered ENOPROTOOPT, as by a kernel that does not know it, and a notice.
// Runs in the application with the token held; no libc, no system calls.
#pragma once

#include <stdint.h>
#include <sys/socket.h>

namespace ftrun::shim {

// Integer options, in the order of the table in option_table.cc.
enum OptionIndex : uint8_t {
  kOptReuseAddress,
  kOptReusePort,
  kOptKeepAlive,
  kOptBroadcast,
  kOptOobInline,
  kOptDontRoute,
  kOptPriority,
  kOptSendBuffer,
  kOptReceiveBuffer,
  kOptReceiveLow,
  kOptBusyPoll,
  kOptPassCredentials,
  kOptTimestamp,
  kOptTimestampNs,
  kOptTimestamping,
  kOptNoDelay,
  kOptCork,
  kOptMaxSegment,
  kOptKeepIdle,
  kOptKeepInterval,
  kOptKeepCount,
  kOptSynCount,
  kOptLinger2,
  kOptDeferAccept,
  kOptWindowClamp,
  kOptQuickAck,
  kOptUserTimeout,
  kOptFastOpen,
  kOptUnsentLow,
  kOptTos,
  kOptTtl,
  kOptMtuDiscover,
  kOptReceiveError,
  kOptV6Only,
  kOptTrafficClass,
  kOptHopLimit,
  kOptReceiveError6,
  kOptionCount,
};

struct SocketOptions {
  int value[kOptionCount] = {};
  uint64_t to_emit = 0;  // bit per option: set before the edge had a socket to set it on
  struct linger linger = {};
  bool emit_linger = false;
  int64_t receive_timeout_ns = -1;  // < 0: none
  int64_t send_timeout_ns = -1;
};
static_assert(kOptionCount <= 64);

// net.core.wmem_default, rmem_default: of sockets that are not TCP's.
inline constexpr int kSocketBufferBytes = 212992;

struct Socket;

// REQUIRES: family, kind and protocol are set.
void options_init(Socket* socket);
// The value of an integer option to the application: 0 or -errno.
long give_option(const void* from, size_t bytes, void* value, socklen_t* length);
inline long give_int(int from, void* value, socklen_t* length) {
  return give_option(&from, sizeof(from), value, length);
}

}  // namespace ftrun::shim
