// SPDX-License-Identifier: Apache-2.0
// Signals that were sent and not yet taken, for the process and for each thread, as the kernel
// keeps them: an ordinary signal once, with what came first; a real-time signal as often as it was
// sent, in order. Runs in the application with the token held; no libc.
#pragma once

#include "preload/thread.h"

namespace ftrun::shim {

// Real-time signals that wait, in the whole process (the kernel's limit is RLIMIT_SIGPENDING).
inline constexpr uint32_t kQueuedSignalsMax = 4096;

// The signals that wait for `thread` or for the process.
extern SignalSet process_pending;
inline SignalSet pending_for(const Thread* thread) {
  return thread->pending | process_pending;
}
// `thread` null: for the process. False: a real-time signal found the queue full; its number waits,
// what came with it is lost (sigqueue reports it, kill does not: signal(7)).
bool pending_add(Thread* thread, int number, const siginfo_t& info);
// REQUIRES: `number` waits for `thread` or for the process. The thread's own first.
siginfo_t pending_take(Thread* thread, int number);
// Everything of `thread`, at its end.
void pending_forget(Thread* thread);
// Of the process, because the signal is ignored from now on.
void pending_discard(int number);

}  // namespace ftrun::shim
