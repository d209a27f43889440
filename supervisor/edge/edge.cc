// SPDX-License-Identifier: Apache-2.0
// The edge: connections as the loop drives them (accept, input, reports). See edge.h. Supervisor.
// What the core asks for is in edge_commands.cc, takeover in edge_take.cc.
#include "supervisor/edge/edge.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "supervisor/edge/connection.h"
#include "supervisor/edge/socket_state.h"

namespace ftrun::edge {

namespace {
constexpr uint64_t kListenerBit = uint64_t{1} << 40;
constexpr uint64_t kSlotMask = kListenerBit - 1;
}  // namespace

Result<std::unique_ptr<Edge>> Edge::create(int epoll_fd, uint64_t tag, EdgeSink* sink) {
  std::unique_ptr<Edge> edge(new Edge());
  edge->epoll_fd_ = epoll_fd;
  edge->tag_ = tag;
  edge->sink_ = sink;
  rlimit descriptors{};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  const size_t limit = std::min<rlim_t>(descriptors.rlim_cur, kSocketTableLines);
  edge->sockets_max_ = limit > kDescriptorsReserved ? limit - kDescriptorsReserved : 1;
  edge->orphans_max_ = std::max<size_t>(1, edge->sockets_max_ / 2);  // others get descriptors, too
  edge->buffer_ = std::make_unique<uint8_t[]>(kPeekBytesMax);
  Result<SocketTable> table = SocketTable::create();
  if (!table.ok()) {
    return table.error();
  }
  edge->table_ = std::move(*table);
  edge->locks_.set_table(&edge->table_);
  FTRUN_TRY(count_urgent_signals());
  return edge;
}

Edge::~Edge() {
  forget();
  for (const auto& connection : slots_) {
    if (connection->fd >= 0) {
      ::close(connection->fd);
    }
  }
  for (const auto& [socket, listener] : listeners_) {
    ::close(listener->fd);
  }
}

Edge::Connection* Edge::find(ConnectionId id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void Edge::watch(int fd, uint64_t slot, uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLET;
  event.data.u64 = tag_ | slot;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    sink_->edge_trouble(system_error("epoll_ctl of a client socket", errno).message);
  }
}

Edge::Connection* Edge::add(int fd, uint32_t listener) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.push_back(std::make_unique<Connection>());
  }
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  Connection* connection = slots_[slot].get();
  const bool in_pending = connection->in_pending;
  const bool in_droppable = connection->in_droppable;
  *connection = Connection{};
  connection->in_pending = in_pending;
  connection->in_droppable = in_droppable;
  connection->fd = fd;
  connection->slot = slot;
  connection->listener = listener;
  return connection;
}

Edge::Listener* Edge::add_listener(uint32_t socket, int fd) {
  auto& listener = listeners_[socket];
  listener = std::make_unique<Listener>();
  listener->socket = socket;
  listener->fd = fd;
  return listener.get();
}

void Edge::name(Connection* connection, ConnectionId id) {
  connection->id = id;
  by_id_[id] = connection;
}

void Edge::process(const epoll_event& event) {
  const uint64_t slot = event.data.u64 & kSlotMask;
  if ((event.data.u64 & kListenerBit) != 0) {
    const auto found = listeners_.find(static_cast<uint32_t>(slot));
    if (found != listeners_.end()) {
      accept_from(found->second.get());
    }
    return;
  }
  FTRUN_ASSERT(slot < slots_.size());
  Connection* connection = slots_[slot].get();
  if (connection->fd < 0) {
    return;  // closed earlier in this batch of events
  }
  if ((event.events & EPOLLPRI) != 0) {
    look_for_urgent(connection);
  }
  if ((event.events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
    connection->readable = true;
    connection->hangup |= (event.events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0;
    read_input(connection);
  }
  if (connection->unsent && (event.events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
    flush_output(connection);
  }
}

bool Edge::is_full() const {
  return slots_.size() - free_slots_.size() - closed_.size() + listeners_.size() + locks_.size() >=
         sockets_max_;
}

// Tried again when a connection has been closed, and now and then: clients wait in the backlog.
void Edge::wait_for_room(Listener* listener, const std::string& why) {
  if (!listener->complained) {
    sink_->edge_trouble("new connections wait: " + why);
  }
  listener->waiting = listener->starved = listener->complained = true;
}

void Edge::accept_from(Listener* listener) {
  const uint32_t socket = listener->socket;
  listener->waiting = false;
  // ORDER: the answer to the listen comes before the connections.
  report_answers();
  if (!listeners_.contains(socket)) {
    return;
  }
  for (unsigned i = 0; i < kAcceptBatchMax; ++i) {
    if (listener->unaccepted >= listener->unaccepted_max) {
      listener->full = true;  // set_accepted() goes on
      return;
    }
    if (is_full()) {
      pollfd next{listener->fd, POLLIN, 0};
      if (poll(&next, 1, 0) != 1) {
        return;  // nobody waits; whoever comes raises an edge
      }
      return wait_for_room(
          listener, fmt::format("{} are open, as many as the limit of open files (ulimit -n) "
                                "allows with {} set aside for the supervisor",
                                by_id_.size(), kDescriptorsReserved));
    }
    Address peer;
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    const int fd = accept4(listener->fd, reinterpret_cast<sockaddr*>(&storage), &length,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) {
        continue;
      }
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        listener->starved = listener->complained = false;
        return;
      }
      return wait_for_room(listener, system_error("accept", errno).message);
    }
    peer.length = static_cast<uint8_t>(std::min<size_t>(length, kAddressBytesMax));
    std::memcpy(peer.bytes, &storage, peer.length);
    accept_one(listener, fd, peer);
    if (listeners_.find(socket) == listeners_.end()) {
      return;
    }
  }
  listener->waiting = accept_pending_ = true;
}

void Edge::accept_one(Listener* listener, int fd, const Address& peer) {
  const Result<Address> local = local_address(fd);
  if (fd >= static_cast<int>(kSocketTableLines) || !local.ok()) {
    sink_->edge_trouble("connection refused: " +
                        (local.ok() ? "too many descriptors" : local.error().message));
    reset_at_close(fd);  // it was never served
    ::close(fd);
    return;
  }
  const int zero = 0;
  if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) != 0) {
    sink_->edge_trouble(system_error("SO_PEEK_OFF on TCP (needs Linux 6.9)", errno).message);
    reset_at_close(fd);
    ::close(fd);
    return;
  }
  Connection* connection = add(fd, listener->socket);
  set_unaccepted(connection);
  name(connection, sink_->edge_open(listener->socket, *local, peer));
  connection->cookie = socket_cookie(fd);
  table_.set(fd, connection->cookie, SocketKind::kConnection, connection->id, listener->socket, 0);
  expect_urgent(connection);
  watch(fd, connection->slot, kConnectionEvents);
}

void Edge::read_input(Connection* connection) {
  if (connection->id == 0 || connection->input_done) {
    return;
  }
  while (!paused_ && read_once(connection)) {
  }
  if (paused_ && connection->fd >= 0 && connection->readable) {
    defer_reading(connection);
  }
}

// Returns whether to go on. Leaves `readable` set when only the limit stopped it.
bool Edge::read_once(Connection* connection) {
  const uint64_t room = connection->limit - connection->received;
  if (room == 0) {
    // Unread input hides a reset, but a writer must hear of it: see output_failed().
    if (connection->reset_error != 0) {
      end_of_input(connection);
    }
    return false;
  }
  const size_t wanted = std::min<uint64_t>(room, kPeekBytesMax);
  const ssize_t got = recv(connection->fd, buffer_.get(), wanted, MSG_PEEK | MSG_DONTWAIT);
  if (got > 0) {
    const uint64_t position = connection->received;
    connection->received += static_cast<uint64_t>(got);
    ++connection->peeks;
    ++traffic_.reads;
    traffic_.bytes += static_cast<uint64_t>(got);
    last_read_ = connection;
    // ORDER: before the bytes are told; see edge_urgent.cc.
    if (may_be_urgent(connection, position)) {
      look_for_urgent(connection);
    }
    // ORDER: after a short read the socket was empty, and new bytes raise a new edge; not so a FIN
    // whose edge has already been seen, nor what follows an urgent byte, where the kernel stops.
    if (static_cast<size_t>(got) < wanted && !connection->hangup &&
        connection->received != connection->mark) {
      connection->readable = false;
    }
    if (connection->releasable > position) {
      apply_release(connection);
    }
    sink_->edge_data(connection->id, position, {buffer_.get(), static_cast<size_t>(got)});
    return connection->fd >= 0 && connection->readable && !connection->input_done;
  }
  if (got < 0 && errno == EINTR) {
    return true;
  }
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    connection->readable = is_stopped_at_mark(connection);
    return connection->readable;
  }
  if (got < 0) {
    connection->reset_error = errno;
  }
  end_of_input(connection);
  return false;
}

void Edge::end_of_input(Connection* connection) {
  connection->input_done = true;
  connection->readable = false;
  if (connection->reset_error == 0) {
    sink_->edge_fin(connection->id);
    return;
  }
  output_failed(connection, connection->reset_error);
  sink_->edge_reset(connection->id, connection->reset_error);
}

void Edge::defer_reading(Connection* connection) {
  if (!connection->in_pending) {
    connection->in_pending = true;
    pending_.push_back(connection);
  }
}

void Edge::read_pending() {
  if (accept_pending_) {
    accept_pending_ = false;
    for (const auto& [socket, listener] : listeners_) {
      if (listener->waiting) {
        accept_from(listener.get());
        break;  // the map may have changed; the others are found in the next iteration
      }
    }
    accept_pending_ = std::any_of(listeners_.begin(), listeners_.end(), [](const auto& entry) {
      return entry.second->waiting && !entry.second->starved;
    });
  }
  if (pending_.empty() || paused_) {
    return;
  }
  working_.swap(pending_);
  for (Connection* connection : working_) {
    connection->in_pending = false;
    if (connection->fd >= 0 && connection->readable) {
      read_input(connection);
    }
  }
  working_.clear();
}

Edge::Traffic Edge::take_traffic() {
  Traffic traffic = std::exchange(traffic_, {});
  const Connection* connection = std::exchange(last_read_, nullptr);
  socklen_t length = sizeof(traffic.core);
  if (connection != nullptr && connection->fd >= 0 &&
      getsockopt(connection->fd, SOL_SOCKET, SO_INCOMING_CPU, &traffic.core, &length) != 0) {
    traffic.core = -1;
  }
  return traffic;
}

void Edge::pause(bool paused) {
  paused_ = paused;
}

void Edge::report_answers() {
  while (!bound_.empty()) {
    std::vector<Bound> bound;
    bound.swap(bound_);
    for (const Bound& answer : bound) {
      sink_->edge_bound(answer.socket, answer.error, answer.address);
    }
  }
}

void Edge::report() {
  report_answers();
  working_.swap(reports_);
  for (Connection* connection : working_) {
    connection->in_reports = false;
    if (connection->id != 0) {
      sink_->edge_sent(connection->id, connection->written);
    }
  }
  working_.clear();
  working_.swap(closed_);
  for (Connection* connection : working_) {
    if (connection->id != 0) {
      sink_->edge_closed(connection->id);
    }
    connection->id = 0;
    free_slots_.push_back(connection->slot);
  }
  working_.clear();
}

}  // namespace ftrun::edge
