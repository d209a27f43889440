// SPDX-License-Identifier: Apache-2.0
// Routes: see routes.h. Pure.
#include "supervisor/unit/routes.h"

namespace ftrun::unit {

std::vector<ReplicaId> Routes::order() const {
  std::vector<ReplicaId> order{primary};
  for (const ReplicaId replica : view.replicas) {
    if (replica != primary && replica != view.sender) {
      order.push_back(replica);
    }
  }
  if (view.sender != primary) {
    order.push_back(view.sender);
  }
  return order;
}

ReplicaId Routes::followed_by(ReplicaId member) const {
  if (member == primary) {
    return kNoReplica;
  }
  if (topology == Topology::kFanout) {
    return primary;
  }
  const std::vector<ReplicaId> all = order();
  const auto at = std::find(all.begin(), all.end(), member);
  return at == all.begin() || at == all.end() ? kNoReplica : *(at - 1);
}

std::vector<ReplicaId> Routes::fed_by(ReplicaId member) const {
  std::vector<ReplicaId> fed;
  for (const ReplicaId replica : view.replicas) {
    if (replica != member && followed_by(replica) == member) {
      fed.push_back(replica);
    }
  }
  return fed;
}

ReplicaId Routes::standby() const {
  if (topology == Topology::kChain) {
    return kNoReplica;
  }
  const View next = without(view, {view.sender}, primary);
  return next.replicas.empty() || next.sender == primary ? kNoReplica : next.sender;
}

bool Routes::sender_knows_all() const {
  return view.sender != primary && (topology == Topology::kChain || view.replicas.size() <= 2);
}

}  // namespace ftrun::unit
