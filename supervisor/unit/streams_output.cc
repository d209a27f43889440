// SPDX-License-Identifier: Apache-2.0
// Streams: output that may leave is carried out by the edge where this member has it, and kept in
// the connection's resend queue elsewhere (claim 18). Pure.
//
// ORDER: a primary releases a turn into its own resend queues before it sends the turn. So the
// sender can never have written what the resend queue does not know.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "supervisor/base/result.h"
#include "supervisor/unit/limits.h"
#include "supervisor/unit/streams.h"

namespace ftrun::unit {

std::string Streams::apply(const Output& entry) {
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
    default:
      return "";
  }
}

std::string Streams::apply_to_connection(const Output& entry) {
  Connection* connection = connections_.find(entry.id);
  if (connection == nullptr || connection->closed) {
    return fmt::format("output for connection {}, which is {}", entry.id,
                       connection == nullptr ? "unknown" : "closed");
  }
  switch (entry.kind) {
    case OutputKind::kWrite:
      return write(connection, {entry.data, entry.length});
    case OutputKind::kUrgent:
      if (entry.length == 0) {
        return "";
      }
      connection->urgent_end = connection->released + entry.length;
      if (connection->at_edge) {
        edge_->edge_urgent(connection->id, connection->urgent_end - 1);
      }
      return write(connection, {entry.data, entry.length});
    case OutputKind::kAccepted:
      connection->accepted = true;
      if (connection->at_edge && !mutated(Mutation::kForgetAccepted)) {
        edge_->edge_accepted(entry.id);
      }
      return "";
    case OutputKind::kShutdown:
      connection->shut = true;
      if (connection->at_edge) {
        edge_->edge_shutdown(entry.id);
      }
      return "";
    case OutputKind::kConsumed:
    case OutputKind::kClose:
      if (entry.value > connection->logged || entry.value < connection->consumed) {
        return fmt::format("connection {}: {} bytes consumed, after {}, of {} logged", entry.id,
                           entry.value, connection->consumed, connection->logged);
      }
      connection->consumed = entry.value;
      break;
    default:
      return "";
  }
  if (entry.kind == OutputKind::kConsumed) {
    if (connection->at_edge) {
      edge_->edge_input_limit(entry.id, connection->consumed + kReceiveWindowBytes);
    }
    return "";
  }
  connection->closed = true;
  if (connection->at_edge) {
    close_at_edge(*connection, Ending::kAsRead);
  } else if (connection->gone) {
    connections_.erase(*connection);
  }
  return "";
}

void Streams::close_at_edge(const Connection& connection, Ending ending) {
  const uint64_t consumed =
      mutated(Mutation::kCloseAsLogged) ? connection.logged : connection.consumed;
  edge_->edge_close(connection.id, consumed, ending);
}

std::string Streams::write(Connection* connection, Bytes data) {
  const uint64_t position = connection->released;
  connection->released += data.size();
  if (connection->released - std::min(connection->credited, connection->released) >
      kSendWindowBytes) {
    return fmt::format("connection {}: {} bytes written with credit for {} only", connection->id,
                       connection->released, connection->credited);
  }
  if (has_edge_ && wants_credit(*connection)) {
    mark_sent(connection);
  }
  if (connection->at_edge) {
    edge_->edge_write(connection->id, position, data);
  } else if (!connection->gone) {
    FTRUN_ASSERT(connection->resend.end() == position);
    connection->resend.append(data);
    trim_resend(connection);
  }
  return "";
}

// The log may tell of written output before the own application has put it out.
void Streams::trim_resend(Connection* connection) {
  if (!connection->gone && !mutated(Mutation::kNeverTrim)) {
    connection->resend.trim(std::min(connection->written, connection->released));
  }
}

// An application that asks for what no application can have is stopped.
std::string Streams::add_socket(uint32_t id, Socket** socket) {
  if (id >= kOptionOfSocket || sockets_.size() >= kSocketsMax) {
    return fmt::format("socket {}, with {} there (limit {})", id, sockets_.size(), kSocketsMax);
  }
  *socket = &sockets_.emplace_back();
  (*socket)->id = id;
  return "";
}

std::string Streams::apply_to_socket(const Output& entry) {
  Socket* socket = find_socket(entry.id);
  if (entry.kind == OutputKind::kUnlisten) {
    if (has_edge_) {
      edge_->edge_unlisten(entry.id);
    }
    if (socket != nullptr) {
      unanswered_.insert(unanswered_.end(),
                         socket->asked - std::min(socket->asked, socket->answers), socket->id);
      sockets_.erase(sockets_.begin() + (socket - sockets_.data()));
    }
    return "";
  }
  if (socket == nullptr) {
    std::string problem = add_socket(entry.id, &socket);
    if (!problem.empty()) {
      return problem;
    }
  }
  if (entry.kind == OutputKind::kBind) {
    socket->bind_flags = static_cast<uint32_t>(entry.value);
    socket->wanted = entry.address;
    socket->is_bound = socket->listening = false;  // one that failed may be tried again
    socket->ask();
    if (has_edge_) {
      edge_->edge_bind(socket->id, socket->bind_flags, socket->wanted);
    }
    return "";
  }
  socket->listening = true;
  socket->backlog = static_cast<int>(std::min<uint64_t>(entry.value, INT32_MAX));
  socket->ask();
  if (has_edge_) {
    edge_->edge_listen(socket->id, socket->backlog);
  }
  return "";
}

// Where the edge is elsewhere, options are kept: the sender may die before it has set them, and a
// listener may have to be made anew.
std::string Streams::option(const Output& entry) {
  const auto level = static_cast<int>(entry.value);
  const auto name = static_cast<int>(entry.value2);
  const bool of_socket = (entry.id & kOptionOfSocket) != 0;
  Connection* connection = of_socket ? nullptr : connections_.find(entry.id);
  if (of_socket ? has_edge_ : connection != nullptr && connection->at_edge) {
    edge_->edge_option(entry.id, level, name, {entry.data, entry.length});
    return "";
  }
  std::vector<SocketOption>* options = nullptr;
  if (of_socket) {
    const uint32_t id = entry.id & ~kOptionOfSocket;
    Socket* socket = find_socket(id);
    if (socket == nullptr) {
      std::string problem = add_socket(id, &socket);
      if (!problem.empty()) {
        return problem;
      }
    }
    options = &socket->options;
  } else if (connection != nullptr && !connection->gone) {
    options = &connection->options;
  } else {
    return "";
  }
  SocketOption wanted{level, name, static_cast<uint8_t>(entry.length), {}};
  auto same = std::find_if(options->begin(), options->end(), [&](const SocketOption& option) {
    return option.level == level && option.name == name;
  });
  if (entry.length > SocketOption::kValueBytesMax ||
      (same == options->end() && options->size() == kSocketOptionsMax)) {
    event("limit", fmt::format("option {}/{} of {} will not survive a takeover: too {}", level,
                               name, entry.id & ~kOptionOfSocket,
                               entry.length > SocketOption::kValueBytesMax ? "long" : "many"));
    return "";
  }
  if (entry.length != 0) {
    std::memcpy(wanted.value, entry.data, entry.length);
  }
  if (same != options->end()) {
    *same = wanted;
  } else {
    options->push_back(wanted);
  }
  return "";
}

}  // namespace ftrun::unit
