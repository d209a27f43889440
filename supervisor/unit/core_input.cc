// SPDX-License-Identifier: Apache-2.0
// Unit core: arrivals. The sender's edge reports them; they travel in batches to the primary, which
// feeds them to its application. Runs in the supervisor; pure.
#include <fmt/format.h>

#include <algorithm>

#include "eventlog/locks.h"
#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

// --- the batch: flush() hands it to the primary's application, or sends it to the primary ---

void UnitCore::Impl::put(const Arrival& item) {
  uint8_t header[kArrivalHeaderBytesMax];
  const size_t length = put_arrival_header(header, item);
  arrivals_.insert(arrivals_.end(), header, header + length);
  if (item.length != 0) {
    arrivals_.insert(arrivals_.end(), item.data, item.data + item.length);
  }
  if (arrivals_.size() >= kArrivalBatchBytes) {
    deliver();
  }
}

void UnitCore::Impl::put(ArrivalKind kind, uint32_t id, uint64_t value) {
  Arrival item;
  item.kind = kind;
  item.id = id;
  item.value = value;
  put(item);
}

void UnitCore::Impl::put_open(const Connection& connection) {
  Arrival item;
  item.kind = ArrivalKind::kOpen;
  item.id = connection.id;
  item.listener = connection.listener;
  item.local = connection.local;
  item.peer = connection.peer;
  put(item);
}

void UnitCore::Impl::deliver() {
  if (arrivals_.empty()) {
    return;
  }
  if (primary_) {
    if (!app_ended_) {
      host_->feed_input(arrivals_);
    }
  } else if (serves_primary()) {
    host_->feed_primary(arrivals_);
  } else if (has_primary()) {
    reported_position_ = mark_position_;
    send(primary_id(), FrameKind::kInput, mark_position_, mark_lsn_, 0, arrivals_);
  }  // else the primary is dead: everything that is not logged will be offered again
  arrivals_.clear();
}

// --- the edge ---

ConnectionId UnitCore::Impl::on_edge_open(uint32_t listener, const Address& local,
                                          const Address& peer) {
  const ConnectionId id = next_id_++;
  if (!working() || ending_) {
    return id;
  }
  Connection& connection = connections_.insert(id);
  connection.listener = listener;
  connection.local = local;
  connection.peer = peer;
  connection.at_edge = true;
  if (is_quarantined(peer)) {
    hold(connection);
  } else {
    put_open(connection);
  }
  return id;
}

void UnitCore::Impl::on_edge_data(ConnectionId id, uint64_t position, Bytes data) {
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
    put(item);
  }
  if (mutated(Mutation::kReleaseInputUnlogged)) {
    host_->edge_release_input(id, connection->received);
  }
  pass_fin(*connection);
}

void UnitCore::Impl::on_edge_urgent(ConnectionId id, uint64_t position, uint8_t byte) {
  const Connection* connection = connections_.find(id);
  if (connection == nullptr || connection->reset_seen || connection->closed || connection->held) {
    return;
  }
  Arrival item;
  item.kind = ArrivalKind::kUrgent;
  item.id = id;
  item.value = position;
  item.urgent_byte = byte;
  put(item);
}

void UnitCore::Impl::on_edge_fin(ConnectionId id) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr || connection->fin_seen) {
    return;  // reported again after a re-offer: pass_fin() passes it on at its position
  }
  connection->fin_seen = true;
  connection->fin_position = connection->received;
  pass_fin(*connection);
}

void UnitCore::Impl::pass_fin(Connection& connection) {
  if (connection.fin_seen && !connection.fin_passed && !connection.reset_seen && !connection.held &&
      connection.received == connection.fin_position) {
    connection.fin_passed = true;
    put(ArrivalKind::kFin, connection.id);
  }
}

void UnitCore::Impl::on_edge_reset(ConnectionId id, int error) {
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
  put(ArrivalKind::kReset, id, static_cast<uint64_t>(error));
}

void UnitCore::Impl::on_edge_sent(ConnectionId id, uint64_t position) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr) {
    return;
  }
  FTRUN_ASSERT(position >= connection->written && position <= connection->released);
  connection->written = position;
  // While less than half the window is in use, nobody waits: the primary needs this to trim only.
  if (wants_credit(*connection) ||
      (!primary_ && position - connection->relayed >= kCreditReportBytes)) {
    mark_sent(*connection);
  }
}

void UnitCore::Impl::mark_sent(Connection& connection) {
  if (!connection.in_sent_list) {
    connection.in_sent_list = true;
    sent_list_.push_back(connections_.slot_of(connection));
  }
}

// Tells the primary how far output was written: its supervisor trims its resend queue, and its
// application may be waiting for room.
void UnitCore::Impl::pass_credit(Connection& connection) {
  if (primary_ ? !wants_credit(connection) || connection.closed
               : connection.written == connection.relayed) {
    return;
  }
  connection.relayed = connection.written;
  if (mutated(Mutation::kNoCredit)) {
    return;
  }
  const uint64_t credit =
      mutated(Mutation::kCreditTooMuch) ? connection.released : connection.written;
  connection.credited = primary_ ? credit : connection.credited;  // else: once it is logged
  put(ArrivalKind::kCredit, connection.id, credit);
}

void UnitCore::Impl::on_edge_closed(ConnectionId id) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr) {
    return;
  }
  FTRUN_ASSERT(connection->closed);
  connections_.erase(*connection);
  send_to_others(FrameKind::kClosed, id, {});
  finish_if_done();
}

void UnitCore::Impl::on_edge_bound(uint32_t id, int error, const Address& address) {
  Socket* socket = find_socket(id);
  if (socket == nullptr) {
    return;  // closed meanwhile
  }
  if (socket->answers_known > 0) {
    --socket->answers_known;
    if (error != 0) {
      const bool lock = (socket->bind_flags & kBindLock) != 0;
      event("listener_lost", fmt::format("{} {} could not be {} again: errno {}",
                                         lock ? "the program's lock" : "socket", id,
                                         lock ? "taken" : "bound", error));
    }
    return;
  }
  note_answer(*socket, error, address);
  Arrival item;
  item.kind = ArrivalKind::kBound;
  item.id = id;
  item.value = static_cast<uint64_t>(error);
  item.local = address;
  put(item);
}

// The answer to a listen, if that was asked, else to a bind.
void UnitCore::Impl::note_answer(Socket& socket, int error, const Address& address) {
  socket.answered = true;
  socket.error = error;
  if (socket.listening) {
    socket.listening = error == 0;
  } else {
    socket.is_bound = error == 0;
    socket.bound = address;
  }
}

void UnitCore::Impl::on_signal(uint32_t sequence, int number) {
  const bool late = sequence < signals_seen_.highest();
  if (!signals_seen_.note(sequence) || (late && mutated(Mutation::kDropLateSignals))) {
    return;  // told twice
  }
  if (pending_signals_.size() == kPendingSignalsMax) {
    return event("limit",
                 fmt::format("signal {} dropped: {} are waiting", number, kPendingSignalsMax));
  }
  pending_signals_.push_back({sequence, number, sender_});
  if (sender_) {
    put(ArrivalKind::kSignal, sequence, static_cast<uint64_t>(number));
  } else if (view_.sender != config_.self) {  // whoever told us may not get to tell the sender
    send(view_.sender, FrameKind::kSignal, sequence, static_cast<uint64_t>(number), 0, {});
  }
}

void UnitCore::Impl::on_signal_frame(ReplicaId from, const Frame& frame) {
  if (!sender_ || frame.number == 0 || frame.number > UINT32_MAX || frame.lsn == 0 ||
      frame.lsn > kSignalMax) {
    return protocol_error(from, fmt::format("signal {} with sequence {}, {}to the sender",
                                            frame.lsn, frame.number, sender_ ? "" : "not "));
  }
  on_signal(static_cast<uint32_t>(frame.number), static_cast<int>(frame.lsn));
}

// --- the link: arrivals from the sender's edge ---

void UnitCore::Impl::on_input_frame(ReplicaId from, const Frame& frame) {
  if (config_.sender_serves_primary) {
    return protocol_error(from, "input in a frame, where it comes through the ring");
  }
  note_progress(frame.number, frame.lsn, from);
  const uint8_t* cursor = frame.bytes.data();
  const uint8_t* const end = cursor + frame.bytes.size();
  const uint8_t* run = cursor;  // start of the items that are to be fed
  const auto feed_run = [this, &run](const uint8_t* until) {
    if (until != run && !app_ended_) {
      host_->feed_input({run, until});
    }
  };
  std::string problem;
  while (cursor != end) {
    Arrival item;
    bool feed = false;
    const uint8_t* const next = get_arrival(cursor, end, &item);
    if (next == nullptr) {
      problem = "input that does not decode";
    }
    if (next == nullptr || !accept_relayed(item, &feed, &problem)) {
      feed_run(cursor);  // what was accepted counts as received: the application must have it
      return protocol_error(from, problem);
    }
    if (!feed) {
      feed_run(cursor);
      run = next;
    }
    cursor = next;
  }
  feed_run(end);
}

// What the dead sender had put into the ring of our application goes on from there.
void UnitCore::Impl::on_fed_input(Bytes arrivals) {
  FTRUN_ASSERT(trails());
  const uint8_t* cursor = arrivals.data();
  const uint8_t* const end = cursor + arrivals.size();
  std::string problem;
  while (cursor != end) {
    Arrival item;
    bool feed = false;
    cursor = get_arrival(cursor, end, &item);
    if (cursor == nullptr || !accept_relayed(item, &feed, &problem)) {
      return fail_application("invalid_input",
                              problem.empty() ? "an arrival does not decode" : problem);
    }
  }
}

bool UnitCore::Impl::accept_relayed(const Arrival& item, bool* feed, std::string* problem) {
  switch (item.kind) {
    case ArrivalKind::kSignal:
      *feed = true;
      return accept_signal(item, problem);
    case ArrivalKind::kBound:
      return accept_bound(item, feed, problem);
    case ArrivalKind::kOpen:
      *feed = true;
      return accept_open(item, problem);
    default:
      break;
  }
  Connection* connection = item.id == 0 ? nullptr : connections_.find(item.id);
  if (connection == nullptr) {
    if (item.id == 0 || item.id >= next_id_) {
      *problem = fmt::format("input of connection {}, which was never opened", item.id);
    }
    return problem->empty();  // else: closed meanwhile
  }
  *feed = !connection->closed && !connection->reset_seen;
  switch (item.kind) {
    case ArrivalKind::kData:
      return accept_data(*connection, item.length, problem);
    case ArrivalKind::kUrgent:
      return true;
    case ArrivalKind::kFin:
      if (connection->fin_seen) {
        *problem = fmt::format("connection {}: a second FIN", item.id);
        return false;
      }
      connection->fin_seen = connection->fin_passed = true;
      connection->fin_position = connection->received;
      return true;
    case ArrivalKind::kReset:
      connection->reset_seen = true;
      connection->reset_error = static_cast<int>(item.value);
      return true;
    case ArrivalKind::kCredit:
      return accept_credit(*connection, item.value, problem);
    default:
      return false;
  }
}

bool UnitCore::Impl::accept_signal(const Arrival& item, std::string* problem) {
  if (item.id == 0 || item.value == 0 || item.value > kSignalMax) {
    *problem = fmt::format("signal {} with sequence {}", item.value, item.id);
    return false;
  }
  const auto pending =
      std::find_if(pending_signals_.begin(), pending_signals_.end(),
                   [&item](const Signal& signal) { return signal.sequence == item.id; });
  if (pending != pending_signals_.end()) {
    pending->fed = true;
  } else if (signals_seen_.note(item.id)) {
    pending_signals_.push_back({item.id, static_cast<int>(item.value), true});
  }
  return true;
}

bool UnitCore::Impl::accept_bound(const Arrival& item, bool* feed, std::string* problem) {
  Socket* socket = find_socket(item.id);
  *feed = socket != nullptr;
  if (socket != nullptr) {
    note_answer(*socket, static_cast<int>(item.value), item.local);
  } else if (item.id > socket_id_max_) {
    *problem = fmt::format("an answer for socket {}, which was never bound", item.id);
  }
  return problem->empty();  // else: closed meanwhile
}

bool UnitCore::Impl::accept_open(const Arrival& item, std::string* problem) {
  if (item.id < next_id_ || item.id >= kOptionOfSocket) {
    *problem = fmt::format("connection {} opened after {}", item.id, next_id_ - 1);
    return false;
  }
  next_id_ = item.id + 1;
  Connection& connection = connections_.insert(item.id);
  connection.listener = item.listener;
  connection.local = item.local;
  connection.peer = item.peer;
  return true;
}

bool UnitCore::Impl::accept_credit(Connection& connection, uint64_t position,
                                   std::string* problem) {
  if (position < connection.written || position > connection.released) {
    *problem = fmt::format("connection {}: output written up to {}, after {}, of {}", connection.id,
                           position, connection.written, connection.released);
    return false;
  }
  connection.written = position;
  if (!mutated(Mutation::kNeverTrim)) {
    connection.resend.trim(position);
  }
  return true;
}

// Counts also what a closed connection gets: the sender had not heard of the close when it passed
// the input on, counts it as well, and the log may have it.
bool UnitCore::Impl::accept_data(Connection& connection, size_t length, std::string* problem) {
  if (connection.fin_seen) {
    *problem = fmt::format("connection {}: input after its FIN", connection.id);
    return false;
  }
  if (connection.closed && mutated(Mutation::kForgetLateInput)) {
    return true;
  }
  if (connection.received + length > connection.consumed + kReceiveWindowBytes) {
    *problem = fmt::format("connection {}: {} bytes of input with {} consumed", connection.id,
                           connection.received + length, connection.consumed);
    return false;
  }
  connection.received += length;
  return true;
}

void UnitCore::Impl::on_closed_frame(ReplicaId from, ConnectionId id) {
  Connection* connection = connections_.find(id);
  if (connection == nullptr || sender_) {
    return;
  }
  if (!connection->closed && !exit_released_) {  // an exit closes what the application left open
    return protocol_error(from,
                          fmt::format("closed connection {}, which the application has open", id));
  }
  connections_.erase(*connection);
}

}  // namespace ftrun::unit
