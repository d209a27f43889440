// SPDX-License-Identifier: Apache-2.0
// The x87, SSE and further vector registers in a signal frame, as XSAVE writes them (Intel SDM
// volume 1, chapter 13; struct _fpstate and _fpx_sw_bytes in asm/sigcontext.h).
// Runs in the application on the shim's stack; no libc.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

namespace ftrun::shim {

void vector_state_init();

// `state`: what the kernel has written beside the frame of the shim's own handler.
size_t vector_state_bytes(const fpregset_t state);
// Sets what the kernel or the processor leaves to chance (unused bytes, gaps, which registers are
// in their initial state) to one value.
void vector_state_settle(fpregset_t state);
// The state in which a handler starts.
void vector_state_reset(fpregset_t state);
// As after a function call that touched none of its own: the first 128 bits of each register are 0.
void vector_state_clear_registers(fpregset_t state);
// Takes the state from a frame of the application's; null: the initial one. False: it cannot be
// read.
bool vector_state_take(fpregset_t state, const void* application);

}  // namespace ftrun::shim
