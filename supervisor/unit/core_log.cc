// SPDX-License-Identifier: Apache-2.0
// Unit core: the log. A secondary checks and replays the turns it receives; both replicas read in
// them which arrivals are now held, so that the world may forget them (the ack-out rule), and what
// would have to be offered again after a promotion. Runs in the supervisor; pure.
#include <fmt/format.h>

#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

void UnitCore::Impl::on_turns_frame(const Frame& frame) {
  if (app_ended_) {
    return;
  }
  if (frame.number != log_end_ || frame.bytes.empty() || frame.lsn <= log_end_lsn_) {
    return fail_application(
        "invalid_log",
        fmt::format("{} bytes of turns from log position {} to record {}, expected from {} and "
                    "beyond record {}",
                    frame.bytes.size(), frame.number, frame.lsn, log_end_, log_end_lsn_));
  }
  const std::string problem = note_logged(frame.bytes);
  if (!problem.empty()) {
    return fail_application("invalid_log", problem);
  }
  log_end_ += frame.bytes.size();
  log_end_lsn_ = frame.lsn;
  replicated_end_ = log_end_;
  frame_ends_.push({log_end_, frame.digest, frame.lsn});
  host_->feed_log(frame.bytes);
  release_held_input();
}

std::string UnitCore::Impl::note_logged(Bytes turns) {
  const uint8_t* cursor = turns.data();
  const uint8_t* const end = cursor + turns.size();
  bool whole = false;
  while (cursor != end) {
    Record record;
    const uint8_t* const next = get_record(cursor, end, &record);
    if (next == nullptr) {
      return fmt::format("no valid record at log position {}", log_end_ + (cursor - turns.data()));
    }
    whole = false;
    switch (record.kind) {
      case RecordKind::kTurnEndIngest:
      case RecordKind::kTurnEndIdle:
      case RecordKind::kTurnEndCut:
      case RecordKind::kExit:
        whole = true;
        break;
      case RecordKind::kArrivals: {
        std::string problem = note_logged_items(record);
        if (!problem.empty()) {
          return fmt::format("{} (log position {})", problem, log_end_ + (cursor - turns.data()));
        }
        break;
      }
      default:
        break;
    }
    cursor = next;
  }
  return whole ? "" : fmt::format("no turn ends at log position {}", log_end_ + turns.size());
}

std::string UnitCore::Impl::note_logged_items(const Record& record) {
  const uint8_t* cursor = record.payload;
  const uint8_t* const end = cursor + record.length;
  uint64_t count = 0;
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
  if (item.kind == ArrivalKind::kSignal) {
    note_logged_signal(item.id);
    return "";
  }
  if (item.kind == ArrivalKind::kBound) {
    Socket* socket = find_socket(item.id);
    if (socket != nullptr && socket->answered) {
      socket->answer_logged = true;
    }
    return "";
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

void UnitCore::Impl::note_logged_signal(uint32_t sequence) {
  auto pending =
      std::find_if(pending_signals_.begin(), pending_signals_.end(),
                   [sequence](const Signal& signal) { return signal.sequence == sequence; });
  if (pending != pending_signals_.end()) {
    pending_signals_.erase(pending);
  } else if (!primary_ && sequence > signal_sequence_max_) {
    if (signals_logged_early_.size() == kPendingSignalsMax) {
      signals_logged_early_.erase(signals_logged_early_.begin());
    }
    signals_logged_early_.push_back(sequence);
  }
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
