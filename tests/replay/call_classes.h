// SPDX-License-Identifier: Apache-2.0
// Holds a log against the classes of preload/table.def: a call whose class says that it has no
// choices must have none. Runs in ftrun-record-replay.
#pragma once

#include <stdint.h>

#include <set>
#include <span>
#include <string>
#include <vector>

namespace ftrun::replay {

class CallClasses {
 public:
  // Whole turns, in order.
  void look_at(std::span<const uint8_t> turns);
  // Names of calls that have choices in the log against their class.
  std::vector<std::string> wrong() const;

 private:
  std::set<long> numbers_;
};

}  // namespace ftrun::replay
