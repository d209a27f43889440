// SPDX-License-Identifier: Apache-2.0
// Unit core: the log. A secondary checks and replays the turns it receives; both replicas read in
// them which arrivals are now held, so that the world may forget them (the ack-out rule), and what
// would have to be offered again after a promotion. Runs in the supervisor; pure.
#include <fmt/format.h>

#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

void UnitCore::Impl::on_turns_frame(ReplicaId from, const Frame& frame) {
  if (app_ended_ || log_broken_) {
    return;
  }
  if (config_.sender_serves_primary && sender_) {
    return protocol_error(from, "turns in a frame, where they come through the ring");
  }
  if (frame.number != log_end_) {
    return protocol_error(
        from, fmt::format("turns from log position {}, expected from {}", frame.number, log_end_));
  }
  replay_turns(frame.bytes, frame.lsn, frame.digest);
}

void UnitCore::Impl::on_primary_turns(Bytes turns, uint64_t lsn_end, uint64_t digest) {
  if (!app_ended_ && !log_broken_) {
    replay_turns(turns, lsn_end, digest);
  }
}

bool UnitCore::Impl::may_read_primary_log() const {
  return serves_primary() && !log_broken_ &&
         log_end_ - mark_position_ <= config_.log_run_ahead_bytes_max;
}

// A log that cannot be right is the primary's failure, and what was noted of it is undone: none of
// it is fed, so all of it has to be offered again. What follows has no place to stand.
void UnitCore::Impl::replay_turns(Bytes turns, uint64_t lsn_end, uint64_t digest) {
  noted_.clear();
  std::string problem;
  if (turns.empty() || lsn_end <= log_end_lsn_) {
    problem = fmt::format("{} bytes of turns to record {}, after record {}", turns.size(), lsn_end,
                          log_end_lsn_);
  }
  for (Bytes rest = turns; problem.empty() && !rest.empty();) {
    rest = rest.subspan(note_turn(rest, &problem));
  }
  if (!problem.empty()) {
    for (auto note = noted_.rbegin(); note != noted_.rend(); ++note) {
      if (Connection* connection = connections_.find(note->id); connection != nullptr) {
        connection->logged = note->logged;
        connection->credited = note->credited;
        connection->open_logged = note->open_logged;
        connection->fin_logged = note->fin_logged;
        connection->reset_logged = note->reset_logged;
      }
    }
    log_broken_ = true;
    return protocol_error(primary_id(), problem);
  }
  settle_noted();
  log_end_ += turns.size();
  log_end_lsn_ = lsn_end;
  replicated_end_ = log_end_;
  frame_ends_.push({log_end_, digest, lsn_end});
  host_->feed_log(turns);
  release_held_input();
}

// What needs no undoing was left for the end.
void UnitCore::Impl::settle_noted() {
  for (const Noted& note : noted_) {
    if (note.kind == ArrivalKind::kSignal) {
      std::erase_if(pending_signals_,
                    [&note](const Signal& signal) { return signal.sequence == note.id; });
      signals_seen_.note(note.id);
    } else if (note.kind == ArrivalKind::kBound) {
      Socket* socket = find_socket(note.id);
      if (socket != nullptr && socket->answered) {
        socket->answer_logged = true;
      }
    }
  }
  noted_.clear();
}

size_t UnitCore::Impl::note_turn(Bytes log, std::string* problem) {
  const uint8_t* cursor = log.data();
  const uint8_t* const end = cursor + log.size();
  while (cursor != end) {
    Record record;
    const uint8_t* const next = get_record(cursor, end, &record);
    if (next == nullptr) {
      break;
    }
    if (ends_turn(record.kind)) {
      return static_cast<size_t>(next - log.data());
    }
    if (record.kind == RecordKind::kArrivals) {
      *problem = note_logged_items(record);
      if (!problem->empty()) {
        *problem += fmt::format(" ({} bytes after log position {})", cursor - log.data(), log_end_);
        return 0;
      }
    }
    cursor = next;
  }
  *problem = cursor == end ? fmt::format("no turn ends within {} bytes after log position {}",
                                         log.size(), log_end_)
                           : fmt::format("no valid record {} bytes after log position {}",
                                         cursor - log.data(), log_end_);
  return 0;
}

std::string UnitCore::Impl::note_logged_items(const Record& record) {
  const uint8_t* cursor = record.payload;
  const uint8_t* const end = cursor + record.length;
  uint64_t count = 0;
  logged_input_bytes_ += record.length;
  for (; cursor != end; ++count) {
    Arrival item;
    cursor = get_arrival(cursor, end, &item);
    if (cursor == nullptr) {
      return "an arrival that does not decode";
    }
    std::string problem = note_logged_item(item);
    if (!problem.empty()) {
      return problem;
    }
  }
  return count == record.count ? "" : fmt::format("{} arrivals, not {}", count, record.count);
}

std::string UnitCore::Impl::note_logged_item(const Arrival& item) {
  if (trails()) {  // we hear of it only now
    bool feed = false;
    std::string problem;
    if (!accept_relayed(item, &feed, &problem)) {
      return problem;
    }
  }
  Noted note{item.kind, item.id, 0, 0, false, false, false};
  if (item.kind == ArrivalKind::kSignal || item.kind == ArrivalKind::kBound) {
    noted_.push_back(note);
    return "";
  }
  if (Connection* connection = connections_.find(item.id); connection != nullptr) {
    note.logged = connection->logged;
    note.credited = connection->credited;
    note.open_logged = connection->open_logged;
    note.fin_logged = connection->fin_logged;
    note.reset_logged = connection->reset_logged;
    noted_.push_back(note);
  }
  if (item.kind == ArrivalKind::kOpen) {
    return note_logged_open(item);
  }
  Connection* connection = item.id == 0 ? nullptr : connections_.find(item.id);
  if (connection == nullptr) {
    return item.id != 0 && item.id < next_id_
               ? ""  // closed meanwhile
               : fmt::format("an arrival of connection {}, which was never opened", item.id);
  }
  switch (item.kind) {
    case ArrivalKind::kData:
      connection->logged += item.length;
      if (!connection->open_logged || connection->logged > connection->received) {
        return fmt::format("input of connection {} up to {}, of {} received", item.id,
                           connection->logged, connection->received);
      }
      if (sender_ && !connection->in_held_list) {
        connection->in_held_list = true;
        held_list_.push_back(connections_.slot_of(*connection));
      }
      return "";
    case ArrivalKind::kFin:
      if (!connection->fin_seen || connection->logged != connection->fin_position) {
        return fmt::format("a FIN of connection {} that was not received", item.id);
      }
      connection->fin_logged = true;
      return "";
    case ArrivalKind::kReset:
      if (!connection->reset_seen) {
        return fmt::format("a reset of connection {} that was not received", item.id);
      }
      connection->reset_logged = true;
      return "";
    case ArrivalKind::kCredit:
      if (item.value > connection->written && !mutated(Mutation::kCreditTooMuch)) {
        return fmt::format("credit up to {} for connection {}, of {} written", item.value, item.id,
                           connection->written);
      }
      connection->credited = std::max(connection->credited, item.value);
      return "";
    default:
      return "";
  }
}

std::string UnitCore::Impl::note_logged_open(const Arrival& item) {
  Connection* connection = item.id == 0 ? nullptr : connections_.find(item.id);
  if (connection == nullptr || connection->open_logged) {
    return fmt::format("an open of connection {} that was not received", item.id);
  }
  connection->open_logged = true;
  return "";
}

// Ack-out: what stands in turns that f + 1 replicas hold may be forgotten outside.
void UnitCore::Impl::release_held_input() {
  for (const uint32_t slot : held_list_) {
    Connection& connection = connections_.at(slot);
    if (connection.id == 0 || !connection.in_held_list) {
      continue;
    }
    connection.in_held_list = false;
    if (connection.at_edge && !connection.closed) {
      host_->edge_release_input(connection.id, connection.logged);
    }
  }
  held_list_.clear();
}

}  // namespace ftrun::unit
