// SPDX-License-Identifier: Apache-2.0
// Words for what went wrong at a launch: which step, on what, and what the operator can do about
// it. Runs in the supervisor.
#pragma once

#include "supervisor/process/init.h"
#include "supervisor/process/launch.h"

namespace ftrun::process {

// The error for a kFailed message of the init.
Error launch_error(const LaunchPlan& plan, const InitMessage& message);
// The error for a clone3 that was refused, with or without CLONE_NEWUSER.
Error namespace_error(int number, bool with_user_namespace);

}  // namespace ftrun::process
