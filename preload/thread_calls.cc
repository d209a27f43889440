// SPDX-License-Identifier: Apache-2.0
// Calls about threads and signals: arguments are checked here, in the kernel's order; what they do
// is the scheduler's (scheduler.h) and the signals' (signals.h). All virtual: no record.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <sys/wait.h>

#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/guarded.h"
#include "preload/handlers.h"
#include "preload/raw.h"
#include "preload/scheduler.h"
#include "preload/signals.h"

namespace ftrun::shim {
namespace {

template <typename T>
T* at(long value) {
  return reinterpret_cast<T*>(value);
}

// The only size that there is on 64 bits: others are refused (set_robust_list(2)).
constexpr long kRobustListBytes = 24;  // struct robust_list_head

}  // namespace

long do_futex(long, const long* a) {
  return futex_call(a);
}
long do_sched_yield(long, const long*) {
  // ORDER: what has come first, or a loop of yields would never see it; then the others' turn.
  ingest_point();
  scheduler_yield();
  return 0;
}
long do_pause(long, const long*) {
  return call_sigsuspend(self()->mask);
}
long do_rt_sigaction(long, const long* a) {
  return call_sigaction(static_cast<int>(a[0]), at<void>(a[1]), at<void>(a[2]),
                        static_cast<size_t>(a[3]));
}
long do_rt_sigprocmask(long, const long* a) {
  return a[3] != sizeof(SignalSet)
             ? -EINVAL
             : call_sigprocmask(static_cast<int>(a[0]), at<SignalSet>(a[1]), at<SignalSet>(a[2]));
}
long do_rt_sigpending(long, const long* a) {
  return a[1] != sizeof(SignalSet) ? -EINVAL : call_sigpending(at<SignalSet>(a[0]));
}
long do_rt_sigsuspend(long, const long* a) {
  SignalSet set = 0;
  if (a[1] != sizeof(set)) {
    return -EINVAL;
  }
  return get_in(&set, at<void>(a[0])) ? call_sigsuspend(set) : -EFAULT;
}
long do_rt_sigtimedwait(long, const long* a) {
  return a[3] != sizeof(SignalSet) ? -EINVAL
                                   : call_sigtimedwait(at<SignalSet>(a[0]), at<siginfo_t>(a[1]),
                                                       at<const timespec>(a[2]));
}
long do_rt_sigqueueinfo(long, const long* a) {
  siginfo_t info;
  if (!get_in(&info, at<void>(a[2]))) {
    return -EFAULT;
  }
  // The argument counts, not what the structure says (copy_siginfo_from_user).
  info.si_signo = static_cast<int>(a[1]);
  return call_kill(static_cast<int>(a[0]), static_cast<int>(a[1]), &info);
}
long do_rt_tgsigqueueinfo(long, const long* a) {
  siginfo_t info;
  if (static_cast<int>(a[0]) <= 0 || static_cast<int>(a[1]) <= 0) {
    return -EINVAL;
  }
  if (!get_in(&info, at<void>(a[3]))) {
    return -EFAULT;
  }
  info.si_signo = static_cast<int>(a[2]);
  return call_tkill(static_cast<int>(a[0]), static_cast<int>(a[1]), static_cast<int>(a[2]), &info);
}
long do_sigaltstack(long, const long* a) {
  return call_sigaltstack(at<const stack_t>(a[0]), at<stack_t>(a[1]));
}
long do_kill(long, const long* a) {
  return call_kill(static_cast<int>(a[0]), static_cast<int>(a[1]), nullptr);
}
long do_tkill(long, const long* a) {
  return static_cast<int>(a[0]) <= 0
             ? -EINVAL
             : call_tkill(0, static_cast<int>(a[0]), static_cast<int>(a[1]), nullptr);
}
long do_tgkill(long, const long* a) {
  return static_cast<int>(a[0]) <= 0 || static_cast<int>(a[1]) <= 0
             ? -EINVAL
             : call_tkill(static_cast<int>(a[0]), static_cast<int>(a[1]), static_cast<int>(a[2]),
                          nullptr);
}
long do_setitimer(long, const long* a) {
  return call_setitimer(static_cast<int>(a[0]), at<void>(a[1]), at<void>(a[2]));
}
long do_getitimer(long, const long* a) {
  return call_getitimer(static_cast<int>(a[0]), at<void>(a[1]));
}
long do_alarm(long, const long* a) {
  return call_alarm(static_cast<unsigned>(a[0]));
}

long do_set_tid_address(long, const long* a) {
  // The kernel is not told: it would clear the word without the token (thread_exit does it).
  self()->clear_child_tid = at<int32_t>(a[0]);
  return self()->tid;
}
long do_set_robust_list(long, const long* a) {
  if (a[1] != kRobustListBytes) {
    return -EINVAL;
  }
  // Nor of this list, for the same reason (robust.cc).
  self()->robust_list = at<void>(a[0]);
  return 0;
}
long do_get_robust_list(long, const long* a) {
  Thread* thread = a[0] == 0 ? self() : thread_by_tid(static_cast<int>(a[0]));
  if (thread == nullptr) {
    return -ESRCH;
  }
  // ORDER: the length first, as the kernel.
  return put_out(at<void>(a[2]), size_t{kRobustListBytes}) &&
                 put_out(at<void>(a[1]), thread->robust_list)
             ? 0
             : -EFAULT;
}
long do_exit(long, const long* a) {
  thread_exit(static_cast<int>(a[0]) & 0xff);
}
long do_exit_group(long, const long* a) {
  // ORDER: all that was put out, and the end itself, is with the supervisor before the process is
  // gone; the status is the low byte, as a parent would see it (exit(3)).
  doors_exit(static_cast<int>(a[0]) & 0xff);
  for (;;) {
    raw(__NR_exit_group, a[0]);
  }
}
long do_clone(long, const long*) {
  return -ENOSYS;
}  // start.cc has the registers
long do_rt_sigreturn(long, const long*) {
  return -ENOSYS;
}  // handlers.h: before the table is looked at
// There are never children; the flags are looked at first, as the kernel does.
long do_wait4(long, const long* a) {
  constexpr long kKnown = WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL;
  return (a[2] & ~kKnown) != 0 ? -EINVAL : -ECHILD;
}
long do_waitid(long, const long* a) {
  constexpr long kStates = WEXITED | WSTOPPED | WCONTINUED;
  constexpr long kKnown = kStates | WNOHANG | WNOWAIT | __WNOTHREAD | __WCLONE | __WALL;
  return (a[3] & ~kKnown) != 0 || (a[3] & kStates) == 0 ? -EINVAL : -ECHILD;
}

}  // namespace ftrun::shim
