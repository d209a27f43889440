// SPDX-License-Identifier: Apache-2.0
// Unit core: failures. Suspicion leads to a proposed view; who wins it kills the excluded replica,
// and goes on only when that is gone: promoted, or with the dead sender's connections, or both.
// Also the end: the application's exit, and the loss of the last replica. Runs in the supervisor;
// pure.
//
// ORDER (DESIGN section 6): view published, then the excluded replica killed, then its sockets
// taken, then output. A loser kills nobody.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "eventlog/locks.h"
#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

namespace {

bool contains(const View& view, ReplicaId replica) {
  return std::find(view.replicas.begin(), view.replicas.end(), replica) != view.replicas.end();
}

std::string describe(const View& view) {
  std::string text = fmt::format("epoch {}:", view.epoch);
  for (const ReplicaId replica : view.replicas) {
    text += fmt::format(" {}{}", static_cast<char>('a' + replica),
                        replica == view.sender ? " (sender)" : "");
  }
  return text;
}

}  // namespace

// --- views ---

void UnitCore::Impl::on_replica_suspected(ReplicaId replica, std::string_view why) {
  if ((state_ != State::kRunning && state_ != State::kAppFailed) || replica == config_.self ||
      !contains(view_, replica) || proposal_.epoch != 0 || unit_exited_) {
    return;
  }
  event("suspect", fmt::format("replica {}: {}", static_cast<char>('a' + replica), why));
  proposal_ = view_;
  ++proposal_.epoch;
  std::erase(proposal_.replicas, replica);
  if (proposal_.sender == replica) {
    proposal_.sender = proposal_.replicas.back();  // the chain's new tail
  }
  host_->propose_view(proposal_);
}

void UnitCore::Impl::on_view(const View& view) {
  if (view.epoch <= view_.epoch) {
    proposal_ = View{};  // could not be published; a later suspicion tries again
    return;
  }
  if (!contains(view, config_.self)) {
    view_ = view;
    return exclude();
  }
  if (state_ == State::kExcluded) {
    return;
  }
  const View old = view_;
  view_ = view;
  proposal_ = View{};
  event("view", describe(view));
  if (state_ == State::kAppFailed) {
    event("lost", "the last replica has lost its application");
    return finish(app_status_);
  }
  auto dying = std::find_if(old.replicas.begin(), old.replicas.end(),
                            [&view](ReplicaId replica) { return !contains(view, replica); });
  if (dying == old.replicas.end()) {
    return;
  }
  state_ = State::kTakingOver;
  dying_ = *dying;
  dying_was_sender_ = old.sender == dying_;
  dying_was_primary_ = old.replicas.front() == dying_;
  adopted_ = false;
  host_->kill_replica(dying_, dying_was_sender_ && view.sender == config_.self);
}

void UnitCore::Impl::exclude() {
  event("excluded", describe(view_));
  state_ = State::kExcluded;
  if (!app_ended_) {
    host_->stop_application("");
  }
}

void UnitCore::Impl::on_replica_gone(ReplicaId replica) {
  if (state_ != State::kTakingOver || replica != dying_) {
    return;
  }
  if (dying_was_sender_ && !adopted_) {
    on_edge_adopted({}, {});
  }
  dying_ = kNoReplica;
  state_ = State::kRunning;
  event("unprotected", "one replica is left");
  if (app_failed_) {
    event("lost", "the last replica has lost its application");
    return begin_end();
  }
  if (dying_was_primary_ && primary_id() == config_.self) {
    promote();
  }
  deliver();
  if (app_ended_) {
    begin_end();
  }
}

// --- promotion: the arrivals that the dead primary had not logged are offered again ---

void UnitCore::Impl::promote() {
  primary_ = true;
  arrivals_.clear();
  quarantine_suspect();
  host_->go_live();
  // ORDER: a socket that does not know yet that it listens would turn its connections away.
  if (!mutated(Mutation::kBoundAfterOpens)) {
    reoffer_answers();
  }
  std::vector<Connection*> opens;  // in the order in which they came
  connections_.for_each([&opens](Connection& connection) {
    if (!connection.open_logged && !connection.held && !connection.offered) {
      opens.push_back(&connection);
    }
  });
  std::sort(opens.begin(), opens.end(),
            [](const Connection* x, const Connection* y) { return x->id < y->id; });
  for (const Connection* connection : opens) {
    if (!mutated(Mutation::kForgetOpens)) {
      put_open(*connection);
    }
  }
  if (mutated(Mutation::kBoundAfterOpens)) {
    reoffer_answers();
  }
  // What comes from the suspect's address comes last.
  for (const bool quarantined : {false, true}) {
    connections_.for_each([this, quarantined](Connection& connection) {
      if (!connection.held && !connection.offered &&
          is_quarantined(connection.peer) == quarantined) {
        reoffer(connection);
      }
    });
  }
  feed_signals(true);
}

void UnitCore::Impl::reoffer_answers() {
  for (const Socket& socket : sockets_) {
    if (socket.answered && !socket.answer_logged && !mutated(Mutation::kForgetBound)) {
      Arrival item;
      item.kind = ArrivalKind::kBound;
      item.id = socket.id;
      item.value = static_cast<uint64_t>(socket.error);
      item.local = socket.bound;
      put(item);
    }
  }
}

// Passes on the pending signals, or those of them that nobody has passed on before.
void UnitCore::Impl::feed_signals(bool again) {
  for (Signal& signal : pending_signals_) {
    if ((again || !signal.fed) && !mutated(Mutation::kForgetSignals)) {
      put(ArrivalKind::kSignal, signal.sequence, static_cast<uint64_t>(signal.number));
    }
    signal.fed = true;
  }
}

void UnitCore::Impl::reoffer(Connection& connection) {
  if (connection.closed) {
    return;
  }
  if (wants_credit(connection)) {
    mark_sent(connection);
  }
  if (connection.reset_seen) {
    if (!connection.reset_logged && !mutated(Mutation::kForgetResets)) {
      put(ArrivalKind::kReset, connection.id, static_cast<uint64_t>(connection.reset_error));
    }
    return;
  }
  if (!mutated(Mutation::kForgetData)) {
    connection.received = connection.logged;
    host_->edge_reoffer_input(connection.id, connection.logged);
  }
  if (!mutated(Mutation::kForgetFins)) {
    connection.fin_passed = connection.fin_logged;
    pass_fin(connection);  // if it follows at once; else when its data has come again
  }
}

// --- takeover: the dead sender's sockets ---

void UnitCore::Impl::on_edge_adopted(const std::vector<AdoptedConnection>& connections,
                                     const std::vector<AdoptedListener>& listeners) {
  FTRUN_ASSERT(state_ == State::kTakingOver && !adopted_);
  adopted_ = true;
  sender_ = true;
  // ORDER: the answers to a listen before the connections, as in promote().
  if (!mutated(Mutation::kBoundAfterAdopted)) {
    adopt_listeners(listeners);
  }
  // Ids first: a connection that has none must not get one that another socket has.
  for (const AdoptedConnection& adopted : connections) {
    next_id_ = std::max(next_id_, adopted.id + 1);
  }
  for (const AdoptedConnection& adopted : connections) {
    adopt_connection(adopted);
  }
  adopt_missing();
  if (mutated(Mutation::kBoundAfterAdopted)) {
    adopt_listeners(listeners);
  }
  feed_signals(false);
}

void UnitCore::Impl::adopt_connection(const AdoptedConnection& adopted) {
  Connection* connection = adopted.id == 0 ? nullptr : connections_.find(adopted.id);
  if (connection != nullptr && !connection->at_edge && !connection->gone) {
    return adopt_known(*connection, adopted);
  }
  // Accepted just before its edge died: nobody has seen a byte of it.
  if (connection != nullptr || adopted.input_dropped != 0 || adopted.output_written != 0 ||
      adopted.output_shut) {
    event("takeover", fmt::format("a socket of connection {} with {} bytes read and {} written is "
                                  "not known; it is reset",
                                  adopted.id, adopted.input_dropped, adopted.output_written));
    return host_->edge_discard(adopted.handle);
  }
  if (mutated(Mutation::kDropUnknownAdopted)) {
    return;
  }
  const ConnectionId id = adopted.id != 0 ? adopted.id : next_id_++;
  connection = &connections_.insert(id);
  connection->listener = adopted.listener;
  connection->local = adopted.local;
  connection->peer = adopted.peer;
  connection->at_edge = true;
  put_open(*connection);
  host_->edge_adopt(adopted.handle, id);
  host_->edge_reoffer_input(id, 0);
}

void UnitCore::Impl::adopt_known(Connection& connection, const AdoptedConnection& adopted) {
  if (adopted.output_written < connection.written || adopted.output_written > connection.released ||
      adopted.input_dropped > connection.logged) {
    event("takeover",
          fmt::format("connection {} is reset: its socket has {} bytes written (known: {} to {}) "
                      "and {} dropped (logged: {})",
                      connection.id, adopted.output_written, connection.written,
                      connection.released, adopted.input_dropped, connection.logged));
    return host_->edge_discard(adopted.handle);  // adopt_missing() tells the application
  }
  connection.at_edge = true;
  host_->edge_adopt(adopted.handle, connection.id);
  if (connection.accepted && !mutated(Mutation::kForgetAcceptedBefore)) {
    host_->edge_accepted(connection.id);
  }
  for (const SocketOption& option : connection.options) {
    host_->edge_option(connection.id, option.level, option.name, {option.value, option.length});
  }
  if (!connection.closed) {
    host_->edge_reoffer_input(connection.id, connection.received);
    host_->edge_release_input(connection.id, connection.logged);
    host_->edge_input_limit(connection.id, connection.consumed + kReceiveWindowBytes);
  }
  resend(connection, adopted);
  connection.resend = ByteQueue{};
  connection.options = {};
}

void UnitCore::Impl::resend(Connection& connection, const AdoptedConnection& adopted) {
  connection.written = adopted.output_written;
  if (wants_credit(connection)) {
    mark_sent(connection);
  }
  if (connection.urgent_end > connection.written && !mutated(Mutation::kForgetUrgent)) {
    host_->edge_urgent(connection.id, connection.urgent_end - 1);
  }
  const uint64_t from =
      mutated(Mutation::kResendFromStart) ? connection.resend.start() : connection.written;
  const auto [first, second] = connection.resend.from(from);
  if (!first.empty()) {
    host_->edge_write(connection.id, from, first);
  }
  if (!second.empty()) {
    host_->edge_write(connection.id, from + first.size(), second);
  }
  if (connection.shut && !adopted.output_shut) {
    host_->edge_shutdown(connection.id);
  }
  if (connection.closed) {
    close_at_edge(connection, Ending::kAsRead);
  }
}

// Connections whose sockets are nowhere: closed by the dead sender, or lost with it.
void UnitCore::Impl::adopt_missing() {
  connections_.for_each([this](Connection& connection) {
    if (connection.at_edge) {
      return;
    }
    if (connection.closed) {
      return connections_.erase(connection);
    }
    connection.gone = true;
    connection.resend = ByteQueue{};
    if (!connection.reset_seen && !mutated(Mutation::kForgetMissing)) {
      on_edge_reset(connection.id, ECONNRESET);
    }
  });
}

void UnitCore::Impl::adopt_listeners(const std::vector<AdoptedListener>& listeners) {
  for (const AdoptedListener& adopted : listeners) {
    if (find_socket(adopted.socket) == nullptr) {
      host_->edge_unlisten(adopted.socket);  // closed by the application, not yet by the edge
    }
  }
  if (exit_released_) {
    return;  // the application has left: begin_end() closes what is there
  }
  for (Socket& socket : sockets_) {
    const auto adopted = std::find_if(
        listeners.begin(), listeners.end(),
        [&socket](const AdoptedListener& listener) { return listener.socket == socket.id; });
    const bool is_whole =
        adopted != listeners.end() && (!adopted->ask_again || mutated(Mutation::kTrustAdoptedLock));
    restore_socket(socket, is_whole ? &*adopted : nullptr);
  }
}

void UnitCore::Impl::restore_socket(Socket& socket, const AdoptedListener* adopted) {
  const bool lock = (socket.bind_flags & kBindLock) != 0;
  for (const SocketOption& option : socket.options) {
    host_->edge_option(socket.id | kOptionOfSocket, option.level, option.name,
                       {option.value, option.length});
  }
  socket.options = {};
  // What the application has an answer for is done again silently.
  if (adopted == nullptr && socket.is_bound) {
    // A lock must not wait: the program thinks that it has it, and its next request would end the
    // wait, whose answer is then taken for that request's.
    ++socket.answers_known;
    host_->edge_bind(socket.id, lock ? socket.bind_flags & ~kBindLockWait : socket.bind_flags,
                     socket.bound);
  } else if (adopted == nullptr && (!socket.answered || socket.listening)) {
    host_->edge_bind(socket.id, socket.bind_flags, socket.wanted);
  } else if (adopted != nullptr && !socket.is_bound && !socket.answered) {
    on_edge_bound(socket.id, 0, adopted->address);  // bound, but the answer died with the sender
  }
  if (socket.listening && !socket.answered && adopted != nullptr && adopted->listening) {
    on_edge_bound(socket.id, 0, adopted->address);  // this answer died with the sender as well
  }
  // Also where it listens already: the new edge learns of the backlog.
  if (socket.listening && !mutated(Mutation::kForgetBacklog)) {
    socket.answers_known += socket.answered ? 1 : 0;
    host_->edge_listen(socket.id, socket.backlog);
  }
}

// --- the end of the own application, and of the unit ---

void UnitCore::Impl::fail_application(std::string_view kind, const std::string& why) {
  if (app_ended_) {
    return;
  }
  event(kind, why);
  const std::string text = fmt::format("{}: {}", kind, why);
  host_->stop_application(text);
  on_app_failed(text, 128 + 6, 0);
}

void UnitCore::Impl::on_app_failed(std::string_view why, int status, ConnectionId suspect) {
  app_ended_ = true;
  app_failed_ = true;
  app_status_ = status;
  event("app_failed", std::string(why));
  if (state_ != State::kRunning) {
    return;  // excluded; or alone in a moment: on_replica_gone() ends the unit
  }
  if (unit_exited_) {  // killed in its last moment: the sender has followed its exit already
    return finish(unit_status_);
  }
  if (!alone()) {
    state_ = State::kAppFailed;
    return send_to_others(FrameKind::kAppFailed, suspect,
                          {reinterpret_cast<const uint8_t*>(why.data()), why.size()});
  }
  event("lost", "the last replica has lost its application");
  begin_end();
}

void UnitCore::Impl::on_app_exited(int status) {
  if (!exit_issued_ || !exit_released_) {
    return on_app_failed("ended without an exit in its output", status, 0);
  }
  app_ended_ = true;
  app_status_ = status;
  if (state_ != State::kRunning) {
    return;
  }
  event("exited", fmt::format("the application ended with status {}", status));
  if (sender_) {
    return begin_end();
  }
  finish_if_done();
}

// The edge writes what it has been given, then closes everything.
void UnitCore::Impl::begin_end() {
  ending_ = true;
  if (!sender_) {
    return finish_if_done();
  }
  for (const Socket& socket : sockets_) {
    host_->edge_unlisten(socket.id);
  }
  sockets_.clear();
  connections_.for_each([this](Connection& connection) {
    if (!connection.at_edge) {
      return connections_.erase(connection);
    }
    // An exit has closed all that the application knew. Others waited for an accept: they are
    // reset, as by a kernel. A failed application may have left input unread: what it is not known
    // to have read counts as unread.
    if (!connection.closed) {
      connection.closed = true;
      close_at_edge(connection, connection.open_logged ? Ending::kAsRead : Ending::kReset);
    }
  });
  finish_if_done();
}

void UnitCore::Impl::finish_if_done() {
  if (state_ != State::kRunning || !app_ended_) {
    return;
  }
  if (sender_ && ending_ && connections_.size() == 0) {
    send_to_others(FrameKind::kExited, static_cast<uint64_t>(app_status_ & 255), {});
    finish(app_status_);
  } else if (!sender_ && unit_exited_) {
    finish(app_status_);
  }
}

void UnitCore::Impl::finish(int status) {
  state_ = State::kFinished;
  host_->finished(status);
}

}  // namespace ftrun::unit
