// SPDX-License-Identifier: Apache-2.0
// What ftctl can do with one unit. Each prints to stdout and returns the exit code, or an Error
// when there is no such unit.
#pragma once

#include <string>

#include "supervisor/base/result.h"

namespace ftrun::cli {

Result<int> show_status(const std::string& run_dir, bool json);
// With `follow`: until the unit has ended.
Result<int> show_events(const std::string& run_dir, bool follow);
// What the sender's spool still holds (of a dead unit: the last sender's).
Result<int> show_logs(const std::string& run_dir);
// The reports of the last failure that left any, or of all. 1 when there is none.
Result<int> show_reports(const std::string& run_dir, bool all);
// 0, or 1 when the unit has not ended within `wait_ms` (0: does not wait).
Result<int> stop_unit(const std::string& run_dir, int wait_ms);
// Hands `role` ("sender") to replica `to` and waits until it has it; 1 if that is refused, with the
// reason, or takes too long.
Result<int> switch_over(const std::string& run_dir, const std::string& role, const std::string& to);

}  // namespace ftrun::cli
