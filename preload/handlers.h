// SPDX-License-Identifier: Apache-2.0
// How handlers of the application start and end: as the kernel does it (arch/x86/kernel/signal.c,
// get_sigframe and x64_setup_rt_frame of Linux 6), on the application's own stacks, with the frame
// that unwinders and handlers know. The shim's own handlers run on the shim's alternate stack and
// only prepare this; their return enters the application's handler, and the rt_sigreturn by which
// that ends traps and comes back here.
// Runs in the application, on the shim's alternate stack with the token held; no libc.
//
// Everything in a frame is equal in all replicas: what the kernel leaves to chance in its own (gaps
// and unused parts of the vector state, numbers of earlier faults) is set to one value here.
#pragma once

#include "preload/thread.h"

namespace ftrun::shim {

void handlers_init();  // handlers of faults; REQUIRES: signals_init()

// Starts the handler that is due (Thread::deliver) and those that are due with it: `context`, which
// is where the application goes on, becomes the start of the last one. Ends the process by SIGSEGV
// if the frame cannot be written, as the kernel does.
void handlers_start(Thread* thread, ucontext_t* context);
// rt_sigreturn at `context`: it becomes what the frame says, whatever the handler has changed
// there.
void handlers_return(Thread* thread, ucontext_t* context);

// REQUIRES: Thread::caller_stack is the application's. 0 or -errno.
long set_alternate_stack(Thread* thread, const stack_t& wanted);
long call_sigaltstack(const stack_t* stack, stack_t* old_stack);

}  // namespace ftrun::shim
