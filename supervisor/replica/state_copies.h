// SPDX-License-Identifier: Apache-2.0
// One replica's copies of the state directories (process/state_dirs.h), from their making to the
// unit's end. Runs in the supervisor's event loop.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "supervisor/base/result.h"
#include "supervisor/process/launch.h"

namespace ftrun {

class StateCopies {
 public:
  // `directories`: canonical; none: nothing is done at all.
  StateCopies(std::vector<std::string> directories, std::string unit, std::string replica)
      : directories_(std::move(directories)),
        unit_(std::move(unit)),
        replica_(std::move(replica)) {}
  bool none() const { return directories_.empty(); }
  // Before the application starts.
  Result<void> make(process::LaunchPlan* plan, Control* control);
  // What each copy holds, for whoever has to choose one after a power cut. A trouble is returned
  // once, until it is another one.
  std::string mark(uint64_t epoch, uint64_t lsn);
  // After a clean end the sender's copies become the originals and all others go.
  Result<void> adopt() const;

 private:
  const std::vector<std::string> directories_;
  const std::string unit_, replica_;
  std::string trouble_;  // told once
};

}  // namespace ftrun
