// SPDX-License-Identifier: Apache-2.0
// Threads and the token. Exactly one application thread runs at a time: it holds the token. The
// token changes hands only inside intercepted calls, first come first served, so the order is a
// function of arrivals alone; every hand-over is logged all the same and checked by secondaries.
// Runs in the application on the shim's stack; no libc.
#pragma once

#include "eventlog/shared_region.h"
#include "preload/thread.h"

namespace ftrun::shim {

// The thread that runs main(), at start. Returns it; it holds the token.
Thread* scheduler_init();

// Tells the supervisor's tools where the thread table is.
void scheduler_publish(Control* control);

// Gives other runnable threads a turn, if there are any.
void scheduler_yield();
// Makes threads runnable whose deadlines have passed.
void scheduler_expire(int64_t now_ns);
// A waiting thread becomes runnable with this result.
void scheduler_wake_thread(Thread* thread, int result);
// A waiting thread waits in `queue` from now on, behind those who are there.
void scheduler_move_waiter(Thread* thread, WaitQueue* queue);
uint32_t thread_count();
// The thread with this index in the table of live threads, or nullptr; indices < thread_slots().
Thread* thread_at(uint32_t slot);
uint32_t thread_slots();
Thread* thread_by_tid(int tid);

// futex.cc: futex(2), all of it virtual.
long futex_call(const long* a);
// Wakes threads that wait on `word`, oldest first.
void futex_wake_address(uint32_t* word, int count);
// At a thread's end: its robust mutexes go to those who wait for them (robust.cc).
void robust_exit(const Thread* thread);

// Called in the SIGSYS handler for clone() with CLONE_THREAD: arranges that the thread continues in
// the gate. Returns 0, or -errno if this clone is refused.
long clone_call(const long* a, greg_t* registers);
// exit(2): the calling thread ends. Does not return.
[[noreturn]] void thread_exit(int status);

}  // namespace ftrun::shim
