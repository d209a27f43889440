// SPDX-License-Identifier: Apache-2.0
// Small questions to /proc about other processes. Runs in ftrun, ftctl and the supervisors.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "supervisor/base/result.h"

namespace ftrun::process {

// When process `pid` started (clock ticks since boot), or nothing if there is none. A pid with its
// start time names a process for good; a pid alone may have been given again.
std::optional<uint64_t> process_start(pid_t pid);

// Whether that very process exists and is no zombie. A `started` of 0 is not compared.
bool process_runs(pid_t pid, uint64_t started);

// Refuses a process that runs as another user than the caller: real, effective and saved user id
// must all be the caller's effective one. ESRCH if there is no such process.
Result<void> check_owner(pid_t pid);

// What a process is doing, over all its threads, at one moment.
struct ProcessLook {
  bool runnable = false;        // a thread runs or waits for a CPU
  bool waits_for_disk = false;  // a thread waits in the kernel and cannot be interrupted
  bool stopped = false;         // a thread is, by a signal or a debugger
};
ProcessLook look_at_process(pid_t pid);

// CPU time that the process has used, all threads, in ns; 0 if there is no such process.
uint64_t process_cpu_ns(pid_t pid);

}  // namespace ftrun::process
