// SPDX-License-Identifier: Apache-2.0
// Every handler that the table names, declared from the table itself.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include "preload/table.h"

namespace ftrun::shim {

#define FTRUN_SYSCALL(name, call_class, handler) long handler(long number, const long* a);
#include "preload/table.def"
#undef FTRUN_SYSCALL

// files/paths.cc: what is under these directories is the unit's state (absolute, each ended by a
// newline).
void files_init(const char* state_directories);

}  // namespace ftrun::shim
