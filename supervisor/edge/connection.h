// SPDX-License-Identifier: Apache-2.0
// The edge's private notion of a client connection and of a listener: see edge.h. Supervisor only.
#pragma once

#include <sys/socket.h>

#include "supervisor/edge/edge.h"

namespace ftrun::edge {

inline constexpr uint32_t kConnectionEvents = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP;
inline constexpr uint64_t kNoPosition = UINT64_MAX;

struct Edge::Connection {
  int fd = -1;
  uint32_t slot = 0;
  uint64_t cookie = 0;
  ConnectionId id = 0;  // 0: taken from another supervisor, not named by the core yet
  uint32_t listener = 0;

  // Input positions: dropped <= releasable, dropped <= received <= limit. A release may be ahead of
  // what was read; it is carried out as reading comes on (Edge::apply_release), and never taken
  // back.
  uint64_t dropped = 0;     // the kernel has forgotten it
  uint64_t releasable = 0;  // the kernel may forget it
  uint64_t received = 0;    // handed to the core
  uint64_t limit = kReceiveWindowBytes;
  unsigned peeks = 0;       // since the last drop
  bool readable = false;    // there may be more to read
  bool hangup = false;      // read until the end is seen, also after a short read
  bool input_done = false;  // FIN or reset reported, or the application has closed it
  int reset_error = 0;      // the connection is broken
  bool unaccepted = false;  // by the application: counts against the listener's backlog

  // Urgent data (edge_urgent.cc).
  uint64_t mark = kNoPosition;        // position of the urgent byte that was reported last
  unsigned urgent_signals = 0;        // the process's count of SIGURGs when it was last looked for
  uint64_t look_until = 0;            // input that starts up to here is looked at closely
  uint64_t urgent_out = kNoPosition;  // offered output byte that is urgent

  // Output: [written, offered) waits in `queue` from `queue_start` on.
  uint64_t written = 0;
  uint64_t offered = 0;
  std::vector<uint8_t> queue;
  size_t queue_start = 0;
  bool unsent = false;  // counted in unsent_connections_
  bool orphan = false;  // in Edge::orphans_, there
  std::list<Connection*>::iterator orphan_place;
  bool shut_wanted = false;
  bool shut_done = false;
  bool close_wanted = false;
  bool reset_wanted = false;  // SO_LINGER 0, or as bad: close discards output and resets
  uint64_t consumed = 0;      // close_wanted: input that the application took

  // The last bytes that were dropped: what a suspect has sent, should it become one.
  uint8_t tail[kSuspectBytesMax] = {};
  size_t tail_bytes = 0;
  bool quarantined = false;
  bool parting = false;          // in Edge::parting_
  int64_t parting_until_ns = 0;  // 0: not determined yet

  void keep_tail(Bytes bytes);

  bool in_pending = false;
  bool in_reports = false;
  bool in_droppable = false;
};

// Lets the close of this socket reset its connection: a FIN would say that all was well.
inline void reset_at_close(int fd) {
  const linger now{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

struct Edge::Listener {
  uint32_t socket = 0;
  int fd = -1;
  Address address;
  bool listening = false;
  bool waiting = false;     // has connections to accept (or had no descriptor for them)
  bool full = false;        // of connections that the application has not accepted
  bool starved = false;     // out of descriptors; tried again when one is freed, and now and then
  bool complained = false;  // an event says so
  unsigned unaccepted = 0;  // connections that the application has not accepted yet
  unsigned unaccepted_max = 1;  // as many are accepted for it
};

}  // namespace ftrun::edge
