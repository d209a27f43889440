// SPDX-License-Identifier: Apache-2.0
// Of a unit's events, those that whoever started it must hear of without asking: each once, the
// first of each kind of refusal, and no flood. Runs in ftrun.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ftrun::cli {

// So many lines; the rest is in `ftctl events`.
inline constexpr size_t kEventsSaidMax = 100;

// Chooses and words. Pure.
class EventTeller {
 public:
  // What is to be said of one line of events.jsonl; empty: nothing.
  std::string tell(std::string_view line);

 private:
  std::set<std::string> said_;
};

// What makes two refusals of one kind: the call, without what it was called with.
std::string kind_of_notice(std::string_view text);

class EventFollower {
 public:
  explicit EventFollower(std::string path) : path_(std::move(path)) {}
  // What is to be said of the events since the last call.
  std::vector<std::string> next();

 private:
  std::string path_;
  uint64_t position_ = 0;
  EventTeller teller_;
};

}  // namespace ftrun::cli
