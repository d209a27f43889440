// SPDX-License-Identifier: Apache-2.0
// `ftrun check`: runs a server by itself under the shim while the operator puts it under load, and
// watches what would stand in the way of replicas. Runs in ftrun, beside its foreground loop.
#pragma once

#include <memory>
#include <string>

#include "cli/check_report.h"
#include "cli/foreground.h"
#include "cli/options.h"
#include "cli/spin_watch.h"
#include "cli/unit_status.h"
#include "supervisor/process/call_stacks.h"

namespace ftrun::cli {

class Check {
 public:
  Check(const RunOptions& options, std::string run_dir);
  // To be called often (Foreground::every_round): looks at the application, and ends the run when
  // its time is over: SIGTERM, and SIGKILL to a server that does not heed it.
  void look();
  // After the run: `asked_by` is the signal that the operator ended it with, or 0.
  CheckReport finish(int asked_by);

 private:
  void watch(const ReplicaStatus& replica, int64_t now_ns);
  void watch_time(int64_t now_ns);
  void scan_objects();

  const std::string run_dir_;
  const int64_t for_ns_;  // 0: until the server ends
  CheckFindings findings_;
  SpinWatch spins_;
  process::StackReader stacks_;
  bool stacks_wanted_ = false;
  pid_t application_ = 0;
  int64_t started_ns_ = 0;  // first seen alive
  int64_t last_ns_ = 0;
  int64_t looked_for_objects_ns_ = 0;
  int64_t stopped_ns_ = 0;  // asked to end
  std::vector<std::string> paths_;
};

}  // namespace ftrun::cli
