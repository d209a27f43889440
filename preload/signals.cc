// SPDX-License-Identifier: Apache-2.0
// See signals.h. Runs in the application with the token held; faults run on the alternate stack.
#include "preload/signals.h"

#include <errno.h>
#include <sys/time.h>

#include "preload/doors.h"
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
constexpr SignalSet kUnblockable = signal_bit(SIGKILL) | signal_bit(SIGSTOP);
constexpr SignalSet kIgnoredByDefault =
    signal_bit(SIGCHLD) | signal_bit(SIGURG) | signal_bit(SIGWINCH) | signal_bit(SIGCONT);
constexpr SignalSet kStopsByDefault =
    signal_bit(SIGSTOP) | signal_bit(SIGTSTP) | signal_bit(SIGTTIN) | signal_bit(SIGTTOU);
// A crash is not logged: the turn it happens in dies with the replica (DESIGN section 9).
constexpr SignalSet kCrashes = kFaults | signal_bit(SIGABRT) | signal_bit(SIGQUIT);

struct Signals {
  KernelAction actions[kSignals + 1] = {};
  SignalSet pending = 0;  // for the process
  siginfo_t pending_info[kSignals + 1] = {};
  int64_t alarm_deadline_ns = kNoDeadline;
  int64_t alarm_interval_ns = 0;
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

// Dies of `number` natively, so that the wait status is the true one.
[[noreturn]] void die_of(int number) {
  KernelAction action = {};
  raw(__NR_rt_sigaction, number, &action, nullptr, sizeof(SignalSet));
  const SignalSet only = signal_bit(number);
  raw(__NR_rt_sigprocmask, SIG_UNBLOCK, &only, nullptr, sizeof(SignalSet));
  raw(__NR_tgkill, raw(__NR_getpid), raw(__NR_gettid), number);
  for (;;) {
    raw(__NR_exit_group, 128 + number);
  }
}

[[noreturn]] void terminate_by(int number) {
  if ((kCrashes & signal_bit(number)) == 0) {
    doors_exit(128 + number);
  }
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
  if (number == SIGSEGV && self() != nullptr && emulate_tsc(info, registers)) {
    return;
  }
  const KernelAction& action = signals.actions[number];
  if (action.handler == kDefault || action.handler == kIgnore || self() == nullptr ||
      on_shim_stack(static_cast<uint64_t>(registers[REG_RSP]))) {
    die_of(number);
  }
  const auto handler = reinterpret_cast<void (*)(int, siginfo_t*, void*)>(action.handler);
  if ((action.flags & SA_RESETHAND) != 0) {
    signals.actions[number].handler = kDefault;
  }
  handler(number, info, context);
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
  const SignalSet due = (thread->pending | signals.pending) & ~thread->mask;
  return due == 0 ? 0 : __builtin_ctzll(due) + 1;
}

siginfo_t take_pending(Thread* thread, int number) {
  const SignalSet bit = signal_bit(number);
  if ((thread->pending & bit) != 0) {
    thread->pending &= ~bit;
    return thread->pending_info[number - 1];
  }
  signals.pending &= ~bit;
  return signals.pending_info[number];
}

void restore_temporary_mask(Thread* thread) {
  if (thread->restore_mask) {
    thread->mask = thread->mask_to_restore;
    thread->restore_mask = false;
  }
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

void signals_send(Thread* thread, int number, const siginfo_t* info) {
  Thread* waiter = waiter_for(number, thread);
  if (waiter != nullptr) {
    waiter->pending_info[number - 1] = *info;
    waiter->waited_signals = 0;
    scheduler_wake_thread(waiter, number);
    return;
  }
  Thread* target = thread != nullptr ? thread : thread_for(number);
  const bool blocked = target == nullptr || (target->mask & signal_bit(number)) != 0;
  if (!blocked && is_ignored(number)) {
    return;
  }
  if (thread != nullptr) {
    thread->pending |= signal_bit(number);
    thread->pending_info[number - 1] = *info;
  } else {
    signals.pending |= signal_bit(number);
    signals.pending_info[number] = *info;
  }
  if (!blocked) {
    scheduler_wake_thread(target, kErrRestart);
  }
}

bool signals_deliverable(const Thread* thread) {
  return next_due(thread) != 0;
}

long signals_finish_call(Thread* thread, long result, bool* restart) {
  *restart = false;
  thread->deliver = 0;
  for (int number = next_due(thread); number != 0; number = next_due(thread)) {
    const KernelAction& action = signals.actions[number];
    if (is_ignored(number)) {
      take_pending(thread, number);
      continue;
    }
    if (action.handler == kDefault) {
      if ((kStopsByDefault & signal_bit(number)) != 0) {
        take_pending(thread, number);
        shim_notice("job control stop signals are ignored\n");
        continue;
      }
      terminate_by(number);
    }
    thread->deliver = static_cast<uint32_t>(number);
    if (result == kErrRestart) {
      *restart = (action.flags & SA_RESTART) != 0 && !thread->restore_mask;
      result = -EINTR;
    }
    return result;
  }
  restore_temporary_mask(thread);
  if (result == kErrRestart) {
    *restart = true;
  }
  return result;
}

void signals_thread_gone(Thread* thread) {
  thread->pending = 0;
}

void raise_sigpipe() {
  siginfo_t info = {};
  info.si_signo = SIGPIPE;
  info.si_code = SI_USER;
  signals_send(self(), SIGPIPE, &info);
}

int64_t signals_next_timer_ns() {
  return signals.alarm_deadline_ns;
}

void signals_expire_timers(int64_t now_ns) {
  if (signals.alarm_deadline_ns == kNoDeadline || signals.alarm_deadline_ns > now_ns) {
    return;
  }
  signals.alarm_deadline_ns =
      signals.alarm_interval_ns > 0 ? now_ns + signals.alarm_interval_ns : kNoDeadline;
  siginfo_t info = {};
  info.si_signo = SIGALRM;
  info.si_code = SI_KERNEL;
  signals_send(nullptr, SIGALRM, &info);
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
      signals.pending &= ~signal_bit(number);
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
  *set = (self()->pending | signals.pending) & self()->mask;
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

long call_sigtimedwait(const SignalSet* set, siginfo_t* info, const struct timespec* timeout) {
  Thread* thread = self();
  const SignalSet wanted = *set & ~kUnblockable;
  ingest_point();
  const SignalSet due = (thread->pending | signals.pending) & wanted;
  int number = due == 0 ? 0 : __builtin_ctzll(due) + 1;
  siginfo_t taken = {};
  if (number != 0) {
    taken = take_pending(thread, number);
  } else {
    int64_t deadline = kNoDeadline;
    if (timeout != nullptr) {
      deadline = virtual_now_ns() + timeout->tv_sec * 1'000'000'000 + timeout->tv_nsec;
    }
    thread->waited_signals = wanted;
    const int result = sched_wait(nullptr, deadline);
    thread->waited_signals = 0;
    if (result <= 0) {
      return result == -ETIMEDOUT ? -EAGAIN : -EINTR;
    }
    number = result;
    taken = thread->pending_info[number - 1];
  }
  if (info != nullptr) {
    *info = taken;
  }
  return number;
}

long call_sigaltstack(const stack_t* stack, stack_t* old_stack) {
  Thread* thread = self();
  if (old_stack != nullptr) {
    *old_stack = thread->application_alternate_stack;
    if (thread->application_alternate_stack.ss_sp == nullptr) {
      old_stack->ss_flags = SS_DISABLE;
    }
  }
  if (stack != nullptr) {
    thread->application_alternate_stack = *stack;
  }
  return 0;
}

long call_kill(int pid, int number) {
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
    signals_send(nullptr, number, &info);
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
    signals_send(thread, number, given != nullptr ? given : &info);
  }
  return 0;
}

namespace {
int64_t from_timeval(const struct timeval& value) {
  return value.tv_sec * 1'000'000'000 + value.tv_usec * 1000;
}
struct timeval to_timeval(int64_t ns) {
  return {ns / 1'000'000'000, ns % 1'000'000'000 / 1000};
}
}  // namespace

long call_getitimer(int which, void* value) {
  if (which != ITIMER_REAL) {
    return -EINVAL;
  }
  auto* out = static_cast<struct itimerval*>(value);
  const int64_t left =
      signals.alarm_deadline_ns == kNoDeadline ? 0 : signals.alarm_deadline_ns - virtual_now_ns();
  out->it_value = to_timeval(left > 0 ? left : 0);
  out->it_interval = to_timeval(signals.alarm_interval_ns);
  return 0;
}

long call_setitimer(int which, const void* value, void* old_value) {
  if (which != ITIMER_REAL) {
    shim_notice("setitimer: timers on CPU time are not supported: answered EINVAL\n");
    return -EINVAL;
  }
  if (old_value != nullptr) {
    call_getitimer(which, old_value);
  }
  const auto* wanted = static_cast<const struct itimerval*>(value);
  const int64_t first = wanted == nullptr ? 0 : from_timeval(wanted->it_value);
  signals.alarm_interval_ns = wanted == nullptr ? 0 : from_timeval(wanted->it_interval);
  signals.alarm_deadline_ns = first == 0 ? kNoDeadline : virtual_now_ns() + first;
  return 0;
}

long call_alarm(unsigned seconds) {
  struct itimerval old = {};
  struct itimerval wanted = {};
  wanted.it_value.tv_sec = seconds;
  call_setitimer(ITIMER_REAL, &wanted, &old);
  return old.it_value.tv_sec + (old.it_value.tv_usec != 0 ? 1 : 0);
}

void install_sigsys(void (*handler)(int, siginfo_t*, void*)) {
  set_kernel_action(SIGSYS, handler);
}

}  // namespace ftrun::shim

using ftrun::shim::SignalSet;

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
  *info = take_pending(thread, number);
  __builtin_memset(context, 0, sizeof(ucontext_t));
  const SignalSet to_restore = thread->restore_mask ? thread->mask_to_restore : thread->mask;
  thread->restore_mask = false;
  __builtin_memcpy(&context->uc_sigmask, &to_restore, sizeof(to_restore));
  thread->mask |= action.mask;
  if ((action.flags & SA_NODEFER) == 0) {
    thread->mask |= signal_bit(number);
  }
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
  const auto* context = reinterpret_cast<const ucontext_t*>(frame + FTRUN_FRAME_UCONTEXT);
  __builtin_memcpy(&thread->mask, &context->uc_sigmask, sizeof(SignalSet));
  bool restart = false;
  signals_finish_call(thread, 0, &restart);
}
