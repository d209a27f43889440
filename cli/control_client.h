// SPDX-License-Identifier: Apache-2.0
// Talks to the supervisors of a unit through their control sockets (supervisor/operator/control.h):
// one JSON line, one JSON line back. Runs in the tools; every wait has a bound, since a supervisor
// may be stopped.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "supervisor/base/result.h"
#include "supervisor/operator/control_request.h"

namespace ftrun::cli {

inline constexpr int kControlTimeoutMs = 1'000;

// Sends `request` to the supervisor whose socket is `path` and returns its answer.
Result<nlohmann::json> ask(const std::string& path, const ControlRequest& request,
                           int timeout_ms = kControlTimeoutMs);

// Gives every supervisor of the unit the signal `number`, under one sequence number: `sequence`, or
// if that is 0 one that the first supervisor gives. Ok when at least one has taken it; `unreached`
// gets a line for each of the others.
Result<void> send_signal(const std::string& run_dir, int number, uint32_t sequence,
                         std::vector<std::string>* unreached);

}  // namespace ftrun::cli
