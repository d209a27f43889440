// SPDX-License-Identifier: Apache-2.0
// See signals.h. Runs in the application with the token held; faults run on the alternate stack.
#include "preload/signals.h"

#include <errno.h>

#include "preload/doors.h"
#include "preload/dying.h"
#include "preload/guarded.h"
#include "preload/pending.h"
#include "preload/raw.h"
#include "preload/scheduler.h"
#include "preload/start.h"

namespace ftrun::shim {
namespace {

// The kernel's struct sigaction, which is not libc's.
struct KernelAction {
  uint64_t handler;
  unsigned long flags;
  void (*restorer)();
  SignalSet mask;
};

constexpr uint64_t kDefault = 0;  // SIG_DFL
constexpr uint64_t kIgnore = 1;   // SIG_IGN

constexpr SignalSet kFaults = signal_bit(SIGSEGV) | signal_bit(SIGBUS) | signal_bit(SIGFPE) |
                              signal_bit(SIGILL) | signal_bit(SIGTRAP) | signal_bit(SIGSYS);
constexpr SignalSet kIgnoredByDefault =
    signal_bit(SIGCHLD) | signal_bit(SIGURG) | signal_bit(SIGWINCH) | signal_bit(SIGCONT);
constexpr SignalSet kStopsByDefault =
    signal_bit(SIGSTOP) | signal_bit(SIGTSTP) | signal_bit(SIGTTIN) | signal_bit(SIGTTOU);
// A crash is not logged: the turn it happens in dies with the replica (DESIGN section 9).
constexpr SignalSet kCrashes = kFaults | signal_bit(SIGABRT) | signal_bit(SIGQUIT);

constexpr int kAutoDisarm = static_cast<int>(1u << 31);  // SS_AUTODISARM
constexpr size_t kAlternateStackBytesMin = 2048;         // the kernel's MINSIGSTKSZ

struct Signals {
  KernelAction actions[kSignals + 1] = {};
};
Signals signals;

extern "C" __attribute__((visibility("hidden"))) void ftrun_restorer();

bool is_ignored(int number) {
  const uint64_t handler = signals.actions[number].handler;
  return handler == kIgnore ||
         (handler == kDefault && (kIgnoredByDefault & signal_bit(number)) != 0);
}

void set_kernel_action(int number, void (*handler)(int, siginfo_t*, void*)) {
  KernelAction action = {};
  action.handler = reinterpret_cast<uint64_t>(handler);
  action.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | 0x04000000 /* SA_RESTORER */;
  action.restorer = &ftrun_restorer;
  raw(__NR_rt_sigaction, number, &action, nullptr, sizeof(SignalSet));
}

[[noreturn]] void terminate_by(int number) {
  if ((kCrashes & signal_bit(number)) == 0) {
    doors_exit(128 + number);
  }
  dying_begin(number, 0);
  die_of(number);
}

// RDTSC and RDTSCP trap (PR_SET_TSC): the counter is the virtual clock in nanoseconds.
bool emulate_tsc(siginfo_t* info, greg_t* registers) {
  const auto* code = reinterpret_cast<const uint8_t*>(registers[REG_RIP]);
  if (info->si_code != SI_KERNEL || code[0] != 0x0f) {
    return false;
  }
  const bool rdtsc = code[1] == 0x31;
  const bool rdtscp = code[1] == 0x01 && code[2] == 0xf9;
  if (!rdtsc && !rdtscp) {
    return false;
  }
  doors_enter_call(self(), 0);
  const auto now = static_cast<uint64_t>(doors_clock_ns());
  registers[REG_RAX] = static_cast<greg_t>(now & 0xffffffff);
  registers[REG_RDX] = static_cast<greg_t>(now >> 32);
  if (rdtscp) {
    registers[REG_RCX] = 0;
  }
  registers[REG_RIP] += rdtsc ? 2 : 3;
  return true;
}

bool on_shim_stack(uint64_t stack_pointer) {
  return stack_pointer - FTRUN_ARENA_ADDRESS < FTRUN_ARENA_BYTES;
}

void handle_fault(int number, siginfo_t* info, void* context) {
  greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if ((number == SIGSEGV || number == SIGBUS) && info->si_code > 0 && leave_guarded(registers)) {
    return;
  }
  if (number == SIGSEGV && self() != nullptr && emulate_tsc(info, registers)) {
    return;
  }
  const KernelAction& action = signals.actions[number];
  const bool again = is_dying() && (action.flags & SA_NODEFER) == 0;
  const auto handler_stack = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  if (info->si_code > 0) {  // else another process sent it
    dying_begin(number, handler_stack);
  }
  if (action.handler == kDefault || action.handler == kIgnore || self() == nullptr || again ||
      on_shim_stack(static_cast<uint64_t>(registers[REG_RSP]))) {
    die_of(number);
  }
  const auto handler = reinterpret_cast<void (*)(int, siginfo_t*, void*)>(action.handler);
  if ((action.flags & SA_RESETHAND) != 0) {
    signals.actions[number].handler = kDefault;
  }
  handler(number, info, context);
  dying_end(handler_stack);
}

Thread* thread_for(int number) {
  const SignalSet bit = signal_bit(number);
  Thread* chosen = nullptr;
  for (uint32_t slot = 0; slot < thread_slots(); ++slot) {
    Thread* thread = thread_at(slot);
    if (thread != nullptr && (thread->mask & bit) == 0 &&
        (chosen == nullptr || thread->index < chosen->index)) {
      chosen = thread;
    }
  }
  return chosen;
}

Thread* waiter_for(int number, Thread* only) {
  for (uint32_t slot = 0; slot < thread_slots(); ++slot) {
    Thread* thread = thread_at(slot);
    if (thread != nullptr && (only == nullptr || thread == only) &&
        thread->state == ThreadState::kWaiting &&
        (thread->waited_signals & signal_bit(number)) != 0) {
      return thread;
    }
  }
  return nullptr;
}

// The lowest signal that is due for `thread`, or 0.
int next_due(const Thread* thread) {
  const SignalSet due = pending_for(thread) & ~thread->mask;
  return due == 0 ? 0 : __builtin_ctzll(due) + 1;
}

void restore_temporary_mask(Thread* thread) {
  if (thread->restore_mask) {
    thread->mask = thread->mask_to_restore;
    thread->restore_mask = false;
  }
}

// Drops the due signals that have no effect. Returns the first that has a handler, or 0.
[[gnu::noinline]] int first_handled(Thread* thread) {
  for (int number = next_due(thread); number != 0; number = next_due(thread)) {
    const uint64_t handler = signals.actions[number].handler;
    if (is_ignored(number)) {
      pending_take(thread, number);
    } else if (handler != kDefault) {
      return number;
    } else if ((kStopsByDefault & signal_bit(number)) != 0) {
      pending_take(thread, number);
      shim_notice("job control stop signals are ignored\n");
    } else {
      terminate_by(number);
    }
  }
  return 0;
}

struct HandlerStart {
  uint64_t handler;
  uint64_t number;
};

}  // namespace

void signals_init() {
  for (int number = 1; number <= kSignals; ++number) {
    // Dispositions that the program inherited (ignored ones survive exec).
    raw(__NR_rt_sigaction, number, nullptr, &signals.actions[number], sizeof(SignalSet));
    if ((kFaults & signal_bit(number)) != 0 && number != SIGSYS) {
      set_kernel_action(number, &handle_fault);
    }
  }
  const SignalSet blocked = ~kFaults;
  raw(__NR_rt_sigprocmask, SIG_SETMASK, &blocked, &self()->mask, sizeof(SignalSet));
}

void signals_arrived(int number) {
  siginfo_t info = {};
  info.si_signo = number;
  info.si_code = SI_USER;
  signals_send(nullptr, number, &info);
}

bool signals_send(Thread* thread, int number, const siginfo_t* info) {
  Thread* waiter = waiter_for(number, thread);
  if (waiter != nullptr) {
    waiter->pending_info[number - 1] = *info;
    waiter->waited_signals = 0;
    scheduler_wake_thread(waiter, number);
    return true;
  }
  Thread* target = thread != nullptr ? thread : thread_for(number);
  const bool blocked = target == nullptr || (target->mask & signal_bit(number)) != 0;
  if (!blocked && is_ignored(number)) {
    return true;
  }
  const bool kept = pending_add(thread, number, *info);
  if (!blocked) {
    scheduler_wake_thread(target, kErrRestart);
  }
  return kept;
}

bool signals_deliverable(const Thread* thread) {
  return next_due(thread) != 0;
}

long signals_finish_call(Thread* thread, long result, bool* restart) {
  const int number = next_due(thread) == 0 ? 0 : first_handled(thread);
  thread->deliver = static_cast<uint32_t>(number);
  *restart = result == kErrRestart;
  if (number == 0) {
    restore_temporary_mask(thread);
    return result;
  }
  if (result == kErrRestart) {
    *restart = (signals.actions[number].flags & SA_RESTART) != 0 && !thread->restore_mask;
    return -EINTR;
  }
  return result;
}

void raise_sigpipe() {
  siginfo_t info = {};
  info.si_signo = SIGPIPE;
  info.si_code = SI_USER;
  signals_send(self(), SIGPIPE, &info);
}

// --- system calls ---

long call_sigaction(int number, const void* action, void* old_action, size_t set_size) {
  if (number < 1 || number > kSignals || set_size != sizeof(SignalSet)) {
    return -EINVAL;
  }
  if (action != nullptr && (kUnblockable & signal_bit(number)) != 0) {
    return -EINVAL;
  }
  const KernelAction old = signals.actions[number];
  if (action != nullptr) {
    signals.actions[number] = *static_cast<const KernelAction*>(action);
    signals.actions[number].mask &= ~kUnblockable;
    if (is_ignored(number)) {
      pending_discard(number);
    }
  }
  if (old_action != nullptr) {
    *static_cast<KernelAction*>(old_action) = old;
  }
  return 0;
}

long call_sigprocmask(int how, const SignalSet* set, SignalSet* old_set) {
  Thread* thread = self();
  const SignalSet old = thread->mask;
  if (set != nullptr) {
    const SignalSet wanted = *set & ~kUnblockable;
    switch (how) {
      case SIG_BLOCK:
        thread->mask |= wanted;
        break;
      case SIG_UNBLOCK:
        thread->mask &= ~wanted;
        break;
      case SIG_SETMASK:
        thread->mask = wanted;
        break;
      default:
        return -EINVAL;
    }
  }
  if (old_set != nullptr) {
    *old_set = old;
  }
  return 0;
}

long call_sigpending(SignalSet* set) {
  *set = pending_for(self()) & self()->mask;
  return 0;
}

void signals_temporary_mask(const SignalSet* set) {
  if (set == nullptr) {
    return;
  }
  Thread* thread = self();
  if (!thread->restore_mask) {
    thread->mask_to_restore = thread->mask;
    thread->restore_mask = true;
  }
  thread->mask = *set & ~kUnblockable;
}

long call_sigsuspend(const SignalSet* set) {
  signals_temporary_mask(set);
  ingest_point();
  while (!signals_deliverable(self())) {
    sched_wait(nullptr, kNoDeadline);
  }
  return -EINTR;
}

namespace {
bool is_on_stack(const stack_t& stack, uint64_t stack_pointer) {
  return (stack.ss_flags & SS_DISABLE) == 0 &&
         stack_pointer - reinterpret_cast<uint64_t>(stack.ss_sp) - 1 < stack.ss_size;
}
}  // namespace

long call_sigaltstack(const stack_t* stack, stack_t* old_stack) {
  Thread* thread = self();
  stack_t& current = thread->application_alternate_stack;
  if (current.ss_sp == nullptr) {
    current.ss_flags = SS_DISABLE;
  }
  const bool on_it = is_on_stack(current, thread->caller_stack);
  const stack_t old = current;
  if (stack != nullptr) {
    if (on_it) {
      return -EPERM;
    }
    const int mode = stack->ss_flags & ~kAutoDisarm;
    if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK) {
      return -EINVAL;
    }
    if (mode != SS_DISABLE && stack->ss_size < kAlternateStackBytesMin) {
      return -ENOMEM;
    }
    current = mode != SS_DISABLE ? *stack : stack_t{nullptr, stack->ss_flags, 0};
    current.ss_flags &= ~SS_ONSTACK;
  }
  if (old_stack != nullptr) {
    *old_stack = old;
    old_stack->ss_flags |= on_it ? SS_ONSTACK : 0;
  }
  return 0;
}

long call_kill(int pid, int number, const siginfo_t* given) {
  if (number < 0 || number > kSignals) {
    return -EINVAL;
  }
  const int own = static_cast<int>(raw(__NR_getpid));
  if (pid != own && pid != 0 && pid != -1) {
    return raw(__NR_kill, pid, 0) == 0 ? -EPERM : -ESRCH;
  }
  if (number == SIGKILL) {
    doors_exit(128 + SIGKILL);
    die_of(SIGKILL);
  }
  if (number != 0) {
    siginfo_t info = {};
    info.si_signo = number;
    info.si_code = SI_USER;
    info.si_pid = own;
    info.si_uid = static_cast<uid_t>(raw(__NR_getuid));
    const bool kept = signals_send(nullptr, number, given != nullptr ? given : &info);
    return kept || given == nullptr ? 0 : -EAGAIN;
  }
  return 0;
}

long call_tkill(int tgid, int tid, int number, const siginfo_t* given) {
  Thread* thread = thread_by_tid(tid);
  const int own = static_cast<int>(raw(__NR_getpid));
  if (thread == nullptr || (tgid > 0 && tgid != own)) {
    return -ESRCH;
  }
  if (number < 0 || number > kSignals) {
    return -EINVAL;
  }
  if (number != 0) {
    siginfo_t info = {};
    info.si_signo = number;
    info.si_code = SI_TKILL;
    info.si_pid = own;
    info.si_uid = static_cast<uid_t>(raw(__NR_getuid));
    const bool kept = signals_send(thread, number, given != nullptr ? given : &info);
    return kept || given == nullptr ? 0 : -EAGAIN;
  }
  return 0;
}

void install_sigsys(void (*handler)(int, siginfo_t*, void*)) {
  set_kernel_action(SIGSYS, handler);
}

}  // namespace ftrun::shim

using ftrun::shim::SignalSet;

// The stack for the handler that is due: the application's alternate one if it is wanted and not in
// use, else the one at `stack_pointer`. A stack grows down from what is returned.
extern "C" __attribute__((visibility("hidden"))) uint64_t shim_signal_stack(
    uint64_t stack_pointer) {
  using namespace ftrun::shim;
  Thread* thread = self();
  stack_t& stack = thread->application_alternate_stack;
  const bool wanted =
      thread->deliver != 0 && (signals.actions[thread->deliver].flags & SA_ONSTACK) != 0;
  if (!wanted || stack.ss_sp == nullptr || is_on_stack(stack, stack_pointer)) {
    return stack_pointer;
  }
  return reinterpret_cast<uint64_t>(stack.ss_sp) + stack.ss_size;
}

// Prepares the frame of a handler (on the application's stack); returns handler and signal number
// in %rax and %rdx.
extern "C" __attribute__((visibility("hidden"))) ftrun::shim::HandlerStart shim_signal_begin(
    uint8_t* frame) {
  using namespace ftrun::shim;
  Thread* thread = self();
  const int number = static_cast<int>(thread->deliver);
  thread->deliver = 0;
  KernelAction& action = signals.actions[number];
  auto* info = reinterpret_cast<siginfo_t*>(frame + FTRUN_FRAME_SIGINFO);
  auto* context = reinterpret_cast<ucontext_t*>(frame + FTRUN_FRAME_UCONTEXT);
  *info = pending_take(thread, number);
  __builtin_memset(context, 0, sizeof(ucontext_t));
  const SignalSet to_restore = thread->restore_mask ? thread->mask_to_restore : thread->mask;
  thread->restore_mask = false;
  __builtin_memcpy(&context->uc_sigmask, &to_restore, sizeof(to_restore));
  thread->mask |= action.mask;
  if ((action.flags & SA_NODEFER) == 0) {
    thread->mask |= signal_bit(number);
  }
  dying_begin(number, reinterpret_cast<uint64_t>(frame));
  const uint64_t handler = action.handler;
  if ((action.flags & SA_RESETHAND) != 0) {
    action.handler = kDefault;
  }
  return {handler, static_cast<uint64_t>(number)};
}

// The handler has returned: its mask goes, and the next signal may be due.
extern "C" __attribute__((visibility("hidden"))) void shim_signal_end(uint8_t* frame) {
  using namespace ftrun::shim;
  Thread* thread = self();
  dying_end(reinterpret_cast<uint64_t>(frame));
  const auto* context = reinterpret_cast<const ucontext_t*>(frame + FTRUN_FRAME_UCONTEXT);
  __builtin_memcpy(&thread->mask, &context->uc_sigmask, sizeof(SignalSet));
  bool restart = false;
  signals_finish_call(thread, 0, &restart);
}
