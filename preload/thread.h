// SPDX-License-Identifier: Apache-2.0
// One application thread as the shim sees it. Lives in the arena; written only by the token's
// holder (the park word excepted). Runs in the application; no libc.
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include <atomic>

#include "preload/env.h"
#include "preload/layout.h"

namespace ftrun::shim {

// Registers with which a thread goes on in the application.
struct SavedContext {
  gregset_t registers;
};

// A call that came through the PLT and at whose end a handler is due.
struct FinishedCall {
  long number;
  long arguments[6];
  long result;
};

inline constexpr int kSignals = 64;
using SignalSet = uint64_t;  // bit n - 1 is signal n, as the kernel has it
inline constexpr SignalSet signal_bit(int number) {
  return SignalSet{1} << (number - 1);
}

// A clock of CPU time: what it has shown last, and by how much it is ahead of this replica's
// kernel.
struct CpuClock {
  int64_t shown_ns;
  int64_t ahead_ns;
};

enum class ThreadState : uint8_t { kFree, kRunning, kRunnable, kWaiting, kExited };

struct Thread {
  uint8_t* stack_top;     // FTRUN_THREAD_STACK
  uint32_t deliver;       // FTRUN_THREAD_DELIVER: the signal whose handler runs after this call
  uint32_t restart_call;  // the call starts over after the handler
  // FTRUN_THREAD_CALLER_STACK: the application's stack pointer at the current call; below it
  // nothing is alive.
  uint64_t caller_stack;
  uint32_t index;  // in order of creation, from 0; the name in switch records
  int32_t tid;
  int32_t leaving;  // 1 until the kernel is done with an exited thread, which clears it
  ThreadState state;
  uint8_t* alternate_stack;  // for SIGSYS and faults

  uint64_t caller_address;   // after the system call instruction of the trapped call
  uint64_t calls;            // the call counter
  uint64_t calls_at_record;  // its value at this thread's last record
  uint32_t last_connection;  // from which it read last; 0: none yet
  uint64_t last_read_turn;   // in which it did so (preload/dying.cc)

  // Scheduling.
  std::atomic<uint32_t> token;  // futex: 1 = this thread may run
  Thread* next_in_queue;        // run queue or wait queue
  WaitQueue* waiting_on;
  int64_t deadline_ns;  // kNoDeadline if none
  Thread* next_timed;
  int wait_result;
  // Futex wait: what wakes it.
  uint64_t futex_address;
  uint32_t futex_bits;

  // Signals.
  SignalSet mask;
  SignalSet pending;
  SignalSet mask_to_restore;  // of sigsuspend and p*-calls
  bool restore_mask;
  SignalSet waited_signals;  // rt_sigtimedwait
  siginfo_t pending_info[kSignals];

  uint32_t cpu;  // on which it runs as far as it can see
  CpuClock cpu_clock;

  // At exit.
  int32_t* clear_child_tid;
  void* robust_list;
  SavedContext clone_context;  // where a clone continues, for parent and child
  stack_t application_alternate_stack;
  FinishedCall finished_call;
};
static_assert(offsetof(Thread, stack_top) == FTRUN_THREAD_STACK);
static_assert(offsetof(Thread, deliver) == FTRUN_THREAD_DELIVER);
static_assert(offsetof(Thread, caller_stack) == FTRUN_THREAD_CALLER_STACK);

extern "C"
    __attribute__((visibility("hidden"), tls_model("initial-exec"))) __thread Thread* ftrun_self;
extern "C" __attribute__((visibility("hidden"))) Thread* ftrun_clone_child;

inline Thread* self() {
  return ftrun_self;
}

}  // namespace ftrun::shim
