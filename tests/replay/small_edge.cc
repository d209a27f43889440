// SPDX-License-Identifier: Apache-2.0
// See small_edge.h.
#include "tests/replay/small_edge.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ftrun::replay {
namespace {

constexpr uint64_t kListenerTag = uint64_t{1} << 32;
constexpr uint64_t kWakeTag = uint64_t{1} << 33;
constexpr uint64_t kWindowBytes = 256 * 1024;

Address name_of(int fd, bool peer) {
  Address address;
  sockaddr_storage storage = {};
  socklen_t length = sizeof(storage);
  const auto where = reinterpret_cast<sockaddr*>(&storage);
  if ((peer ? getpeername(fd, where, &length) : getsockname(fd, where, &length)) == 0 &&
      length <= kAddressBytesMax) {
    address.length = static_cast<uint8_t>(length);
    std::memcpy(address.bytes, &storage, length);
  }
  return address;
}

}  // namespace

SmallEdge::SmallEdge() : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)) {}

void SmallEdge::watch(int fd, uint64_t tag) {
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP;
  if ((tag & (kListenerTag | kWakeTag)) != 0) {
    event.events = EPOLLIN;
  }
  event.data.u64 = tag;
  epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event);
}

void SmallEdge::append(const Arrival& item, std::vector<uint8_t>* arrivals) {
  uint8_t header[kArrivalHeaderBytesMax];
  const size_t n = put_arrival_header(header, item);
  arrivals->insert(arrivals->end(), header, header + n);
  if (item.length != 0) {
    arrivals->insert(arrivals->end(), item.data, item.data + item.length);
  }
}

void SmallEdge::answer_bind(uint32_t id, int error, const Address& address) {
  Arrival bound;
  bound.kind = ArrivalKind::kBound;
  bound.id = id;
  bound.value = static_cast<uint64_t>(error);
  bound.local = address;
  append(bound, &early_);
}

void SmallEdge::bind_socket(const Output& entry) {
  if ((entry.value & kBindLock) != 0) {
    const auto flags = static_cast<uint32_t>(entry.value);
    if (const auto error = locks_.request(entry.id, flags, entry.address)) {
      answer_bind(entry.id, *error, entry.address);
    }
    return;
  }
  sockaddr_storage storage = {};
  std::memcpy(&storage, entry.address.bytes, entry.address.length);
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if ((entry.value & kBindV6Only) != 0) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
  }
  const int rc = bind(fd, reinterpret_cast<sockaddr*>(&storage), entry.address.length);
  const int error = rc == 0 ? 0 : errno;
  sockets_[entry.id] = fd;
  answer_bind(entry.id, error, name_of(fd, false));
}

void SmallEdge::listen_on(uint32_t socket, int backlog) {
  const int fd = sockets_[socket];
  const int error = listen(fd, backlog) == 0 ? 0 : errno;
  if (error == 0) {
    watch(fd, kListenerTag | socket);
  }
  answer_bind(socket, error, name_of(fd, false));
}

void SmallEdge::output(const Output& entry) {
  const auto found = connections_.find(entry.id);
  Connection* connection = found == connections_.end() ? nullptr : &found->second;
  switch (entry.kind) {
    case OutputKind::kBind:
      bind_socket(entry);
      break;
    case OutputKind::kListen:
      listen_on(entry.id, static_cast<int>(entry.value));
      break;
    case OutputKind::kUnlisten:
      if (!locks_.release(entry.id)) {
        close(sockets_[entry.id]);
        sockets_.erase(entry.id);
      }
      break;
    case OutputKind::kWrite:
    case OutputKind::kUrgent:
      if (connection != nullptr) {
        connection->queue.append(reinterpret_cast<const char*>(entry.data), entry.length);
        write_some(entry.id, connection);
      }
      break;
    case OutputKind::kShutdown:
      if (connection != nullptr) {
        connection->shut = true;
        write_some(entry.id, connection);
      }
      break;
    case OutputKind::kClose:
      if (connection != nullptr) {
        connection->closing = true;
        write_some(entry.id, connection);
      }
      break;
    case OutputKind::kConsumed:
      if (connection != nullptr) {
        connection->consumed = entry.value;
        read_some(entry.id, connection, &early_);
      }
      break;
    case OutputKind::kConsole:
    case OutputKind::kNotice: {
      const ssize_t n = ::write(2, entry.data, entry.length);
      (void)n;
      break;
    }
    default:
      break;
  }
}

void SmallEdge::accept_all(uint32_t listener, std::vector<uint8_t>* arrivals) {
  for (;;) {
    const int fd = accept4(sockets_[listener], nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      return;
    }
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    Arrival open;
    open.kind = ArrivalKind::kOpen;
    open.id = next_id_++;
    open.listener = listener;
    open.local = name_of(fd, false);
    open.peer = name_of(fd, true);
    append(open, arrivals);
    connections_[open.id].fd = fd;
    watch(fd, open.id);
  }
}

void SmallEdge::read_some(uint32_t id, Connection* connection, std::vector<uint8_t>* arrivals) {
  uint8_t buffer[16384];
  Arrival item;
  item.id = id;
  while (!connection->fin && connection->received - connection->consumed < kWindowBytes) {
    const uint64_t room = kWindowBytes - (connection->received - connection->consumed);
    const ssize_t n =
        recv(connection->fd, buffer, room < sizeof(buffer) ? room : sizeof(buffer), 0);
    if (n < 0 && errno == EAGAIN) {
      return;
    }
    if (n <= 0) {
      connection->fin = true;
      item.kind = n == 0 ? ArrivalKind::kFin : ArrivalKind::kReset;
      item.value = n == 0 ? 0 : static_cast<uint64_t>(errno);
      item.length = 0;
      append(item, arrivals);
      return;
    }
    connection->received += static_cast<uint64_t>(n);
    item.kind = ArrivalKind::kData;
    item.data = buffer;
    item.length = static_cast<size_t>(n);
    append(item, arrivals);
  }
}

void SmallEdge::write_some(uint32_t id, Connection* connection) {
  while (!connection->queue.empty()) {
    const ssize_t n =
        send(connection->fd, connection->queue.data(), connection->queue.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) {
        connection->queue.clear();
      }
      break;
    }
    connection->written += static_cast<uint64_t>(n);
    connection->queue.erase(0, static_cast<size_t>(n));
  }
  if (connection->written - connection->credited > kWindowBytes / 4) {
    Arrival credit;
    credit.kind = ArrivalKind::kCredit;
    credit.id = id;
    credit.value = connection->credited = connection->written;
    append(credit, &early_);
  }
  if (connection->queue.empty() && connection->shut) {
    shutdown(connection->fd, SHUT_WR);
  }
  if (connection->queue.empty() && connection->closing) {
    close(connection->fd);
    connections_.erase(id);
  }
}

void SmallEdge::poll(int wake_fd, int timeout_ms, std::vector<uint8_t>* arrivals) {
  static bool watched = false;
  if (!watched) {
    watch(wake_fd, kWakeTag);
    watched = true;
  }
  epoll_event events[64];
  const int n = epoll_wait(epoll_fd_, events, 64, early_.empty() ? timeout_ms : 0);
  // ORDER: what was read since the last call comes before what is read now of the same connection.
  locks_.retry(
      [this](uint32_t id, int error, const Address& address) { answer_bind(id, error, address); });
  take_early(arrivals);
  for (int i = 0; i < n; ++i) {
    const uint64_t tag = events[i].data.u64;
    const auto id = static_cast<uint32_t>(tag);
    if ((tag & kWakeTag) != 0) {
      uint64_t count = 0;
      const ssize_t rc = read(wake_fd, &count, sizeof(count));
      (void)rc;
    } else if ((tag & kListenerTag) != 0) {
      accept_all(id, arrivals);
    } else if (const auto found = connections_.find(id); found != connections_.end()) {
      read_some(id, &found->second, arrivals);
      write_some(id, &found->second);
    }
  }
  take_early(arrivals);
}

void SmallEdge::take_early(std::vector<uint8_t>* arrivals) {
  arrivals->insert(arrivals->end(), early_.begin(), early_.end());
  early_.clear();
}

}  // namespace ftrun::replay
