// SPDX-License-Identifier: Apache-2.0
// The exchange of positions: see exchange.h. Pure.
#include "supervisor/unit/exchange.h"

#include "supervisor/result.h"

namespace ftrun::unit {

namespace {
bool behind(const Position& x, const Position& y) {
  return x.created != y.created ? x.created < y.created : x.end < y.end;
}
}  // namespace

bool Exchange::complete() const {
  return std::all_of(view_.replicas.begin(), view_.replicas.end(),
                     [this](ReplicaId member) { return heard_[member]; });
}

// Of equals the first in the view, but the sender last: it has something else to do.
ReplicaId Exchange::most_advanced() const {
  ReplicaId best = kNoReplica;
  for (const ReplicaId member : view_.replicas) {
    if (best == kNoReplica || behind(positions_[best], positions_[member]) ||
        (best == view_.sender && !behind(positions_[member], positions_[best]))) {
      best = member;
    }
  }
  return best;
}

Settlement Exchange::settle(Topology topology, Promotion promotion) const {
  FTRUN_ASSERT(complete());
  Settlement settlement;
  const ReplicaId best = most_advanced();
  for (const ReplicaId member : view_.replicas) {
    if (positions_[member].live) {
      settlement.liar = settlement.primary_lives ? member : settlement.liar;
      settlement.primary = member;
      settlement.primary_lives = true;
    }
    if (positions_[member].suspect != 0) {
      settlement.suspect = positions_[member].suspect;
    }
  }
  if (!settlement.primary_lives) {
    const bool first = topology == Topology::kChain || promotion == Promotion::kDesignated;
    settlement.primary = first ? view_.replicas.front() : best;
  }
  const Position& primary = positions_[settlement.primary];
  if (settlement.primary_lives) {
    settlement.liar = behind(primary, positions_[best]) ? best : settlement.liar;
    settlement.end = primary.end;
  } else {
    settlement.end = positions_[best].end;
    settlement.donor = behind(primary, positions_[best]) ? best : kNoReplica;
  }
  return settlement;
}

}  // namespace ftrun::unit
