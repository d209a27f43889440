// SPDX-License-Identifier: Apache-2.0
// The edge: sockets that another supervisor is to take from this one, which lives on (a planned
// change of sender). See edge.h. Supervisor.
//
// ORDER: out of the epoll set before the position is told that the other waits for; closed only
// when the other has them, so that no peer sees an end.
#include <sys/epoll.h>
#include <unistd.h>

#include "supervisor/edge/connection.h"
#include "supervisor/edge/edge.h"

namespace ftrun::edge {

std::vector<unit::Unwritten> Edge::let_go() {
  FTRUN_ASSERT(let_go_.empty());
  std::vector<unit::Unwritten> unwritten;
  for (const auto& connection : slots_) {
    if (connection->fd < 0) {
      continue;
    }
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, connection->fd, nullptr);
    let_go_.push_back({connection->fd, connection->cookie, SocketKind::kConnection, connection->id,
                       connection->listener, connection->shut_done ? kSocketShut : 0});
    unwritten.push_back({connection->id, connection->written,
                         Bytes(connection->queue).subspan(connection->queue_start)});
  }
  for (const auto& [socket, listener] : listeners_) {
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, listener->fd, nullptr);
    let_go_.push_back({listener->fd, socket_cookie(listener->fd), SocketKind::kListener, socket, 0,
                       listener->listening ? kSocketListening : 0});
  }
  for (const auto& [lock, fd] : locks_.let_go()) {
    let_go_.push_back({fd, file_cookie(fd), SocketKind::kLock, lock, 0, 0});
  }
  last_slots_ = std::move(slots_);
  slots_.clear();
  free_slots_.clear();
  by_id_.clear();
  listeners_.clear();
  for (auto* list : {&pending_, &reports_, &droppable_, &closed_, &parting_}) {
    list->clear();
  }
  bound_.clear();
  last_read_ = nullptr;
  accept_pending_ = false;
  unsent_connections_ = 0;
  orphans_.clear();
  orphan_bytes_ = 0;
  return unwritten;
}

void Edge::forget() {
  for (const TakenSocket& socket : take_back()) {
    table_.clear(socket.fd);
    ::close(socket.fd);
  }
  last_slots_.clear();
}

}  // namespace ftrun::edge
