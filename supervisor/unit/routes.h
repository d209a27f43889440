// SPDX-License-Identifier: Apache-2.0
// Routes: whom a member follows, whom it feeds, and who has to say what it holds, as pure functions
// of (view, primary, topology). The only place that knows chain from fan-out. Runs in the unit
// core.
//
//   chain     primary → secondary → … → sender: each passes on what it has; so the last one holds
//             nothing that the others lack (claims 5 to 8)
//   fan-out   primary → every secondary (claims 9, 10)
#pragma once

#include <cstdint>
#include <vector>

#include "supervisor/unit/view.h"

namespace ftrun::unit {

enum class Topology : uint8_t { kChain, kFanout };
// Who is promoted: the most advanced secondary (claim 11), or the first of the view, which the
// others bring up to the most advanced one's state first (claim 12).
enum class Promotion : uint8_t { kMostAdvanced, kDesignated };

struct Routes {
  View view;
  ReplicaId primary = kNoReplica;
  Topology topology = Topology::kChain;

  // The primary first, the sender last.
  std::vector<ReplicaId> order() const;
  // Whose turns `member` takes; kNoReplica for the primary.
  ReplicaId followed_by(ReplicaId member) const;
  // Who takes the turns of `member`.
  std::vector<ReplicaId> fed_by(ReplicaId member) const;
  // Who follows the sender, should it die; kNoReplica: the primary, or nobody.
  ReplicaId standby() const;
  // The sender's own receipt of a turn tells that all members hold it.
  bool sender_knows_all() const;
};

}  // namespace ftrun::unit
