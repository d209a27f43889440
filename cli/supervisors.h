// SPDX-License-Identifier: Apache-2.0
// Starting the supervisors of a unit and knowing when they end. Runs in ftrun, which is only their
// parent: they are sessions of their own and live on when it is killed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "supervisor/base/result.h"
#include "supervisor/members/founding.h"
#include "supervisor/process/launch.h"

namespace ftrun::cli {

struct Supervisor {
  std::string id;
  pid_t pid = -1;
  process::Descriptor pidfd;
  std::optional<int> wait_status;  // once it has ended
};

// ftrun-supervisor beside this executable (a build tree) or in ../lib/ftrun (installed).
Result<std::string> find_supervisor();

// REQUIRES: one thread. What the supervisor writes goes to sup.<id>.log in the run directory.
Result<Supervisor> start_supervisor(const std::string& path, const RunOptions& options,
                                    const std::string& run_dir, const std::string& id,
                                    const Founding& founding);

// The arguments that start_supervisor passes, but for those of the founding.
std::vector<std::string> supervisor_arguments(const std::string& path, const RunOptions& options,
                                              const std::string& run_dir, const std::string& id);

// Collects its end if it has ended. Never waits.
void poll_supervisor(Supervisor* supervisor);

// Ends a supervisor that is still starting: SIGKILL, and what it had started goes with it.
void kill_supervisor(Supervisor* supervisor);

// The last lines of sup.<id>.log.
std::string supervisor_log_tail(const std::string& run_dir, const std::string& id);

}  // namespace ftrun::cli
