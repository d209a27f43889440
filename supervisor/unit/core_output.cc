// SPDX-License-Identifier: Apache-2.0
// Unit core: output entries wait for their turn's mark, and are then released: carried out by the
// edge where this supervisor has it, else kept in the connection's resend queue (claim 18).
// Runs in the supervisor; pure.
//
// ORDER: a primary releases a turn into its own resend queues before it sends the turn. So the
// sender can never have written what the resend queue does not know.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

void UnitCore::Impl::on_app_output(const Output& entry) {
  FTRUN_ASSERT(entry.kind != OutputKind::kMark);
  switch (entry.kind) {
    case OutputKind::kExit:
      exit_issued_ = true;
      break;
    case OutputKind::kConsole:
      if (entry.id != 1 && entry.id != 2) {
        return fail_application("app_output", fmt::format("console output to {}", entry.id));
      }
      break;
    default:
      break;
  }
  pending_.push(entry);
  check_pending();
}

void UnitCore::Impl::check_pending() {
  if (pending_.bytes() > kPendingOutputBytesMax) {
    fail_application("app_output", fmt::format("more than {} bytes of output in unfinished turns",
                                               kPendingOutputBytesMax));
  }
}

void UnitCore::Impl::on_app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest) {
  if (log_position <= mark_position_) {
    return fail_application("app_output", fmt::format("a turn ends at log position {} after {}",
                                                      log_position, mark_position_));
  }
  mark_position_ = log_position;
  mark_lsn_ = lsn;
  pending_.push_mark(log_position);
  check_pending();
  if (app_failed_) {
    return;
  }
  if (log_position > replicated_end_ && !primary_) {
    return fail_application("diverged",
                            fmt::format("the replay ended a turn at log position {}, but the log "
                                        "goes to {} only",
                                        log_position, replicated_end_));
  }
  if (log_position <= replicated_end_ && check_mark(log_position, digest)) {
    release_up_to(log_position);
  } else if (mutated(Mutation::kReleaseOutputUnchecked) && !primary_) {
    release_up_to(log_position);
  }
}

// Whether the output up to this mark of a replayed turn is known to be equal to the primary's.
bool UnitCore::Impl::check_mark(uint64_t log_position, uint64_t digest) {
  FTRUN_ASSERT(!frame_ends_.empty());
  const FrameEnd& expected = frame_ends_.front();
  if (log_position < expected.log_position) {
    return false;  // inside a frame: only the digest of its end is known
  }
  if (log_position > expected.log_position) {
    fail_application("diverged", fmt::format("the replay ended no turn at log position {} (record "
                                             "{}), the next one at {}",
                                             expected.log_position, expected.lsn, log_position));
    return false;
  }
  if (digest != expected.digest && !mutated(Mutation::kIgnoreDigest)) {
    fail_application("diverged", fmt::format("output differs in the turns before log position {} "
                                             "(record {}): digest {:016x} here, {:016x} there",
                                             log_position, expected.lsn, digest, expected.digest));
    return false;
  }
  frame_ends_.pop();
  return true;
}

void UnitCore::Impl::on_app_turns(Bytes turns, uint64_t lsn_end, uint64_t digest) {
  if (!primary_ || lsn_end <= log_end_lsn_ || log_end_ + turns.size() > mark_position_) {
    return fail_application(
        "invalid_log", fmt::format("{} bytes of turns up to record {}, after {} bytes and record "
                                   "{}, marked up to {}, from an application that is {}primary",
                                   turns.size(), lsn_end, log_end_, log_end_lsn_, mark_position_,
                                   primary_ ? "" : "not "));
  }
  const uint64_t begin = log_end_;
  // Turn by turn: where the sender serves our application, arrivals rest on what earlier turns have
  // put out, and we hear of both at once.
  for (Bytes rest = turns; !rest.empty() && !app_failed_;) {
    std::string problem;
    const size_t length = note_turn(rest, &problem);
    if (length == 0) {
      return fail_application("invalid_log", problem);
    }
    log_end_ += length;
    settle_noted();
    release_up_to(log_end_);
    rest = rest.subspan(length);
  }
  log_end_lsn_ = lsn_end;
  release_held_input();
  if (app_failed_) {
    return;  // a turn that cannot be right is not shipped
  }
  for (const ReplicaId replica : view_.replicas) {
    const bool reads_itself = config_.sender_serves_primary && replica == view_.sender;
    if (replica != config_.self && !reads_itself) {
      send(replica, FrameKind::kTurns, begin, lsn_end, digest, turns);
    }
  }
}

void UnitCore::Impl::release_up_to(uint64_t log_position) {
  while (!app_failed_ && pending_.has_turn(log_position)) {
    pending_.take_turn([this](const Output& entry) { apply(entry); });
  }
}

void UnitCore::Impl::apply(const Output& entry) {
  switch (entry.kind) {
    case OutputKind::kWrite:
    case OutputKind::kUrgent:
    case OutputKind::kShutdown:
    case OutputKind::kClose:
    case OutputKind::kConsumed:
    case OutputKind::kAccepted:
      return apply_to_connection(entry);
    case OutputKind::kBind:
    case OutputKind::kListen:
    case OutputKind::kUnlisten:
      return apply_to_socket(entry);
    case OutputKind::kOption:
      return option(entry);
    case OutputKind::kConsole:
      return host_->console(static_cast<int>(entry.id), {entry.data, entry.length});
    case OutputKind::kExit:
      exit_released_ = true;
      return;
    case OutputKind::kNotice:
      if (sender_) {
        const auto* text = reinterpret_cast<const char*>(entry.data);
        event("notice", std::string(text, entry.length));
      }
      return;
    case OutputKind::kMark:
      return;
  }
}

void UnitCore::Impl::apply_to_connection(const Output& entry) {
  Connection* connection = connections_.find(entry.id);
  if (connection == nullptr || connection->closed || app_failed_) {
    if (!app_failed_) {
      fail_application("app_output", fmt::format("output for connection {}, which is {}", entry.id,
                                                 connection == nullptr ? "unknown" : "closed"));
    }
    return;
  }
  switch (entry.kind) {
    case OutputKind::kWrite:
      return write(*connection, {entry.data, entry.length});
    case OutputKind::kUrgent:
      return write_urgent(*connection, {entry.data, entry.length});
    case OutputKind::kShutdown:
      connection->shut = true;
      if (connection->at_edge) {
        host_->edge_shutdown(entry.id);
      }
      return;
    case OutputKind::kAccepted:
      connection->accepted = true;
      if (connection->at_edge && !mutated(Mutation::kForgetAccepted)) {
        host_->edge_accepted(entry.id);
      }
      return;
    case OutputKind::kConsumed:
    case OutputKind::kClose:
      if (entry.value > connection->logged || entry.value < connection->consumed) {
        return fail_application(
            "app_output",
            fmt::format("connection {}: {} bytes consumed, after {}, of {} logged", entry.id,
                        entry.value, connection->consumed, connection->logged));
      }
      connection->consumed = entry.value;
      break;
    default:
      return;
  }
  if (entry.kind == OutputKind::kConsumed) {
    if (connection->at_edge) {
      host_->edge_input_limit(entry.id, connection->consumed + kReceiveWindowBytes);
    }
    return;
  }
  connection->closed = true;
  if (connection->at_edge) {
    close_at_edge(*connection, Ending::kAsRead);
  } else if (connection->gone) {
    connections_.erase(*connection);
  }
}

void UnitCore::Impl::close_at_edge(const Connection& connection, Ending ending) {
  const uint64_t consumed =
      mutated(Mutation::kCloseAsLogged) ? connection.logged : connection.consumed;
  host_->edge_close(connection.id, consumed, ending);
}

void UnitCore::Impl::write(Connection& connection, Bytes data) {
  const uint64_t position = connection.released;
  connection.released += data.size();
  if (connection.released - connection.credited > kSendWindowBytes) {
    return fail_application("app_output",
                            fmt::format("connection {}: {} bytes written with credit for {} only",
                                        connection.id, connection.released, connection.credited));
  }
  if (sender_ && wants_credit(connection)) {
    mark_sent(connection);
  }
  if (connection.at_edge) {
    host_->edge_write(connection.id, position, data);
  } else if (!connection.gone) {
    FTRUN_ASSERT(connection.resend.end() == position);
    connection.resend.append(data);
  }
}

void UnitCore::Impl::write_urgent(Connection& connection, Bytes data) {
  if (data.empty()) {
    return;
  }
  connection.urgent_end = connection.released + data.size();
  if (connection.at_edge) {
    host_->edge_urgent(connection.id, connection.urgent_end - 1);
  }
  write(connection, data);
}

// nullptr: the application asks for what no application can have, and was stopped.
Socket* UnitCore::Impl::add_socket(uint32_t id) {
  if (app_failed_) {
    return nullptr;
  }
  if (id >= kOptionOfSocket || sockets_.size() >= kSocketsMax) {
    fail_application("app_output", fmt::format("socket {}, with {} there (limit {})", id,
                                               sockets_.size(), kSocketsMax));
    return nullptr;
  }
  Socket* const socket = &sockets_.emplace_back();
  socket->id = id;
  return socket;
}

void UnitCore::Impl::apply_to_socket(const Output& entry) {
  Socket* socket = find_socket(entry.id);
  if (entry.kind == OutputKind::kUnlisten) {
    if (sender_) {
      host_->edge_unlisten(entry.id);
    }
    if (socket != nullptr) {
      sockets_.erase(sockets_.begin() + (socket - sockets_.data()));
    }
    return;
  }
  if (socket == nullptr) {
    socket = add_socket(entry.id);
  }
  if (socket == nullptr) {
    return;
  }
  socket_id_max_ = std::max(socket_id_max_, entry.id);
  if (entry.kind == OutputKind::kBind) {
    socket->bind_flags = static_cast<uint32_t>(entry.value);
    socket->wanted = entry.address;
    socket->is_bound = socket->listening = false;  // one that failed may be tried again
    socket->answered = socket->answer_logged = false;
    if (sender_) {
      host_->edge_bind(socket->id, socket->bind_flags, socket->wanted);
    }
    return;
  }
  socket->listening = true;
  socket->answered = socket->answer_logged = false;
  socket->backlog = static_cast<int>(std::min<uint64_t>(entry.value, INT32_MAX));
  if (sender_) {
    host_->edge_listen(socket->id, socket->backlog);
  }
}

// Where the edge is elsewhere, options are kept: the sender may die before it has set them, and a
// listener may have to be made anew.
void UnitCore::Impl::option(const Output& entry) {
  const auto level = static_cast<int>(entry.value);
  const auto name = static_cast<int>(entry.value2);
  std::vector<SocketOption>* options = nullptr;
  const bool of_socket = (entry.id & kOptionOfSocket) != 0;
  Connection* connection = of_socket ? nullptr : connections_.find(entry.id);
  if (of_socket ? sender_ : connection != nullptr && connection->at_edge) {
    return host_->edge_option(entry.id, level, name, {entry.data, entry.length});
  }
  if (!of_socket) {
    options = connection != nullptr && !connection->gone ? &connection->options : nullptr;
  } else {
    const uint32_t id = entry.id & ~kOptionOfSocket;
    Socket* socket = find_socket(id);
    if (socket == nullptr) {
      socket = add_socket(id);
    }
    options = socket == nullptr ? nullptr : &socket->options;
  }
  if (options == nullptr) {
    return;
  }
  SocketOption wanted{level, name, static_cast<uint8_t>(entry.length), {}};
  auto same = std::find_if(options->begin(), options->end(), [&](const SocketOption& option) {
    return option.level == level && option.name == name;
  });
  if (entry.length > SocketOption::kValueBytesMax ||
      (same == options->end() && options->size() == kSocketOptionsMax)) {
    return event("limit",
                 fmt::format("option {}/{} of {} will not survive a takeover: too {}", level, name,
                             entry.id & ~kOptionOfSocket,
                             entry.length > SocketOption::kValueBytesMax ? "long" : "many"));
  }
  if (entry.length != 0) {
    std::memcpy(wanted.value, entry.data, entry.length);
  }
  if (same != options->end()) {
    *same = wanted;
  } else {
    options->push_back(wanted);
  }
}

}  // namespace ftrun::unit
