// SPDX-License-Identifier: Apache-2.0
// Views: see view.h. Pure.
#include "supervisor/unit/view.h"

#include <fmt/format.h>

namespace ftrun::unit {

std::string describe(const View& view) {
  std::string text = fmt::format("epoch {}:", view.epoch);
  for (const ReplicaId replica : view.replicas) {
    text += fmt::format(" {}{}", static_cast<char>('a' + replica),
                        replica == view.sender ? " (sender)" : "");
  }
  return text;
}

View without(const View& view, const std::vector<ReplicaId>& members, ReplicaId primary) {
  View next = view;
  ++next.epoch;
  std::erase_if(next.replicas, [&members](ReplicaId replica) {
    return std::find(members.begin(), members.end(), replica) != members.end();
  });
  if (!next.replicas.empty() && !contains(next, next.sender)) {
    next.sender = next.replicas.back();  // the chain's new tail
    if (next.sender == primary && next.replicas.size() > 1) {
      next.sender = next.replicas[next.replicas.size() - 2];
    }
  }
  return next;
}

View led_by(View view, ReplicaId primary, ReplicaId old) {
  const auto at = std::find(view.replicas.begin(), view.replicas.end(), primary);
  if (at != view.replicas.end()) {
    std::rotate(view.replicas.begin(), at, at + 1);
    view.sender = view.sender == primary ? old : view.sender;
  }
  return view;
}

}  // namespace ftrun::unit
