// SPDX-License-Identifier: Apache-2.0
// The edge: what the unit core asks for. Nothing here calls the sink; see edge.h. Supervisor.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "supervisor/edge/connection.h"
#include "supervisor/edge/edge.h"
#include "supervisor/edge/socket_state.h"

namespace ftrun::edge {

namespace {

constexpr uint64_t kListenerBit = uint64_t{1} << 40;
constexpr int kFailedDropsMax = 100;
constexpr int kUnacceptedMax = 64;  // connections accepted for an application, for one listener
constexpr size_t kOptionValueBytesMax = sizeof(linger);
constexpr linger kNoLinger{0, 0};

// The options that may be set on a client-facing socket because an application asks for it: those
// that a client can notice and that the shim passes on (preload/net/options.cc). Any other could
// reach beyond the socket: filters, device bindings, marks, protocols, our own SO_PEEK_OFF.
constexpr struct {
  int level;
  int name;
} kOptionsAllowed[] = {
    {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_LINGER},
    {IPPROTO_TCP, TCP_NODELAY},
    {IPPROTO_TCP, TCP_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {IPPROTO_TCP, TCP_USER_TIMEOUT},
    {IPPROTO_IP, IP_TOS},
    {IPPROTO_IPV6, IPV6_TCLASS},
    {IPPROTO_IP, IP_TTL},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {IPPROTO_IP, IP_MTU_DISCOVER},
    {IPPROTO_TCP, TCP_MAXSEG},
    {IPPROTO_TCP, TCP_LINGER2},
    {SOL_SOCKET, SO_DONTROUTE},
};

bool option_allowed(int level, int name) {
  return std::any_of(std::begin(kOptionsAllowed), std::end(kOptionsAllowed),
                     [=](const auto& o) { return o.level == level && o.name == name; });
}

bool is_internet_address(const sockaddr_storage& storage, size_t length) {
  return (storage.ss_family == AF_INET && length == sizeof(sockaddr_in)) ||
         (storage.ss_family == AF_INET6 && length == sizeof(sockaddr_in6));
}

// Makes the socket that `flags` and `address` describe, bound. The descriptor, or -errno.
int bound_socket(uint32_t flags, const Address& address) {
  sockaddr_storage storage{};
  std::memcpy(&storage, address.bytes, std::min<size_t>(address.length, sizeof(address.bytes)));
  if (!is_internet_address(storage, address.length)) {
    return -EAFNOSUPPORT;
  }
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return -errno;
  }
  const int one = 1;
  const int zero = 0;
  bool ok = fd < static_cast<int>(kSocketTableLines);
  // Before there are connections: they inherit it.
  ok = ok && setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)) == 0;
  if ((flags & kBindReuseAddress) != 0) {
    ok = ok && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0;
  }
  if ((flags & kBindReusePort) != 0) {
    ok = ok && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0;
  }
  if (storage.ss_family == AF_INET6) {
    const int* only = (flags & kBindV6Only) != 0 ? &one : &zero;
    ok = ok && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, only, sizeof(*only)) == 0;
  }
  ok = ok && ::bind(fd, reinterpret_cast<sockaddr*>(&storage), address.length) == 0;
  if (!ok) {
    const int error = fd < static_cast<int>(kSocketTableLines) ? errno : EMFILE;
    ::close(fd);
    return -error;
  }
  return fd;
}

}  // namespace

void Edge::bind(uint32_t socket, uint32_t flags, const Address& address) {
  if ((flags & kBindLock) != 0) {
    if (const std::optional<int> answer = locks_.request(socket, flags, address)) {
      bound_.push_back({socket, *answer, address});
    }
    return;
  }
  if (listeners_.contains(socket)) {
    bound_.push_back({socket, EINVAL, address});  // as the kernel answers a second bind
    return;
  }
  const int fd = bound_socket(flags, address);
  if (fd < 0) {
    bound_.push_back({socket, -fd, address});
    return;
  }
  Listener* listener = add_listener(socket, fd);
  const Result<Address> local = local_address(fd);
  listener->address = local.ok() ? *local : address;
  table_.set(fd, socket_cookie(fd), SocketKind::kListener, socket, 0, 0);
  bound_.push_back({socket, 0, listener->address});
}

void Edge::listen(uint32_t socket, int backlog) {
  const auto found = listeners_.find(socket);
  if (found == listeners_.end()) {
    bound_.push_back({socket, EINVAL, Address{}});
    return;
  }
  Listener* listener = found->second.get();
  table_.line(listener->fd).flags.store(kSocketListening, std::memory_order_release);
  // One more than the backlog may wait (inet_csk(9)): some in the kernel, some in the application.
  const int waiting_max = std::max(backlog, 0) + 1;
  const int unaccepted_max = std::clamp(waiting_max / 2, 1, kUnacceptedMax);
  if (::listen(listener->fd, std::max(waiting_max - unaccepted_max - 1, 0)) != 0) {
    bound_.push_back({socket, errno, listener->address});
    return;
  }
  bound_.push_back({socket, 0, listener->address});
  listener->unaccepted_max = static_cast<unsigned>(unaccepted_max);
  if (listener->full) {  // of what a smaller backlog allowed, perhaps
    listener->full = false;
    listener->waiting = accept_pending_ = true;
  }
  if (!listener->listening) {
    listener->listening = true;
    watch(listener->fd, kListenerBit | socket, EPOLLIN);
  }
}

void Edge::retry_locks() {
  locks_.retry([this](uint32_t id, int error, const Address& address) {
    bound_.push_back({id, error, address});
  });
}

void Edge::accepted(ConnectionId id) {
  Connection* connection = find(id);
  if (connection != nullptr) {
    set_accepted(connection);
  }
}

void Edge::set_accepted(Connection* connection) {
  const auto found = listeners_.find(connection->listener);
  if (connection->unaccepted && found != listeners_.end()) {
    Listener* listener = found->second.get();
    --listener->unaccepted;  // wraps around where the application uses a socket's number again
    if (listener->full && listener->unaccepted < listener->unaccepted_max) {
      listener->full = false;
      listener->waiting = accept_pending_ = true;
    }
  }
  connection->unaccepted = false;
}

void Edge::set_unaccepted(Connection* connection) {
  const auto found = listeners_.find(connection->listener);
  if (found != listeners_.end()) {
    ++found->second->unaccepted;
    connection->unaccepted = true;
  }
}

void Edge::unlisten(uint32_t socket) {
  if (locks_.release(socket)) {
    return;
  }
  const auto found = listeners_.find(socket);
  if (found == listeners_.end()) {
    return;
  }
  table_.clear(found->second->fd);
  ::close(found->second->fd);
  listeners_.erase(found);
}

void Edge::option(uint32_t id, int level, int name, Bytes value) {
  int fd = -1;
  Connection* connection = nullptr;
  if ((id & kOptionOfSocket) != 0) {
    const auto found = listeners_.find(id & ~kOptionOfSocket);
    fd = found == listeners_.end() ? -1 : found->second->fd;
  } else {
    connection = find(id);
    fd = connection == nullptr ? -1 : connection->fd;
  }
  if (fd < 0) {
    return;
  }
  if (!option_allowed(level, name) || value.size() > kOptionValueBytesMax) {
    sink_->edge_trouble(
        fmt::format("option {}/{} with {} bytes is not set: not one that an "
                    "application's socket needs",
                    level, name, value.size()));
    return;
  }
  if (level == SOL_SOCKET && name == SO_LINGER && value.size() >= sizeof(linger)) {
    linger setting;
    std::memcpy(&setting, value.data(), sizeof(setting));
    const bool zero = setting.l_onoff != 0 && setting.l_linger == 0;
    if (connection != nullptr) {
      connection->reset_wanted = zero;
    }
    // A lingering close would block this loop even on a non-blocking socket; on the wire it is the
    // same as closing in the background.
    if (!zero) {
      value = {reinterpret_cast<const uint8_t*>(&kNoLinger), sizeof(kNoLinger)};
    }
  }
  if (setsockopt(fd, level, name, value.data(), static_cast<socklen_t>(value.size())) != 0 &&
      errno != EINVAL) {  // EINVAL: the connection is gone already
    sink_->edge_trouble(system_error("setsockopt asked for by the application", errno).message);
  }
}

void Edge::write(ConnectionId id, uint64_t position, Bytes data) {
  Connection* connection = find(id);
  if (connection == nullptr) {
    return;
  }
  FTRUN_ASSERT(position == connection->offered);
  connection->offered += data.size();
  if (connection->reset_error != 0) {
    return;  // nobody is there to read it
  }
  while (!connection->unsent && !data.empty()) {
    const ssize_t sent = send_output(connection, data);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
      break;
    }
    if (sent < 0) {
      output_failed(connection, errno);
      return;
    }
    connection->written += static_cast<uint64_t>(sent);
    data = data.subspan(static_cast<size_t>(sent));
    note_sent(connection);
  }
  if (!data.empty()) {
    // A peer that always takes a little never lets the queue run empty.
    if (connection->queue_start > connection->queue.size() / 2) {
      const auto begin = connection->queue.begin();
      connection->queue.erase(begin, begin + static_cast<ptrdiff_t>(connection->queue_start));
      connection->queue_start = 0;
    }
    connection->queue.insert(connection->queue.end(), data.begin(), data.end());
    set_unsent(connection, true);
  }
}

void Edge::set_unsent(Connection* connection, bool unsent) {
  if (connection->unsent != unsent) {
    connection->unsent = unsent;
    unsent_connections_ += unsent ? 1 : size_t(-1);
  }
}

// The connection is broken as far as output goes. Input that came before is still reported first.
void Edge::output_failed(Connection* connection, int error) {
  connection->reset_error = error == EPIPE ? ECONNRESET : error;
  drop_output(connection);
  if (!connection->input_done) {
    connection->readable = connection->hangup = true;
    defer_reading(connection);
  }
}

void Edge::flush_output(Connection* connection) {
  while (connection->queue_start < connection->queue.size()) {
    const ssize_t sent =
        send_output(connection, Bytes(connection->queue).subspan(connection->queue_start));
    if (sent < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        output_failed(connection, errno);
        finish_output(connection);
      }
      return;
    }
    connection->queue_start += static_cast<size_t>(sent);
    connection->written += static_cast<uint64_t>(sent);
    note_orphan_sent(connection, static_cast<size_t>(sent));
    note_sent(connection);
  }
  drop_output(connection);
  finish_output(connection);
}

void Edge::note_sent(Connection* connection) {
  if (!connection->in_reports) {
    connection->in_reports = true;
    reports_.push_back(connection);
  }
}

// Carries out a shutdown or close that waited for the output before it.
void Edge::finish_output(Connection* connection) {
  if (connection->unsent) {
    return;
  }
  if (connection->shut_wanted && !connection->shut_done) {
    connection->shut_done = true;
    // ORDER: the flag first; whoever takes the socket over must count our FIN if it was sent.
    table_.line(connection->fd).flags.fetch_or(kSocketShut, std::memory_order_release);
    ::shutdown(connection->fd, SHUT_WR);
  }
  if (connection->close_wanted && connection->quarantined) {
    if (!connection->parting) {
      connection->parting = true;
      parting_.push_back(connection);
    }
  } else if (connection->close_wanted) {
    // Exactly what the application took: the kernel resets a connection that has more, and must be
    // told where more was dropped already.
    drop_input(connection, connection->consumed);
    if (connection->reset_wanted || connection->dropped > connection->consumed) {
      reset_at_close(connection->fd);
    }
    destroy(connection);
  }
}

void Edge::shutdown(ConnectionId id) {
  Connection* connection = find(id);
  if (connection != nullptr) {
    connection->shut_wanted = true;
    finish_output(connection);
  }
}

void Edge::close(ConnectionId id, uint64_t consumed, unit::Ending ending) {
  Connection* connection = find(id);
  if (connection == nullptr) {
    return;
  }
  set_accepted(connection);  // or turned away
  connection->close_wanted = true;
  connection->consumed = consumed;
  connection->input_done = true;
  connection->reset_wanted |= ending == unit::Ending::kReset || connection->received > consumed;
  if (connection->reset_wanted && !connection->quarantined) {
    drop_output(connection);
  }
  if (connection->unsent) {
    keep_orphan(connection);
  } else {
    finish_output(connection);
  }
}

void Edge::destroy(Connection* connection) {
  drop_output(connection);
  // ORDER: the table first; a descriptor number may be used again at once.
  table_.clear(connection->fd);
  ::close(connection->fd);
  connection->fd = -1;
  by_id_.erase(connection->id);
  closed_.push_back(connection);
  accept_again();
}

void Edge::accept_again() {
  for (const auto& [socket, listener] : listeners_) {
    accept_pending_ = accept_pending_ || listener->starved;
    listener->starved = false;
  }
}

void Edge::drop_input(Connection* connection, uint64_t position) {
  // What is to be dropped is there; EAGAIN: see edge_urgent.cc.
  int failures = 0;
  while (connection->dropped < position && failures < kFailedDropsMax) {
    const size_t left = position - connection->dropped;
    const bool last = left <= kSuspectBytesMax;
    uint8_t bytes[kSuspectBytesMax];
    const ssize_t got =
        last ? recv(connection->fd, bytes, left, MSG_DONTWAIT)
             : recv(connection->fd, nullptr, left - kSuspectBytesMax, MSG_TRUNC | MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
      ++failures;
      continue;
    }
    if (got <= 0) {
      break;
    }
    connection->dropped += static_cast<uint64_t>(got);
    if (last) {
      connection->keep_tail({bytes, static_cast<size_t>(got)});
    }
  }
  connection->peeks = 0;
}

void Edge::release_input(ConnectionId id, uint64_t position) {
  Connection* connection = find(id);
  if (connection == nullptr || position <= connection->releasable) {
    return;
  }
  connection->releasable = position;
  apply_release(connection);
}

// Drops what may be dropped, or sees to it that the next tick does. To be called whenever
// `releasable` or `received` has grown: only what was read may go, since SO_PEEK_OFF counts from
// the start of what is there.
void Edge::apply_release(Connection* connection) {
  const uint64_t droppable = std::min(connection->releasable, connection->received);
  if (connection->peeks >= kDropPeeksMin || droppable >= connection->dropped + kDropBytesMin) {
    drop_input(connection, droppable);
  } else if (droppable > connection->dropped && !connection->in_droppable) {
    connection->in_droppable = true;
    droppable_.push_back(connection);
  }
}

void Edge::drop_released() {
  for (Connection* connection : droppable_) {
    connection->in_droppable = false;
    if (connection->fd >= 0) {
      drop_input(connection, std::min(connection->releasable, connection->received));
    }
  }
  droppable_.clear();
  accept_again();
}

void Edge::reoffer_input(ConnectionId id, uint64_t position) {
  Connection* connection = find(id);
  if (connection == nullptr || connection->close_wanted) {
    return;
  }
  FTRUN_ASSERT(position >= connection->dropped);
  const int offset = static_cast<int>(position - connection->dropped);
  if (setsockopt(connection->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) != 0) {
    sink_->edge_trouble(system_error("SO_PEEK_OFF", errno).message);
  }
  connection->received = position;
  connection->mark = kNoPosition;  // what was told of it may be forgotten as well
  connection->look_until = position;
  connection->limit = std::max(connection->limit, position);
  connection->input_done = false;
  connection->readable = connection->hangup = true;
  apply_release(connection);
  defer_reading(connection);
}

void Edge::input_limit(ConnectionId id, uint64_t position) {
  Connection* connection = find(id);
  if (connection != nullptr && position > connection->limit) {
    connection->limit = position;
    if (connection->readable && !connection->input_done) {
      defer_reading(connection);
    }
  }
}

}  // namespace ftrun::edge
