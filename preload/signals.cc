// SPDX-License-Identifier: Apache-2.0
// See signals.h. Runs in the application with the token held; no libc.
#include "preload/signals.h"

#include <errno.h>
#include <fcntl.h>

#include "preload/doors.h"
#include "preload/dying.h"
#include "preload/exec/carry.h"
#include "preload/guarded.h"
#include "preload/pending.h"
#include "preload/raw.h"
#include "preload/scheduler.h"
#include "preload/start.h"

namespace ftrun::shim {
namespace {

// Masks. The kernel's mask blocks everything but faults, in every thread, for ever: what the kernel
// delivered by itself would come at a moment that no log tells, and with the wrong stack. The masks
// that the application sets are Thread::mask, looked at where a call ends. A signal from outside is
// an arrival; one that the program sends itself is its own act.
constexpr SignalSet kFaults = signal_bit(SIGSEGV) | signal_bit(SIGBUS) | signal_bit(SIGFPE) |
                              signal_bit(SIGILL) | signal_bit(SIGTRAP) | signal_bit(SIGSYS);
constexpr SignalSet kIgnoredByDefault =
    signal_bit(SIGCHLD) | signal_bit(SIGURG) | signal_bit(SIGWINCH) | signal_bit(SIGCONT);
constexpr SignalSet kStopsByDefault =
    signal_bit(SIGSTOP) | signal_bit(SIGTSTP) | signal_bit(SIGTTIN) | signal_bit(SIGTTOU);
// A crash is not logged: the turn it happens in dies with the replica (DESIGN section 9).
constexpr SignalSet kCrashes = kFaults | signal_bit(SIGABRT) | signal_bit(SIGQUIT);

struct Signals {
  KernelAction actions[kSignals + 1] = {};
};
Signals signals;

bool is_ignored(int number) {
  const uint64_t handler = signals.actions[number].handler;
  return handler == kIgnoreAction ||
         (handler == kDefaultAction && (kIgnoredByDefault & signal_bit(number)) != 0);
}

[[noreturn]] void terminate_by(int number) {
  if ((kCrashes & signal_bit(number)) == 0) {
    doors_exit(128 + number);
  }
  dying_begin(number, 0, 0);
  die_of(number);
}

// Who gets a signal for the process: the kernel prefers the main thread and then takes any; here
// the oldest thread that does not block it, which is the same in all replicas.
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

// The mask of sigsuspend, ppoll and their like ends with the call, but only if no handler runs at
// its end: then the frame remembers the old mask, and the handler's return restores it. So a
// handler runs with the temporary mask and its own, as the kernel has it.
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
    } else if (handler != kDefaultAction) {
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

}  // namespace

KernelAction* signal_action(int number) {
  return &signals.actions[number];
}

void install_shim_handler(int number, void (*handler)(int, siginfo_t*, void*)) {
  KernelAction action = {};
  action.handler = reinterpret_cast<uint64_t>(handler);
  action.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | 0x04000000 /* SA_RESTORER */;
  action.restorer = reinterpret_cast<void (*)()>(FTRUN_RESTORER_ADDRESS);
  raw(__NR_rt_sigaction, number, &action, nullptr, sizeof(SignalSet));
}

// ORDER: dispositions before the mask: while everything is blocked, none of them can be used.
void signals_init() {
  for (int number = 1; number <= kSignals; ++number) {
    // Dispositions that the program inherited (ignored ones survive exec).
    raw(__NR_rt_sigaction, number, nullptr, &signals.actions[number], sizeof(SignalSet));
  }
  const SignalSet blocked = ~kFaults;
  // The mask that there was is the application's from now on.
  raw(__NR_rt_sigprocmask, SIG_SETMASK, &blocked, &self()->mask, sizeof(SignalSet));
}

void signals_carry(Carry& carry) {
  SignalSet ignored = 0;
  for (int number = 1; number <= kSignals; ++number) {
    ignored |= signals.actions[number].handler == kIgnoreAction ? signal_bit(number) : 0;
  }
  carry.value(ignored);
  for (int number = 1; number <= kSignals && !carry.saves(); ++number) {
    signals.actions[number] = {};
    signals.actions[number].handler =
        (ignored & signal_bit(number)) != 0 ? kIgnoreAction : kDefaultAction;
  }
}

void signals_arrived(int number) {
  // The sender is nobody whom the program could know: its process id is 0 in every replica.
  siginfo_t info = {};
  info.si_signo = number;
  info.si_code = SI_USER;
  signals_send(nullptr, number, &info);
}

// ORDER of who gets it, the kernel's: a thread that waits for it in sigtimedwait, even if it is
// ignored or blocked; then nobody, if it is ignored and not blocked (a blocked one waits, since its
// disposition may change meanwhile); then it waits, and wakes its receiver out of a call.
bool signals_send(Thread* thread, int number, const siginfo_t* info) {
  if (number < 1 || number > kSignals || info->si_signo != number) {
    shim_fail("a signal without a number, or with two", number, info->si_signo);
  }
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

int signals_next_handler(Thread* thread) {
  return next_due(thread) == 0 ? 0 : first_handled(thread);
}

// The end of each call: the only place where a handler may start. A call that a signal has ended
// starts over, says EINTR, or has its result, as the handler's flags and the call ask for; with no
// handler to run it was woken for nothing, and waits again.
long signals_finish_call(Thread* thread, long result, bool* restart) {
  const int number = signals_next_handler(thread);
  thread->deliver = static_cast<uint32_t>(number);
  *restart = result == kErrRestart || result == kErrRestartAlways;
  if (number == 0) {
    restore_temporary_mask(thread);
    return result;
  }
  if (result == kErrRestartAlways) {
    return -EINTR;
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

// Other processes of the unit are not the program's: what is sent to them is sent to nobody.
bool signal_file_owner(int type, int id, const siginfo_t& info) {
  if (type == F_OWNER_TID) {
    Thread* thread = thread_by_tid(id);
    return thread == nullptr || signals_send(thread, info.si_signo, &info);
  }
  const long own = type == F_OWNER_PGRP ? raw(__NR_getpgrp) : application_process_id();
  return id != own || signals_send(nullptr, info.si_signo, &info);
}

bool is_file_owner(int type, int id) {
  return raw(__NR_kill, type == F_OWNER_PGRP ? -id : id, 0) != -ESRCH;
}

// --- system calls ---

namespace {

constexpr unsigned long kExposeTagBits = 0x800;    // SA_EXPOSE_TAGBITS
constexpr unsigned long kHasRestorer = 0x4000000;  // SA_RESTORER
constexpr unsigned long kKnownFlags =
    SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER |
    static_cast<unsigned>(SA_RESETHAND) | kExposeTagBits | kHasRestorer;

}  // namespace

long call_sigaction(int number, const void* action, void* old_action, size_t set_size) {
  if (number < 1 || number > kSignals || set_size != sizeof(SignalSet)) {
    return -EINVAL;
  }
  if (action != nullptr && (kUnblockable & signal_bit(number)) != 0) {
    return -EINVAL;
  }
  // Kept here alone: what the kernel has for these signals is the shim's, or is never used.
  const KernelAction old = signals.actions[number];
  if (action != nullptr) {
    KernelAction wanted;
    if (!get_in(&wanted, action)) {
      return -EFAULT;
    }
    signals.actions[number] = wanted;
    signals.actions[number].mask &= ~kUnblockable;
    signals.actions[number].flags &= kKnownFlags;  // by which programs find out which are
    if (is_ignored(number)) {
      pending_discard(number);
    }
  }
  return old_action == nullptr || put_out(old_action, old) ? 0 : -EFAULT;
}

// No call of the kernel's and no record: its mask stays as it is, this one is the thread's own.
// What it lets through is delivered at the end of this very call (signals_finish_call).
long call_sigprocmask(int how, const SignalSet* set, SignalSet* old_set) {
  Thread* thread = self();
  const SignalSet old = thread->mask;
  if (set != nullptr) {
    SignalSet wanted = 0;
    if (!get_in(&wanted, set)) {
      return -EFAULT;
    }
    wanted &= ~kUnblockable;
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
  return old_set == nullptr || put_out(old_set, old) ? 0 : -EFAULT;
}

long call_sigpending(SignalSet* set) {
  const SignalSet waiting = pending_for(self()) & self()->mask;
  return put_out(set, waiting) ? 0 : -EFAULT;
}

// A call that starts over sets its mask again: the one to restore is that from before the first
// time.
void signals_temporary_mask(SignalSet set) {
  Thread* thread = self();
  if (!thread->restore_mask) {
    thread->mask_to_restore = thread->mask;
    thread->restore_mask = true;
  }
  thread->mask = set & ~kUnblockable;
}

long call_sigsuspend(SignalSet set) {
  signals_temporary_mask(set);
  ingest_point();
  // What is ignored by default waits while it is blocked; let through, it ends no wait.
  while (signals_next_handler(self()) == 0) {
    sched_wait(nullptr, kNoDeadline);
  }
  return -EINTR;
}

long call_kill(int pid, int number, const siginfo_t* given) {
  if (number < 0 || number > kSignals) {
    return -EINVAL;
  }
  const auto own = static_cast<int>(application_process_id());
  // The program leads its session: its group is all there is.
  if (pid != own && pid != 0 && pid != -1 && pid != -raw(__NR_getpgrp)) {
    return raw(__NR_kill, pid, 0) == 0 ? -EPERM : -ESRCH;
  }
  // ORDER: an end by its own hand is logged like exit before it is carried out, so that it is the
  // end of the unit and no failure of a replica.
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
  const auto own = static_cast<int>(application_process_id());
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

}  // namespace ftrun::shim
