// SPDX-License-Identifier: Apache-2.0
// Small questions to /proc about other processes. Runs in ftrun, ftctl and the supervisors.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace ftrun::process {

// When process `pid` started (clock ticks since boot), or nothing if there is none. A pid with its
// start time names a process for good; a pid alone may have been given again.
std::optional<uint64_t> process_start(pid_t pid);

// Whether that very process exists and is no zombie. A `started` of 0 is not compared.
bool process_runs(pid_t pid, uint64_t started);

}  // namespace ftrun::process
