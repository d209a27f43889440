// SPDX-License-Identifier: Apache-2.0
// Unit core: the request of death (DESIGN section 9). A request that crashes the primary would
// crash each survivor in turn. Late logging has kept it from the secondary: the turn that died was
// never shipped. So the survivor serves all that was in it, but for the one connection whose input
// the crashed thread had read: that one is reset, and its address is kept away for a while. Runs in
// the supervisor; pure.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "supervisor/unit/core_impl.h"

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

bool UnitCore::Impl::is_quarantined(const Address& peer) const {
  return quarantined_.length != 0 && same_host(quarantined_, peer);
}

// The reset is an arrival like any other: it is logged, and every replica closes the connection at
// the same point. ORDER: the application has it before all else, and before it goes live: its last
// shipped turn may have logged the poison, without reading it. A suspect that the log does not know
// has its turn among the opens: its listener may have yet to hear that it listens.
void UnitCore::Impl::quarantine_suspect() {
  Connection* suspect = connections_.find(suspect_);
  suspect_ = 0;
  if (suspect == nullptr || mutated(Mutation::kForgetQuarantine)) {
    return;
  }
  quarantined_ = suspect->peer;
  suspect->offered = suspect->open_logged;
  if (!suspect->closed) {
    suspect->reset_seen = true;
    suspect->reset_error = kResetAndDiscard;
  }
  if (!suspect->closed && suspect->offered) {
    put(ArrivalKind::kReset, suspect->id, kResetAndDiscard);
    deliver();
  }
  host_->edge_quarantine(suspect->id, suspect->received);
  const ConnectionId id = suspect->id;
  connections_.for_each([this, id](Connection& connection) {
    if (connection.id != id && !connection.open_logged && is_quarantined(connection.peer)) {
      hold(connection);
    }
  });
}

// Does not count against its listener's backlog: others are served meanwhile.
void UnitCore::Impl::hold(Connection& connection) {
  connection.held = true;
  held_anew_.push_back(connection.id);  // its edge may be in the middle of naming it
}

void UnitCore::Impl::flush_held() {
  for (const ConnectionId id : held_anew_) {
    const Connection* connection = connections_.find(id);
    if (connection != nullptr && connection->at_edge && !connection->closed) {
      host_->edge_accepted(id);
    }
  }
  held_anew_.clear();
}

void UnitCore::Impl::on_quarantine_over() {
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
    put_open(connection);
    reoffer(connection);
  }
  event("quarantine_over", fmt::format("{} connections that were held go on", ids.size()));
}

}  // namespace ftrun::unit
