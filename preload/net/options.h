// SPDX-License-Identifier: Apache-2.0
// Socket options: stored and returned; those that the kernel must know go to the edge as well.
// Runs in the application with the token held; no libc, no system calls.
#pragma once

#include <stdint.h>
#include <sys/socket.h>

namespace ftrun::shim {

// Integer options, in the order of the table in options.cc.
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
  kOptSendBufferForce,
  kOptReceiveBufferForce,
  kOptReceiveLow,
  kOptTimestamp,
  kOptBusyPoll,
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

struct TcpSocket;
struct File;

void options_init(SocketOptions* options);
// After a successful bind: tells the edge what was set before.
void options_emit_pending(TcpSocket* socket);
// Makes the edge reset this connection when it is closed, whatever was read of it.
void options_emit_reset(TcpSocket* connection);
// Options that sockets of a socketpair have.
long pair_getsockopt(File* file, int level, int name, void* value, socklen_t* length);
long pair_setsockopt(File* file, int level, int name, const void* value, socklen_t length);

}  // namespace ftrun::shim
