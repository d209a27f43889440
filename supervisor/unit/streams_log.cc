// SPDX-License-Identifier: Apache-2.0
// Streams: the log. Every member reads in it which arrivals are now held, so that the world may
// forget them (the ack-out rule); a member without the edge learns from it what has come at all.
// Pure.
#include <fmt/format.h>

#include <algorithm>

#include "supervisor/base/result.h"
#include "supervisor/unit/limits.h"
#include "supervisor/unit/streams.h"

namespace ftrun::unit {

std::string Streams::note(const Arrival& item) {
  input_bytes_logged_ += item.length;
  switch (item.kind) {
    case ArrivalKind::kSignal:
      noted_.push_back({item.kind, item.id, false, {}});
      return item.id == 0 ? "a signal without a sequence number" : "";
    case ArrivalKind::kBound:
      return note_bound(item);
    case ArrivalKind::kOpen:
      return note_open(item);
    default:
      break;
  }
  Connection* connection = item.id == 0 ? nullptr : connections_.find(item.id);
  if (connection == nullptr) {
    return item.id != 0 && item.id < next_id_
               ? ""  // closed meanwhile
               : fmt::format("an arrival of connection {}, which was never opened", item.id);
  }
  noted_.push_back({item.kind, connections_.slot_of(*connection), false, *connection});
  if (!knows_input_) {
    std::string problem = learn(connection, item);
    if (!problem.empty()) {
      return problem;
    }
  }
  return note_logged(connection, item);
}

std::string Streams::insert(const Arrival& item) {
  // Not always in the order of the ids: one may have been kept back (quarantine_suspect()).
  if (item.id == 0 || item.id >= kOptionOfSocket || connections_.find(item.id) != nullptr) {
    return fmt::format("connection {} opened for the second time", item.id);
  }
  next_id_ = std::max(next_id_, item.id + 1);
  Connection& connection = connections_.insert(item.id);
  connection.listener = item.listener;
  connection.local = item.local;
  connection.peer = item.peer;
  connection.gone = std::erase(early_closed_, item.id) != 0;
  return "";
}

std::string Streams::note_open(const Arrival& item) {
  if (!knows_input_) {
    std::string problem = insert(item);
    if (!problem.empty()) {
      return problem;
    }
  }
  Connection* connection = item.id == 0 ? nullptr : connections_.find(item.id);
  if (connection == nullptr || connection->open_logged) {
    return fmt::format("an open of connection {} that was not received", item.id);
  }
  noted_.push_back({item.kind, connections_.slot_of(*connection), !knows_input_, *connection});
  connection->open_passed = connection->open_logged = true;
  return "";
}

std::string Streams::note_bound(const Arrival& item) {
  noted_.push_back({item.kind, item.id, false, {}});
  if (knows_input_) {
    return "";
  }
  if (!before_answers_) {
    before_answers_ = {sockets_, unanswered_};
  }
  return learn_answer(item, true);
}

// What the edge has said, or the living primary was fed. The application here may not have asked
// yet.
std::string Streams::learn_answer(const Arrival& item, bool is_new) {
  Socket* socket = find_socket(item.id);
  const auto closed = std::find(unanswered_.begin(), unanswered_.end(), item.id);
  if (socket == nullptr && closed != unanswered_.end()) {
    unanswered_.erase(closed);
    return "";
  }
  // In turns of the own application: it has asked before. What it was fed it may have yet to ask
  // for, when it was promoted and still replays.
  if (socket == nullptr && live_ && is_new) {
    return fmt::format("an answer for socket {}, which was never bound", item.id);
  }
  if (socket == nullptr) {
    std::string problem = add_socket(item.id, &socket);
    if (!problem.empty()) {
      return problem;
    }
  }
  if (++socket->answers_passed > socket->answers || is_new) {
    socket->learn({static_cast<int>(item.value), item.local});
  }
  return "";
}

// What the member with the edge has passed on. Input counts also for a connection that the
// application has closed: the edge had not heard of the close then.
void Streams::note_passed(Connection* connection, const Arrival& item) {
  switch (item.kind) {
    case ArrivalKind::kOpen:
      connection->open_passed = true;
      return;
    case ArrivalKind::kData:
      connection->received += item.length;
      return;
    case ArrivalKind::kFin:
      connection->fin_seen = connection->fin_passed = true;
      connection->fin_position = connection->received;
      return;
    case ArrivalKind::kReset:
      connection->reset_seen = connection->reset_passed = true;
      connection->reset_error = static_cast<int>(item.value);
      return;
    case ArrivalKind::kCredit:
      connection->written = std::max(connection->written, item.value);
      return;
    default:
      return;
  }
}

std::string Streams::learn(Connection* connection, const Arrival& item) {
  const bool is_data = item.kind == ArrivalKind::kData;
  if (connection->fin_seen && (is_data || item.kind == ArrivalKind::kFin)) {
    return fmt::format("connection {}: {}", item.id,
                       is_data ? "input after its FIN" : "a second FIN");
  }
  if (item.kind == ArrivalKind::kCredit && live_ && item.value > connection->released) {
    return fmt::format("connection {}: output written up to {}, of {}", item.id, item.value,
                       connection->released);
  }
  if (!is_data || !connection->closed || !mutated(Mutation::kForgetLateInput)) {
    note_passed(connection, item);
  }
  return "";
}

std::string Streams::note_logged(Connection* connection, const Arrival& item) {
  switch (item.kind) {
    case ArrivalKind::kData:
      connection->logged += item.length;
      if (!connection->open_logged || connection->logged > connection->received) {
        return fmt::format("input of connection {} up to {}, of {} received", item.id,
                           connection->logged, connection->received);
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

void Streams::settle(uint64_t end) {
  const size_t first = unheld_.size();
  for (const Noted& note : noted_) {
    if (note.kind == ArrivalKind::kOpen) {
      next_logged_id_ = std::max(next_logged_id_, connections_.at(note.id).id + 1);
    } else if (note.kind == ArrivalKind::kSignal) {
      signals_->note_logged(note.id);
    } else if (note.kind == ArrivalKind::kBound) {
      if (Socket* socket = find_socket(note.id); socket != nullptr) {
        socket->answers_logged = std::min(socket->answers_logged + 1, socket->answers);
      }
    } else if (note.kind == ArrivalKind::kData && has_edge_) {
      Connection& connection = connections_.at(note.id);
      if (!connection.in_held_list) {
        connection.in_held_list = true;  // once for these turns
        unheld_.push({end, note.id, connection.id, connection.logged});
      }
    } else if (note.kind == ArrivalKind::kCredit && !has_edge_) {
      trim_resend(&connections_.at(note.id));
    }
  }
  for (size_t i = first; i < unheld_.size(); ++i) {
    connections_.at(unheld_.data()[i].slot).in_held_list = false;
  }
  noted_.clear();
  before_answers_.reset();
}

void Streams::undo() {
  for (auto note = noted_.rbegin(); note != noted_.rend(); ++note) {
    if (note->kind == ArrivalKind::kSignal || note->kind == ArrivalKind::kBound) {
      continue;
    }
    Connection& connection = connections_.at(note->id);
    if (note->inserted) {
      connections_.erase(connection);
    } else {
      static_cast<Progress&>(connection) = note->before;
    }
  }
  noted_.clear();
  if (before_answers_ && !mutated(Mutation::kKeepUndoneAnswers)) {
    sockets_ = std::move(before_answers_->sockets);
    unanswered_ = std::move(before_answers_->unanswered);
  }
  before_answers_.reset();
}

void Streams::release_input(uint64_t held) {
  while (!unheld_.empty() && unheld_.front().end <= held) {
    const LoggedInput input = unheld_.front();
    unheld_.pop();
    const Connection& connection = connections_.at(input.slot);
    if (connection.id == input.id && connection.at_edge && !connection.closed) {
      edge_->edge_release_input(input.id, input.logged);
    }
  }
}

}  // namespace ftrun::unit
