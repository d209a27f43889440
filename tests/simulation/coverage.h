// SPDX-License-Identifier: Apache-2.0
// Which transitions of the unit core a simulation has gone through: in which situation a core was,
// what happened to it, and in which it was then. Situations are what an operator would see
// (unit::Status), coarse enough that all of them can be listed: transitions.txt beside this file
// has those that a million runs have found. Test program only.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/unit/core.h"

namespace ftrun::sim {

enum class Event : uint8_t {
  kAppOutput,
  kAppMark,
  kAppTurns,
  kAppPart,
  kAppWaits,
  kPrimaryPart,
  kAppExited,
  kAppFailed,
  kPrimaryTurns,
  kEdgeOpen,
  kEdgeData,
  kEdgeFin,
  kEdgeReset,
  kEdgeSent,
  kEdgeClosed,
  kEdgeBound,
  kEdgeAdopted,
  kFrame,
  kReplicaSuspected,
  kReplicaHeard,
  kView,
  kMemberGone,
  kTick,
  kQuarantineOver,
  kSignal,
  kHandOver,
  kHandOverPrimary,
  kSteppedDown,
  kFlush,
};
inline constexpr uint8_t kEvents = static_cast<uint8_t>(Event::kFlush) + 1;

// What a core is in the midst of, and its part in the unit. One number each; see text().
struct Situation {
  uint8_t stage = 0;
  uint8_t part = 0;
  bool live = false;
};
Situation situation(const unit::Status& status, unit::ReplicaId self);

class Coverage {
 public:
  Coverage() : seen_(kSituations * kHappenings * kSituations) {}
  // `frame`: its kind, where the event is one.
  void add(Situation before, Event event, unit::FrameKind frame, Situation after);
  // Each "stage, part, live: event -> stage, part, live".
  std::set<std::string> lines() const;
  size_t covered(const std::set<std::string>& known) const;
  // "1205 of 1300 known transitions (92.7 %), 3 others".
  std::string summary(const std::set<std::string>& known) const;

 private:
  static constexpr size_t kSituations = 70;
  static constexpr size_t kHappenings = kEvents + unit::kFrameKindMax + 1;

  std::vector<bool> seen_;
};

// The lines of transitions.txt; without those that begin with '#'.
std::set<std::string> known_transitions();

}  // namespace ftrun::sim
