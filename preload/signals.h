// SPDX-License-Identifier: Apache-2.0
// Signals, all virtual: the kernel's are blocked in every thread, dispositions and masks are kept
// here, and handlers run only at the end of intercepted calls, so they run at the same place in
// every replica. Synchronous faults are real and go to the application's handler at once
// (handlers.h). Runs in the application on the shim's stack; no libc.
#pragma once

#include "preload/thread.h"

namespace ftrun::shim {

// The kernel's struct sigaction, which is not libc's.
struct KernelAction {
  uint64_t handler;
  unsigned long flags;
  void (*restorer)();
  SignalSet mask;
};
inline constexpr uint64_t kDefaultAction = 0;  // SIG_DFL
inline constexpr uint64_t kIgnoreAction = 1;   // SIG_IGN
inline constexpr SignalSet kUnblockable = signal_bit(SIGKILL) | signal_bit(SIGSTOP);

void signals_init();  // everything but faults is blocked in the kernel, for good
// What the application has set for a signal.
KernelAction* signal_action(int number);
// A handler of the shim's own, in the kernel: runs on the alternate stack with nothing blocked.
void install_shim_handler(int number, void (*handler)(int, siginfo_t*, void*));

// An operator's signal, as an arrival.
void signals_arrived(int number);
// A signal for the process or for one thread, from the application itself (or a timer). False: what
// came with it was lost, since the queue is full (pending.h).
bool signals_send(Thread* thread_or_null, int number, const siginfo_t* info);
// Whether a handler (or a default action) is due for this thread.
bool signals_deliverable(const Thread* thread);
// End of an intercepted call: decides whether a handler runs now (Thread::deliver), carries out
// default actions, and turns kErrRestart into a restart or -EINTR. Returns the call's result.
// `*restart` = true: run the call again after the handler (or at once).
long signals_finish_call(Thread* thread, long result, bool* restart);
// The lowest signal that is due for this thread and has a handler, or 0. Default actions of those
// before it are carried out.
int signals_next_handler(Thread* thread);

// The interval timer (alarm.cc).
int64_t signals_next_timer_ns();
void signals_expire_timers(int64_t now_ns);

// System calls. Pointers are the application's, but for those to siginfo_t that is sent.
long call_sigaction(int number, const void* action, void* old_action, size_t set_size);
long call_sigprocmask(int how, const SignalSet* set, SignalSet* old_set);
long call_sigpending(SignalSet* set);
long call_sigsuspend(SignalSet set);
long call_sigtimedwait(const SignalSet* set, siginfo_t* info, const struct timespec* timeout);
long call_kill(int pid, int number, const siginfo_t* info);
long call_tkill(int tgid, int tid, int number, const siginfo_t* info);
long call_setitimer(int which, const void* value, void* old_value);
long call_getitimer(int which, void* value);
long call_alarm(unsigned seconds);
// p-calls (ppoll, pselect6, epoll_pwait): the mask for the duration of this call.
void signals_temporary_mask(SignalSet set);

}  // namespace ftrun::shim
