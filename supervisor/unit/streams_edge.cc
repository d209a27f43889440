// SPDX-License-Identifier: Apache-2.0
// Streams: what the edge reports goes into the batch for the primary. Pure.
#include <fmt/format.h>

#include <algorithm>

#include "eventlog/locks.h"
#include "supervisor/base/result.h"
#include "supervisor/unit/limits.h"
#include "supervisor/unit/streams.h"

namespace ftrun::unit {

size_t Streams::resend_bytes_max() {
  size_t most = 0;
  connections_.for_each(
      [&most](const Connection& connection) { most = std::max(most, connection.resend.size()); });
  return most;
}

Socket* Streams::find_socket(uint32_t id) {
  for (Socket& socket : sockets_) {
    if (socket.id == id) {
      return &socket;
    }
  }
  return nullptr;
}

void Streams::put_open(Connection* connection) {
  Arrival item;
  item.kind = ArrivalKind::kOpen;
  item.id = connection->id;
  item.listener = connection->listener;
  item.local = connection->local;
  item.peer = connection->peer;
  arrivals_->put(item);
  connection->open_passed = true;
}

ConnectionId Streams::open(uint32_t listener, const Address& local, const Address& peer,
                           bool ending) {
  const ConnectionId id = next_id_++;
  if (ending) {
    return id;
  }
  Connection& connection = connections_.insert(id);
  connection.listener = listener;
  connection.local = local;
  connection.peer = peer;
  connection.at_edge = true;
  if (is_quarantined(peer)) {
    hold(&connection);
  } else {
    put_open(&connection);
  }
  return id;
}

void Streams::data(ConnectionId id, uint64_t position, Bytes data) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr || connection->reset_seen || connection->closed) {
    return;  // nobody is there to read it
  }
  FTRUN_ASSERT(position == connection->received);
  FTRUN_ASSERT(position + data.size() <= connection->consumed + kReceiveWindowBytes);
  FTRUN_ASSERT(!connection->fin_seen || position + data.size() <= connection->fin_position);
  connection->received += data.size();
  if (connection->held) {
    return;  // the kernel has it: it is read again when it may be passed on
  }
  Arrival item;
  item.kind = ArrivalKind::kData;
  item.id = id;
  for (size_t done = 0; done < data.size(); done += item.length) {
    item.data = data.data() + done;
    item.length = std::min(data.size() - done, kArrivalDataBytesMax);
    arrivals_->put(item);
  }
  if (mutated(Mutation::kReleaseInputUnlogged)) {
    edge_->edge_release_input(id, connection->received);
  }
  pass_fin(connection);
}

void Streams::urgent(ConnectionId id, uint64_t position, uint8_t byte) {
  const Connection* connection = connections_.find(id);
  if (connection == nullptr || connection->reset_seen || connection->closed || connection->held) {
    return;
  }
  Arrival item;
  item.kind = ArrivalKind::kUrgent;
  item.id = id;
  item.value = position;
  item.urgent_byte = byte;
  arrivals_->put(item);
}

void Streams::fin(ConnectionId id) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr || connection->fin_seen) {
    return;  // reported again after a re-offer: pass_fin() passes it on at its position
  }
  connection->fin_seen = true;
  connection->fin_position = connection->received;
  pass_fin(connection);
}

void Streams::pass_fin(Connection* connection) {
  if (connection->fin_seen && !connection->fin_passed && !connection->reset_seen &&
      !connection->held && connection->received == connection->fin_position) {
    connection->fin_passed = true;
    arrivals_->put(ArrivalKind::kFin, connection->id);
  }
}

void Streams::reset(ConnectionId id, int error) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr || connection->reset_seen) {
    return;
  }
  connection->reset_seen = true;
  connection->reset_error = error;
  if (connection->held) {  // the application never hears of it
    connection->closed = true;
    return close_at_edge(*connection, Ending::kReset);
  }
  connection->reset_passed = true;
  arrivals_->put(ArrivalKind::kReset, id, static_cast<uint64_t>(error));
}

void Streams::sent(ConnectionId id, uint64_t position) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr) {
    return;
  }
  FTRUN_ASSERT(position >= connection->written && position <= connection->released);
  connection->written = position;
  // While less than half the window is in use, nobody waits: the others need this to trim only.
  if (wants_credit(*connection) ||
      (!live_ && position - connection->relayed >= kCreditReportBytes)) {
    mark_sent(connection);
  }
}

void Streams::mark_sent(Connection* connection) {
  if (!connection->in_sent_list) {
    connection->in_sent_list = true;
    sent_list_.push_back(connections_.slot_of(*connection));
  }
}

void Streams::flush() {
  for (const ConnectionId id : held_anew_) {
    const Connection* connection = connections_.find(id);
    if (connection != nullptr && connection->at_edge && !connection->closed) {
      edge_->edge_accepted(id);
    }
  }
  held_anew_.clear();
  for (const uint32_t slot : sent_list_) {
    Connection& connection = connections_.at(slot);
    if (connection.id != 0 && connection.in_sent_list) {
      connection.in_sent_list = false;
      pass_credit(&connection);
    }
  }
  sent_list_.clear();
}

// The other members trim their resend queues by it, once it is logged, and the primary's
// application may be waiting for room.
void Streams::pass_credit(Connection* connection) {
  if (connection->written <= connection->relayed || connection->written <= connection->credited ||
      (live_ && (connection->closed || !wants_credit(*connection)))) {
    return;
  }
  connection->relayed = connection->written;
  if (mutated(Mutation::kNoCredit)) {
    return;
  }
  const uint64_t credit =
      mutated(Mutation::kCreditTooMuch) ? connection->released : connection->written;
  arrivals_->put(ArrivalKind::kCredit, connection->id, credit);
}

bool Streams::closed(ConnectionId id) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr) {
    return false;
  }
  FTRUN_ASSERT(connection->closed);
  const bool was_told = connection->open_passed;
  connections_.erase(*connection);
  return was_told;
}

void Streams::closed_elsewhere(ConnectionId id) {
  Connection* connection = connections_.find(id);
  if (has_edge_) {
    return;
  }
  if (connection == nullptr) {
    if (!mutated(Mutation::kForgetEarlyClose)) {
      early_closed_.push_back(id);
    }
  } else if (connection->closed) {
    connections_.erase(*connection);
  } else {
    connection->gone = true;
    connection->resend = ByteQueue{};
  }
}

ConnectionId Streams::list_open(std::vector<uint8_t>* list) {
  connections_.for_each([list](const Connection& connection) {
    if (connection.at_edge) {
      uint8_t id[kVarintBytesMax];
      list->insert(list->end(), id, id + put_varint(id, connection.id));
    }
  });
  return next_id_;
}

bool Streams::keep_open(ConnectionId end, Bytes list) {
  std::vector<ConnectionId> open;
  for (const uint8_t* cursor = list.data(); cursor != list.data() + list.size();) {
    uint64_t id = 0;
    cursor = get_varint(cursor, list.data() + list.size(), &id);
    if (cursor == nullptr || id == 0 || id >= end) {
      return false;
    }
    open.push_back(static_cast<ConnectionId>(id));
  }
  std::sort(open.begin(), open.end());
  const auto is_open = [&open](ConnectionId id) {
    return std::binary_search(open.begin(), open.end(), id);
  };
  for (ConnectionId id = next_id_; id < end; ++id) {
    if (!is_open(id)) {
      closed_elsewhere(id);
    }
  }
  std::vector<ConnectionId> closed;
  connections_.for_each([&](const Connection& connection) {
    if (connection.id < end && !is_open(connection.id)) {
      closed.push_back(connection.id);
    }
  });
  for (const ConnectionId id : closed) {
    closed_elsewhere(id);
  }
  return true;
}

void Streams::put_bound(const Socket& socket) {
  Arrival item;
  item.kind = ArrivalKind::kBound;
  item.id = socket.id;
  item.value = static_cast<uint64_t>(socket.error);
  item.local = socket.bound;
  arrivals_->put(item);
}

void Streams::bound(uint32_t id, int error, const Address& address) {
  Socket* socket = find_socket(id);
  if (socket == nullptr) {
    return;  // closed meanwhile
  }
  if (socket->silent_answers > 0) {
    --socket->silent_answers;
    if (error != 0) {
      const bool lock = (socket->bind_flags & kBindLock) != 0;
      event("listener_lost", fmt::format("{} {} could not be {} again: errno {}",
                                         lock ? "the program's lock" : "socket", id,
                                         lock ? "taken" : "bound", error));
    }
    return;
  }
  socket->learn({error, address});
  ++socket->answers_passed;
  put_bound(*socket);
}

}  // namespace ftrun::unit
