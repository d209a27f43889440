// SPDX-License-Identifier: Apache-2.0
// Start-up of the shim, the SIGSYS handler, and what both leave to others. Runs in the application.
#pragma once

#include "preload/thread.h"

namespace ftrun::shim {

// Tells the kernel where this thread's SIGSYS and faults are handled.
void install_alternate_stack(Thread* thread);
// From now on this thread's system calls trap, except in the gate. The kernel undoes it in a new
// thread and at an exec. REQUIRES: install_alternate_stack().
void arm_dispatch();
// Continues at `context`, through the SIGSYS handler (which alone can set all registers).
[[noreturn]] void resume_context(SavedContext* context);
// A line for the unit's events.
void shim_notice(const char* text);
// ", called from OBJECT at ADDRESS" for the call being handled; valid until the next use.
// caller.cc. REQUIRES: a trapped call, not one through the PLT stubs (none of theirs is denied).
const char* describe_caller();

// Steps of the start that live in other files.
void doors_start();  // doors.cc

}  // namespace ftrun::shim
