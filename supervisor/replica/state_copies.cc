// SPDX-License-Identifier: Apache-2.0
// A replica's copies of the state directories: see state_copies.h. Supervisor only.
#include "supervisor/replica/state_copies.h"

#include "supervisor/process/state_dirs.h"

namespace ftrun {

Result<void> StateCopies::make(process::LaunchPlan* plan, Control* control) {
  FTRUN_TRY(process::announce(directories_, control));
  Result<std::vector<process::Mount>> mounts =
      process::make_copies(directories_, unit_, replica_, 1);
  if (!mounts.ok()) {
    return mounts.error();
  }
  plan->mounts = std::move(*mounts);
  return {};
}

std::string StateCopies::mark(uint64_t epoch, uint64_t lsn) {
  if (none()) {
    return "";
  }
  const Result<void> marked = process::update_markers(directories_, unit_, replica_, epoch, lsn);
  const std::string trouble = marked.ok() ? "" : marked.error().message;
  const bool is_new = trouble != trouble_;
  trouble_ = trouble;
  return is_new ? trouble : "";
}

Result<void> StateCopies::adopt() const {
  return process::adopt_copies(directories_, unit_, replica_);
}

}  // namespace ftrun
