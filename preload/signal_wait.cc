// SPDX-License-Identifier: Apache-2.0
// rt_sigtimedwait: a thread that takes a signal without a handler.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>

#include "preload/guarded.h"
#include "preload/pending.h"
#include "preload/scheduler.h"
#include "preload/signals.h"
#include "preload/times.h"

namespace ftrun::shim {

long call_sigtimedwait(const SignalSet* set, siginfo_t* info, const struct timespec* timeout) {
  SignalSet wanted = 0;
  if (!get_in(&wanted, set)) {
    return -EFAULT;
  }
  int64_t timeout_ns = -1;
  if (timeout != nullptr) {
    if (const int error = read_timespec(reinterpret_cast<long>(timeout), &timeout_ns)) {
      return error;
    }
  }
  Thread* thread = self();
  wanted &= ~kUnblockable;
  // Before the look: what has come may be what is waited for, and with a time-out of 0 nothing else
  // would let it in.
  ingest_point();
  const SignalSet due = pending_for(thread) & wanted;
  int number = due == 0 ? 0 : __builtin_ctzll(due) + 1;
  siginfo_t taken = {};
  if (number != 0) {
    taken = pending_take(thread, number);
  } else {
    if (timeout_ns == 0) {
      return -EAGAIN;
    }
    const int64_t deadline = timeout_ns < 0 ? kNoDeadline : add_ns(virtual_now_ns(), timeout_ns);
    // ORDER: set for the wait only: signals_send() gives a signal to whoever has it set, ignored or
    // not, and puts its facts into pending_info of this thread.
    thread->waited_signals = wanted;
    const int result = sched_wait(nullptr, deadline);
    thread->waited_signals = 0;
    if (result <= 0) {
      return result == -ETIMEDOUT ? -EAGAIN : -EINTR;
    }
    number = result;
    taken = thread->pending_info[number - 1];
  }
  return info == nullptr || put_out(info, taken) ? number : -EFAULT;
}

}  // namespace ftrun::shim
