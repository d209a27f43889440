// SPDX-License-Identifier: Apache-2.0
// The exchange of positions: see exchange.h. Pure.
#include "supervisor/unit/exchange.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "supervisor/base/result.h"

namespace ftrun::unit {

namespace {
// By whole turns.
bool behind(const Position& x, const Position& y) {
  return x.created != y.created ? x.created < y.created : x.end < y.end;
}
// By what the applications were fed, too. Two parts of one turn begin alike; and who has the longer
// one need not be told of points before its end.
bool fed_less(const Position& x, const Position& y) {
  if (behind(x, y) || behind(y, x)) {
    return behind(x, y);
  }
  return x.ahead != y.ahead ? x.ahead < y.ahead : x.points < y.points;
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
    if (best == kNoReplica || fed_less(positions_[best], positions_[member]) ||
        (best == view_.sender && !fed_less(positions_[member], positions_[best]))) {
      best = member;
    }
  }
  return best;
}

// What clients have seen was held by f + 1 of the last view: so by that many less those who have
// left since, or it is what the last exchange had found to be seen.
void Exchange::note_last(Settlement* settlement, unsigned tolerance) const {
  std::vector<uint64_t> ends;
  settlement->now.epoch = view_.epoch;
  for (const ReplicaId member : view_.replicas) {
    settlement->now.members |= uint64_t{1} << member;
    ends.push_back(positions_[member].end);
    const Settled& settled = positions_[member].settled;
    settlement->last = settled.epoch > settlement->last.epoch ? settled : settlement->last;
  }
  const uint64_t before = settlement->last.members;
  settlement->lost = static_cast<unsigned>(std::popcount(before & ~settlement->now.members));
  const auto holders = std::min<int>(static_cast<int>(tolerance) + 1, std::popcount(before)) -
                       static_cast<int>(settlement->lost);
  std::sort(ends.begin(), ends.end(), std::greater<>());
  const auto last_holder = static_cast<size_t>(std::max(holders, 1)) - 1;
  settlement->now.seen =
      std::max(settlement->last.seen, ends[std::min(last_holder, ends.size() - 1)]);
}

Settlement Exchange::settle(Topology topology, Promotion promotion, unsigned tolerance) const {
  FTRUN_ASSERT(complete());
  Settlement settlement;
  const ReplicaId best = most_advanced();
  note_last(&settlement, tolerance);
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
    const bool planned =
        std::any_of(view_.replicas.begin(), view_.replicas.end(),
                    [this](ReplicaId member) { return positions_[member].stepped_down; });
    const bool first =
        topology == Topology::kChain || promotion == Promotion::kDesignated || planned;
    settlement.primary = first ? view_.replicas.front() : best;
  }
  const Position& primary = positions_[settlement.primary];
  if (settlement.primary_lives) {
    settlement.liar = behind(primary, positions_[best]) ? best : settlement.liar;
    settlement.end = primary.end;
    settlement.knows_input = settlement.primary;
  } else {
    settlement.end = positions_[best].end;
    settlement.ahead = positions_[best].ahead;
    settlement.points = positions_[best].points;
    settlement.donor = fed_less(primary, positions_[best]) ? best : kNoReplica;
    settlement.knows_input = best;
  }
  return settlement;
}

}  // namespace ftrun::unit
