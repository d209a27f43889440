// SPDX-License-Identifier: Apache-2.0
// Who is in the unit. A view is changed only by publishing the next epoch (supervisor/arbiter).
// Runs in the supervisor, inside the unit core; pure values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace ftrun::unit {

using ReplicaId = uint8_t;  // 0 is printed as "a"
inline constexpr ReplicaId kNoReplica = 255;
inline constexpr size_t kMembersMax = 9;

struct View {
  uint64_t epoch = 0;
  std::vector<ReplicaId> replicas;  // ordered; the first is the primary of a chain
  ReplicaId sender = kNoReplica;
  bool operator==(const View&) const = default;
};

inline bool contains(const View& view, ReplicaId replica) {
  return std::find(view.replicas.begin(), view.replicas.end(), replica) != view.replicas.end();
}

// For events: "epoch 2: a c (sender)".
std::string describe(const View& view);

// `view` without these members, in the next epoch. A dead sender's place takes the last one left,
// the primary only if nobody else is.
View without(const View& view, const std::vector<ReplicaId>& members, ReplicaId primary);

// `view` with this member first, if it has it. The sender's part goes to `old`, the primary so far,
// if it was the new one's: the primary's output is what others replay.
View led_by(View view, ReplicaId primary, ReplicaId old);

}  // namespace ftrun::unit
