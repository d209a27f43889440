// SPDX-License-Identifier: Apache-2.0
// Streams after a change of view. A new primary knows what the log has and nothing else; a living
// one also has what it was fed before: it says so in the exchange. All the rest is offered again by
// whoever has the edge (or takes it over), in the order in which it can have come. Pure.
//
// The request of death (DESIGN section 9): a request that crashes the primary would crash each
// survivor in turn. Late logging has kept it from them: the turn that died was never shipped. So
// the next primary is given all that was in it, but for the one connection whose input the crashed
// thread had read: that one is reset, and its address is kept away for a while.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "supervisor/base/result.h"
#include "supervisor/unit/streams.h"

namespace ftrun::unit {

namespace {

// The host's part of a sockaddr_in or sockaddr_in6: where it starts, how long it is.
std::pair<size_t, size_t> host_part(const Address& address) {
  sa_family_t family = AF_UNSPEC;
  std::memcpy(&family, address.bytes, sizeof(family));
  return family == AF_INET6 ? std::pair{size_t{8}, size_t{16}} : std::pair{size_t{4}, size_t{4}};
}

bool same_host(const Address& x, const Address& y) {
  const auto [start, length] = host_part(x);
  return x.length == y.length && x.length >= start + length &&
         std::memcmp(x.bytes, y.bytes, sizeof(sa_family_t)) == 0 &&
         std::memcmp(x.bytes + start, y.bytes + start, length) == 0;
}

}  // namespace

void Streams::restart() {
  knows_input_ = true;
  if (const Connection* suspect = connections_.find(suspect_); suspect != nullptr) {
    suspect_received_ = suspect->received;
  }
  connections_.for_each([](Connection& connection) {
    if (connection.held) {
      return;
    }
    connection.received = connection.logged;
    connection.open_passed = connection.open_logged;
    connection.fin_passed = connection.fin_logged;
    connection.reset_passed = connection.reset_logged;
    connection.relayed = connection.credited;
  });
  for (Socket& socket : sockets_) {
    socket.answers_passed = socket.answers_logged;
  }
  signals_->restart();
}

std::string Streams::note_fed(const Arrival& item) {
  if (item.kind == ArrivalKind::kSignal) {
    signals_->note_fed(item.id, static_cast<int>(item.value));
    return "";
  }
  if (item.kind == ArrivalKind::kBound) {
    return learn_answer(item, false);
  }
  Connection* connection = item.id == 0 ? nullptr : connections_.find(item.id);
  if (item.kind == ArrivalKind::kOpen && connection == nullptr) {
    std::string problem = insert(item);
    connection = connections_.find(item.id);
    if (!problem.empty()) {
      return problem;
    }
  }
  if (connection == nullptr) {
    return item.id != 0 && item.id < next_id_
               ? ""  // closed meanwhile
               : fmt::format("was fed input of connection {}, which was never opened", item.id);
  }
  note_passed(connection, item);
  if (item.kind == ArrivalKind::kCredit) {
    connection->relayed = std::max(connection->relayed, item.value);
  }
  return "";
}

void Streams::offer() {
  FTRUN_ASSERT(has_edge_);
  quarantine_suspect();
  // ORDER: the poison may stand in the log, unread: the suspect's reset comes before all else.
  // Where not even its open does, both come in the order of the opens.
  connections_.for_each([this](Connection& connection) {
    if (connection.suspected && connection.open_passed) {
      put_suspect(&connection);
    }
  });
  // ORDER: a socket that does not know yet that it listens would turn its connections away.
  if (!mutated(Mutation::kBoundAfterOpens)) {
    put_answers();
  }
  std::vector<Connection*> opens;  // in the order in which they came
  connections_.for_each([&opens](Connection& connection) {
    if (!connection.open_passed && !connection.held &&
        !(connection.suspected && connection.closed)) {
      opens.push_back(&connection);
    }
  });
  std::sort(opens.begin(), opens.end(),
            [](const Connection* x, const Connection* y) { return x->id < y->id; });
  for (Connection* connection : opens) {
    if (!mutated(Mutation::kForgetOpens)) {
      put_open(connection);
    }
    if (connection->suspected) {
      put_suspect(connection);
    }
  }
  if (mutated(Mutation::kBoundAfterOpens)) {
    put_answers();
  }
  // What comes from the suspect's address comes last.
  for (const bool quarantined : {false, true}) {
    connections_.for_each([this, quarantined](Connection& connection) {
      if (!connection.held && !connection.suspected &&
          is_quarantined(connection.peer) == quarantined) {
        offer_connection(&connection);
      }
    });
  }
  if (!mutated(Mutation::kForgetSignals)) {
    signals_->offer(arrivals_);
  }
}

void Streams::put_answers() {
  for (Socket& socket : sockets_) {
    while (socket.answers_passed < socket.answers && !mutated(Mutation::kForgetBound)) {
      ++socket.answers_passed;
      put_bound(socket);
    }
  }
}

void Streams::offer_connection(Connection* connection) {
  if (connection->closed) {
    return;
  }
  if (wants_credit(*connection) || connection->written > connection->credited) {
    mark_sent(connection);
  }
  if (connection->reset_seen) {
    if (!connection->reset_passed && !mutated(Mutation::kForgetResets)) {
      connection->reset_passed = true;
      arrivals_->put(ArrivalKind::kReset, connection->id,
                     static_cast<uint64_t>(connection->reset_error));
    }
    return;
  }
  if (!mutated(Mutation::kForgetData) && connection->at_edge) {
    edge_->edge_reoffer_input(connection->id, connection->received);
  }
  if (!mutated(Mutation::kForgetFins)) {
    pass_fin(connection);  // if it follows at once; else when its data has come again
  }
}

bool Streams::is_quarantined(const Address& peer) const {
  return quarantined_.length != 0 && same_host(quarantined_, peer);
}

// Nobody else is offered from where the suspect comes for a while.
void Streams::quarantine_suspect() {
  Connection* suspect = connections_.find(suspect_);
  suspect_ = 0;
  if (suspect == nullptr || suspect->reset_logged || mutated(Mutation::kForgetQuarantine)) {
    return;
  }
  quarantined_ = suspect->peer;
  suspect->suspected = true;
  if (suspect->at_edge) {
    edge_->edge_quarantine(suspect->id, std::max(suspect_received_, suspect->received));
  }
  connections_.for_each([this](Connection& connection) {
    connection.held = false;
    if (!connection.suspected && !connection.open_logged && is_quarantined(connection.peer)) {
      hold(&connection);
    }
  });
}

// Does not count against its listener's backlog: others are served meanwhile.
void Streams::hold(Connection* connection) {
  connection->held = true;
  held_anew_.push_back(connection->id);  // its edge may be in the middle of naming it
}

// The reset is an arrival like any other: it is logged, and every replica closes the connection at
// the same point. The application has it before it goes live: its last shipped turn may have logged
// the poison, without reading it.
void Streams::put_suspect(Connection* suspect) {
  if (!suspect->closed && !suspect->reset_passed) {
    suspect->reset_seen = suspect->reset_passed = true;
    suspect->reset_error = kResetAndDiscard;
    arrivals_->put(ArrivalKind::kReset, suspect->id, kResetAndDiscard);
  }
}

void Streams::quarantine_over() {
  quarantined_ = Address{};
  std::vector<ConnectionId> ids;
  connections_.for_each([&ids](Connection& connection) {
    if (connection.held && !connection.closed) {
      ids.push_back(connection.id);
    }
  });
  std::sort(ids.begin(), ids.end());
  for (const ConnectionId id : ids) {
    Connection& connection = *connections_.find(id);
    connection.held = false;
    connection.received = connection.logged;
    put_open(&connection);
    offer_connection(&connection);
  }
  event("quarantine_over", fmt::format("{} connections that were held go on", ids.size()));
}

}  // namespace ftrun::unit
