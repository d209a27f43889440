// SPDX-License-Identifier: Apache-2.0
// See dying.h. Runs in the application, by the token's holder; no libc.
//
// A primary that has crashed is still running code: handlers print stacks, flush logs, wait. While
// they do, no turn may end, for a turn's end ships what the crash was caused by. Whoever needs one
// (waiting, a clean exit) dies instead, by the signal that it crashed with.
#include "preload/dying.h"

#include <signal.h>

#include "preload/doors.h"
#include "preload/raw.h"
#include "preload/thread.h"

namespace ftrun::shim {
namespace {

struct Dying {
  int signal = 0;  // 0: nobody is dying
  const Thread* thread = nullptr;
  uint64_t stack = 0;  // the handler's frames are below, within `stack_bytes`
  uint64_t stack_bytes = 0;
  uint64_t turn = 1;  // counts turns; 0 is before the first
};
Dying dying;

// A handler that is left by a jump (setjmp) does not return; the next call from above its frames
// tells. Other threads run meanwhile only if the handler waits, and a dying one must not wait.
bool in_handler() {
  const Thread* thread = self();
  return thread != dying.thread || dying.stack - thread->caller_stack < dying.stack_bytes;
}

}  // namespace

void note_turn_end() {
  dying.turn++;
}

void note_read(uint32_t connection) {
  self()->last_connection = connection;
  self()->last_read_turn = dying.turn;
}

void dying_begin(int signal, uint64_t handler_stack, uint64_t stack_bytes) {
  const Thread* thread = self();
  if (!is_crash_signal(signal) || thread == nullptr || !doors_are_live() || is_dying()) {
    return;
  }
  dying.signal = signal;
  dying.thread = thread;
  dying.stack = handler_stack;
  dying.stack_bytes = stack_bytes;
  const uint32_t suspect = thread->last_read_turn == dying.turn ? thread->last_connection : 0;
  doors_control()->crash.store(make_crash(signal, suspect), std::memory_order_release);
}

void dying_end(uint64_t handler_stack) {
  if (dying.signal != 0 && dying.stack == handler_stack) {
    dying.signal = 0;
    doors_control()->crash.store(0, std::memory_order_release);
  }
}

bool is_dying() {
  if (dying.signal != 0 && !in_handler()) {
    dying_end(dying.stack);
  }
  return dying.signal != 0;
}

void die_if_dying() {
  if (is_dying()) {
    die_of(dying.signal);
  }
}

bool leads_to_crash(long number) {
  return number == __NR_rt_sigprocmask || number == __NR_tgkill || number == __NR_tkill ||
         number == __NR_gettid || number == __NR_getpid;
}

// ORDER: the disposition, the mask, then the signal, all of this thread: nothing else can take it.
// The loop is for a kernel that still refuses (a pid namespace's first process).
void die_of(int number) {
  const uint64_t defaults[4] = {};  // the kernel's struct sigaction
  raw(__NR_rt_sigaction, number, defaults, nullptr, sizeof(SignalSet));
  const SignalSet only = signal_bit(number);
  raw(__NR_rt_sigprocmask, SIG_UNBLOCK, &only, nullptr, sizeof(SignalSet));
  raw(__NR_tgkill, raw(__NR_getpid), raw(__NR_gettid), number);
  for (;;) {
    raw(__NR_exit_group, 128 + number);
  }
}

}  // namespace ftrun::shim
