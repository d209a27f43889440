// SPDX-License-Identifier: Apache-2.0
// Names of situations and events, and the list of known transitions: see coverage.h. Test program
// only.
#include "tests/simulation/coverage.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

namespace ftrun::sim {

namespace {

enum Stage : uint8_t { kSteady, kSuspects, kUnsettled, kSettled, kAppLost, kExcluded, kFinished };
constexpr std::array<std::string_view, 7> kStages = {"steady",   "suspects", "unsettled", "settled",
                                                     "app lost", "excluded", "finished"};
enum Part : uint8_t { kAlone, kPrimary, kSender, kBoth, kNeither };
constexpr std::array<std::string_view, 5> kParts = {"alone", "primary", "sender",
                                                    "primary and sender", "neither"};
constexpr std::array<std::string_view, kEvents> kEventNames = {
    "output",       "mark",       "turns",
    "part",         "waits",      "primary's part",
    "app exited",   "app failed", "primary's turns",
    "open",         "data",       "fin",
    "reset",        "sent",       "closed",
    "bound",        "adopted",    "frame",
    "suspicion",    "heard",      "view",
    "gone",         "tick",       "quarantine over",
    "signal",       "hand-over",  "hand-over of primary",
    "stepped down", "flush"};
constexpr std::array<std::string_view, unit::kFrameKindMax + 1> kFrameNames = {"",
                                                                               "frame hello",
                                                                               "frame heartbeat",
                                                                               "frame turns",
                                                                               "frame input",
                                                                               "frame closed",
                                                                               "frame app failed",
                                                                               "frame held",
                                                                               "frame exited",
                                                                               "frame signal",
                                                                               "frame position",
                                                                               "frame referred",
                                                                               "frame part",
                                                                               "frame wanted"};

Stage stage(const unit::Status& status) {
  switch (status.state) {
    case unit::State::kRunning:
      return status.suspects ? kSuspects : kSteady;
    case unit::State::kTakingOver:
      return status.primary_id == unit::kNoReplica ? kUnsettled : kSettled;
    case unit::State::kAppFailed:
      return kAppLost;
    case unit::State::kExcluded:
      return kExcluded;
    case unit::State::kFinished:
      return kFinished;
  }
  return kFinished;
}

size_t number(Situation situation) {
  return (situation.stage * kParts.size() + situation.part) * 2 + (situation.live ? 1 : 0);
}

std::string text(size_t number) {
  return fmt::format("{}, {}{}", kStages[number / 2 / kParts.size()],
                     kParts[number / 2 % kParts.size()], number % 2 == 1 ? ", live" : "");
}

}  // namespace

Situation situation(const unit::Status& status, unit::ReplicaId self) {
  const bool sender = status.view.sender == self;
  const Part part = status.view.replicas.size() == 1 ? kAlone
                    : status.primary && sender       ? kBoth
                    : status.primary                 ? kPrimary
                    : sender                         ? kSender
                                                     : kNeither;
  return {stage(status), part, status.live};
}

void Coverage::add(Situation before, Event event, unit::FrameKind frame, Situation after) {
  const size_t happening =
      event == Event::kFrame ? kEvents + static_cast<size_t>(frame) : static_cast<size_t>(event);
  seen_[(number(before) * kHappenings + happening) * kSituations + number(after)] = true;
}

std::set<std::string> Coverage::lines() const {
  std::set<std::string> lines;
  for (size_t i = 0; i < seen_.size(); ++i) {
    if (seen_[i]) {
      const size_t happening = i / kSituations % kHappenings;
      lines.insert(fmt::format(
          "{}: {} -> {}", text(i / kSituations / kHappenings),
          happening < kEvents ? kEventNames[happening] : kFrameNames[happening - kEvents],
          text(i % kSituations)));
    }
  }
  return lines;
}

size_t Coverage::covered(const std::set<std::string>& known) const {
  const std::set<std::string> seen = lines();
  return static_cast<size_t>(std::count_if(
      seen.begin(), seen.end(), [&](const std::string& line) { return known.contains(line); }));
}

std::string Coverage::summary(const std::set<std::string>& known) const {
  const size_t common = covered(known);
  const auto seen = static_cast<size_t>(std::count(seen_.begin(), seen_.end(), true));
  return fmt::format("{} of {} known transitions ({:.1f} %), {} others", common, known.size(),
                     100 * static_cast<double>(common) / static_cast<double>(known.size()),
                     seen - common);
}

std::set<std::string> known_transitions() {
  std::ifstream file(FTRUN_TRANSITIONS);
  std::set<std::string> lines;
  std::string line;
  while (std::getline(file, line)) {
    if (!line.empty() && line.front() != '#') {
      lines.insert(line);
    }
  }
  return lines;
}

}  // namespace ftrun::sim
