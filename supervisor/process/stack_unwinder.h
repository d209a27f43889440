// SPDX-License-Identifier: Apache-2.0
// The body of the process that reads another one's call stacks (call_stacks.h).
#pragma once

#include <sys/types.h>

namespace ftrun::process {

// Writes the call stacks of `process` to `output` and exits. Keeps no other descriptor: it is a
// copy of a supervisor, whose client sockets must not live on in here. Ends by itself within half a
// second, whatever happens.
[[noreturn]] void run_stack_unwinder(pid_t process, int output);

}  // namespace ftrun::process
