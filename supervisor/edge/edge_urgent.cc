// SPDX-License-Identifier: Apache-2.0
// The edge: TCP urgent data (RFC 6093). Supervisor.
//
// Client sockets keep urgent bytes in the stream (SO_OOBINLINE, inherited from the listener), so
// stream positions of the kernel and ours are the same, also at a takeover; which byte is urgent is
// told as an arrival of its own, and the shim does the rest.
//
// ORDER: that arrival comes before the data that has the byte. So it need not be remembered: as
// long as the byte is not logged, the kernel has it, and the mark too; whoever reads the byte again
// finds the mark again. An application that is told twice ignores it (tcp_arrivals.cc).
//
// A peek that starts before the mark ends there; one that starts at it runs over it without a word.
// So the mark must be known before each peek's bytes are told, without a system call for each:
// the kernel sends SIGURG to the socket's owner before the byte can be read, and a signal is
// handled at the latest when the peek returns.
//
// While a signal is pending, a read that starts at the mark fails with EAGAIN (tcp_recvmsg_locked),
// so there EAGAIN does not say that nothing is there.
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <limits>

#include "supervisor/edge/connection.h"
#include "supervisor/edge/edge.h"

namespace ftrun::edge {

namespace {

// A segment may announce an urgent byte that comes as much later (its 16-bit urgent pointer).
constexpr uint64_t kAnnouncedBytesMax = 64 * 1024;

std::atomic<unsigned> g_urgent_signals{0};
static_assert(std::atomic<unsigned>::is_always_lock_free);

constexpr int kPeeksMax = 100;  // signals that may be pending one after the other

// Peeks at the byte at SO_PEEK_OFF, which is there.
bool peek_byte(int fd, uint8_t* byte) {
  for (int i = 0; i < kPeeksMax; ++i) {
    const ssize_t got = recv(fd, byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got >= 0 || (errno != EAGAIN && errno != EINTR)) {
      return got == 1;
    }
  }
  return false;
}

void count_signal(int) {
  g_urgent_signals.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

Result<void> Edge::count_urgent_signals() {
  struct sigaction action {};
  action.sa_handler = count_signal;
  action.sa_flags = SA_RESTART;
  sigset_t urgent;
  sigemptyset(&urgent);
  sigaddset(&urgent, SIGURG);
  if (sigaction(SIGURG, &action, nullptr) != 0 || sigprocmask(SIG_UNBLOCK, &urgent, nullptr) != 0) {
    return system_error("SIGURG", errno);
  }
  return {};
}

// From now on SIGURG tells of this connection's urgent data. What came before is looked for at the
// first read (look_until).
void Edge::expect_urgent(Connection* connection) {
  if (fcntl(connection->fd, F_SETOWN, getpid()) != 0) {
    sink_->edge_trouble(system_error("F_SETOWN of a client socket", errno).message);
  }
  connection->urgent_signals = g_urgent_signals.load(std::memory_order_relaxed);
  connection->look_until = connection->received;
}

bool Edge::may_be_urgent(const Connection* connection, uint64_t position) const {
  return position <= connection->look_until ||
         connection->urgent_signals != g_urgent_signals.load(std::memory_order_relaxed);
}

// A peek has failed with EAGAIN: whether there is something to read all the same.
bool Edge::is_stopped_at_mark(Connection* connection) {
  int unread = 0;
  if (connection->received != connection->mark &&
      !may_be_urgent(connection, connection->received)) {
    return false;
  }
  look_for_urgent(connection);
  return ioctl(connection->fd, SIOCINQ, &unread) == 0 &&
         static_cast<uint64_t>(unread) > connection->received - connection->dropped;
}

// Tells of an urgent byte that has not been told yet.
void Edge::look_for_urgent(Connection* connection) {
  if (connection->id == 0 || connection->input_done) {
    return;
  }
  const unsigned signals = g_urgent_signals.load(std::memory_order_relaxed);
  if (signals != connection->urgent_signals) {
    connection->urgent_signals = signals;
    connection->look_until = connection->received + kAnnouncedBytesMax;
  }
  pollfd state{connection->fd, POLLPRI, 0};
  if (::poll(&state, 1, 0) != 1 || (state.revents & POLLPRI) == 0) {
    return;
  }
  const uint64_t mark = find_mark(connection);
  uint8_t byte = 0;
  if (mark != kNoPosition && mark != connection->mark) {
    const int there = static_cast<int>(mark - connection->dropped);
    if (setsockopt(connection->fd, SOL_SOCKET, SO_PEEK_OFF, &there, sizeof(there)) == 0 &&
        peek_byte(connection->fd, &byte)) {
      connection->mark = mark;
      sink_->edge_urgent(connection->id, mark, byte);
    }
  }
  const int offset = static_cast<int>(connection->received - connection->dropped);
  if (setsockopt(connection->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) != 0) {
    sink_->edge_trouble(system_error("SO_PEEK_OFF", errno).message);
  }
}

// Where the kernel's urgent byte is; kNoPosition: its data is not there yet, and a new event will
// say so. Leaves SO_PEEK_OFF anywhere.
uint64_t Edge::find_mark(Connection* connection) {
  const int start = 0;
  int at_mark = 0;
  int unread = 0;
  if (setsockopt(connection->fd, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start)) != 0 ||
      ioctl(connection->fd, SIOCATMARK, &at_mark) != 0 ||
      ioctl(connection->fd, SIOCINQ, &unread) != 0) {
    return kNoPosition;
  }
  if (at_mark != 0) {
    return unread > 0 ? connection->dropped : kNoPosition;
  }
  // Copies nothing (MSG_TRUNC), and stops at the mark.
  const ssize_t length = recv(connection->fd, nullptr, std::numeric_limits<int>::max(),
                              MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  return length > 0 && length < unread ? connection->dropped + static_cast<uint64_t>(length)
                                       : kNoPosition;
}

void Edge::urgent(ConnectionId id, uint64_t position) {
  Connection* connection = find(id);
  if (connection != nullptr) {
    connection->urgent_out = position;
  }
}

// As send(), but for the connection's urgent byte, which goes by itself: a longer send that is cut
// short would make another byte urgent.
ssize_t Edge::send_output(Connection* connection, Bytes data) {
  int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  if (connection->urgent_out != kNoPosition) {
    const uint64_t before = connection->urgent_out - connection->written;
    if (before == 0) {
      data = data.first(1);
      flags |= MSG_OOB;
    } else if (before < data.size()) {
      data = data.first(before);
    }
  }
  const ssize_t sent = send(connection->fd, data.data(), data.size(), flags);
  if (sent > 0 && (flags & MSG_OOB) != 0) {
    connection->urgent_out = kNoPosition;
  }
  return sent;
}

}  // namespace ftrun::edge
