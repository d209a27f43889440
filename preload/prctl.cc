// SPDX-License-Identifier: Apache-2.0
// prctl, personality: what a process says of itself. Options that stop at the kernel are carried
// out by every replica; those that would change how the shim works are refused, by name. Runs in
// the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <linux/prctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#include "preload/calls.h"
#include "preload/exec/carry.h"
#include "preload/guarded.h"
#include "preload/raw.h"
#include "preload/scheduler.h"
#include "preload/signals.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

// Options that Linux has on this machine and the shim refuses. Numbers never change; the oldest
// supported headers do not name them all.
struct Refused {
  int option;
  const char* name;
};
constexpr Refused kRefused[] = {
    {22, "PR_SET_SECCOMP"}, {26, "PR_SET_TSC"},
    {35, "PR_SET_MM"},      {59, "PR_SET_SYSCALL_USER_DISPATCH"},
    {62, "PR_SCHED_CORE"},  {65, "PR_SET_MDWE"},
    {66, "PR_GET_MDWE"},    {77, "PR_TIMER_CREATE_RESTORE_IDS"},
    {78, "PR_FUTEX_HASH"},
};

constexpr int kSetMemoryMerge = 67;  // PR_SET_MEMORY_MERGE
constexpr int kGetMemoryMerge = 68;

constinit int g_death_signal = 0;
constinit unsigned g_personality = 0;

long refuse(int option) {
  static bool told[sizeof(kRefused) / sizeof(kRefused[0])];
  for (size_t i = 0; i < sizeof(kRefused) / sizeof(kRefused[0]); ++i) {
    if (kRefused[i].option == option && !told[i]) {
      told[i] = true;
      Text text;
      text.add("prctl(").add(kRefused[i].name).add(") is not supported: answered EINVAL");
      shim_notice(text.add(describe_caller()).add("\n").c_str());
    }
  }
  return -EINVAL;
}

}  // namespace

void prctl_carry(Carry& carry) {
  carry.value(g_death_signal);
  carry.value(g_personality);
}

// Addresses are laid out alike in all replicas, whatever is asked for; other kinds of Unix are not
// to be had.
long do_personality(long, const long* a) {
  constexpr unsigned kQuestion = 0xffffffff;
  constexpr unsigned kLayout = ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT;
  const auto wanted = static_cast<unsigned>(a[0]);
  const unsigned old = g_personality;
  if (wanted != kQuestion) {
    if ((wanted & ~kLayout) != 0) {
      Text text;
      text.add("personality(").hex(wanted).add(") is not supported: answered EINVAL");
      shim_notice(text.add(describe_caller()).add("\n").c_str());
      return -EINVAL;
    }
    // Told when it is asked for, and not done: the layout is pinned at the start.
    g_personality = wanted;
  }
  return old;
}

long do_prctl(long number, const long* a) {
  // Without a record: each replica's kernel keeps for its own process what all of them set.
  const int option = static_cast<int>(a[0]);
  switch (option) {
    case PR_SET_NAME:
    case PR_GET_NAME:
    case PR_SET_DUMPABLE:
    case PR_GET_DUMPABLE:
    case PR_SET_KEEPCAPS:
    case PR_GET_KEEPCAPS:
    case PR_SET_TIMING:
    case PR_GET_TIMING:
    case PR_TASK_PERF_EVENTS_DISABLE:
    case PR_TASK_PERF_EVENTS_ENABLE:
    case PR_MCE_KILL:
    case PR_MCE_KILL_GET:
    case PR_SET_THP_DISABLE:
    case PR_GET_THP_DISABLE:
    case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS:
    case PR_SET_TIMERSLACK:
    case PR_GET_TIMERSLACK:
    case PR_CAPBSET_READ:
    case PR_CAPBSET_DROP:
    case PR_SET_VMA:
    case PR_SET_CHILD_SUBREAPER:
    case PR_GET_CHILD_SUBREAPER:
    case PR_SET_SECUREBITS:
    case PR_GET_SECUREBITS:
    case PR_CAP_AMBIENT:
    case PR_SET_PTRACER:
    case PR_SET_IO_FLUSHER:
    case PR_GET_IO_FLUSHER:
    case PR_SET_SPECULATION_CTRL:
    case PR_GET_SPECULATION_CTRL:
    case kSetMemoryMerge:
    case kGetMemoryMerge:
      return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    // The parent is the replica's init, whose death is the replica's.
    case PR_SET_PDEATHSIG:
      if (a[1] < 0 || a[1] > kSignals) {
        return -EINVAL;
      }
      g_death_signal = static_cast<int>(a[1]);
      return 0;
    case PR_GET_PDEATHSIG:
      return put_out(reinterpret_cast<void*>(a[1]), g_death_signal) ? 0 : -EFAULT;
    case PR_GET_TID_ADDRESS:
      return put_out(reinterpret_cast<void*>(a[1]), self()->clear_child_tid) ? 0 : -EFAULT;
    // What the shim itself has set is not shown.
    case PR_GET_SECCOMP:
      return 0;
    case PR_GET_TSC:
      return put_out(reinterpret_cast<void*>(a[1]), static_cast<int>(PR_TSC_ENABLE)) ? 0 : -EFAULT;
    default:
      return refuse(option);
  }
}

}  // namespace ftrun::shim
