// SPDX-License-Identifier: Apache-2.0
// Handlers for memory, time, threads, signals, limits and identity, and the descriptor placeholders
// of env.h. Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "eventlog/records.h"
#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/files/mapping.h"
#include "preload/files/opened.h"
#include "preload/guarded.h"
#include "preload/handlers.h"
#include "preload/limits.h"
#include "preload/net/bytes.h"
#include "preload/net/net.h"
#include "preload/raw.h"
#include "preload/scheduler.h"
#include "preload/signals.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

template <typename T>
T* at(long value) {
  return reinterpret_cast<T*>(value);
}

long as_is(long number, const long* a) {
  return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// A choice that fills in a structure at `out`: argument number `which` of the call.
template <typename T>
long choose_struct(long number, const long* a, int which) {
  T value = {};
  const long result = choose(number, &value, sizeof(value), [&] {
    long arguments[6] = {a[0], a[1], a[2], a[3], a[4], a[5]};
    arguments[which] = reinterpret_cast<long>(&value);
    return as_is(number, arguments);
  });
  return is_error(result) || put_out(at<void>(a[which]), value) ? result : -EFAULT;
}

constexpr long kRobustListBytes = 24;  // struct robust_list_head

uint8_t* arena_next = reinterpret_cast<uint8_t*>(FTRUN_ARENA_ADDRESS);
uint64_t arena_end = FTRUN_ARENA_ADDRESS + FTRUN_ARENA_STEP_BYTES;  // of what is mapped

// No directory: names relative to a virtual descriptor lead nowhere (ENOTDIR), as natively.
constexpr char kPlaceholder[] = "/dev/null";

}  // namespace

// --- env.h: memory and placeholders ---

namespace {

// Where it grows is the same in every replica; nothing of it is in the log, and no address depends
// on it.
void grow_arena(uint64_t end) {
  constexpr uint64_t kStep = FTRUN_ARENA_STEP_BYTES;
  const uint64_t bytes = (end - arena_end + kStep - 1) / kStep * kStep;
  limits_make_room(bytes);
  if (end > FTRUN_ARENA_ADDRESS + FTRUN_ARENA_BYTES ||
      raw(__NR_mmap, arena_end, bytes, PROT_READ | PROT_WRITE,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
          0) != static_cast<long>(arena_end)) {
    shim_fail(
        "no memory for the shim (is the address space, ulimit -v, limited?); bytes wanted, and in "
        "use",
        static_cast<int64_t>(bytes), static_cast<int64_t>(arena_end - FTRUN_ARENA_ADDRESS));
  }
  arena_end += bytes;
}

}  // namespace

uint64_t arena_bytes() {
  return arena_end - FTRUN_ARENA_ADDRESS;
}

void* arena_alloc(size_t bytes, size_t alignment) {
  auto address = reinterpret_cast<uint64_t>(arena_next);
  address = (address + alignment - 1) & ~(alignment - 1);
  if (address + bytes > arena_end) {
    grow_arena(address + bytes);
  }
  arena_next = reinterpret_cast<uint8_t*>(address + bytes);
  return reinterpret_cast<void*>(address);
}

int hold_descriptor(int at_least) {
  const long fd = raw(__NR_openat, AT_FDCWD, kPlaceholder, O_PATH | O_CLOEXEC);
  if (fd < 0 || fd >= at_least) {
    return static_cast<int>(fd);
  }
  const long moved = raw(__NR_fcntl, fd, F_DUPFD_CLOEXEC, at_least);
  raw(__NR_close, fd);
  return static_cast<int>(moved);
}

int hold_descriptor_at(int number) {
  const long fd = raw(__NR_openat, AT_FDCWD, kPlaceholder, O_PATH | O_CLOEXEC);
  if (fd < 0 || fd == number) {
    return fd < 0 ? static_cast<int>(fd) : 0;
  }
  const long moved = raw(__NR_dup3, fd, number, O_CLOEXEC);
  raw(__NR_close, fd);
  return moved < 0 ? static_cast<int>(moved) : 0;
}

void release_descriptor(int number) {
  raw(__NR_close, number);
}
// --- env.h: identity ---

uint32_t application_process_id() {
  return static_cast<uint32_t>(raw(__NR_getpid));
}

struct ucred application_credentials() {
  return {static_cast<pid_t>(application_process_id()), static_cast<uid_t>(raw(__NR_geteuid)),
          static_cast<gid_t>(raw(__NR_getegid))};
}

// --- what is denied ---

namespace {

const char* error_name(int error) {
  return error == EPERM ? "EPERM" : error == EINTR ? "EINTR" : "ENOSYS";
}

}  // namespace

long do_denied(long number, const long*) {
  static bool told[kCallNumberMax + 1];  // the last one: all numbers that the table does not have
  const bool is_listed = number >= 0 && number < kCallNumberMax;
  bool* is_told = &told[is_listed ? number : kCallNumberMax];
  const CallEntry& entry = call_entry(number);
  // glibc asks for these all the time and has another way.
  const bool is_usual = number == __NR_clone3 || number == __NR_rseq;
  if (!*is_told && !is_usual) {
    *is_told = true;
    Text text;
    text.add("system call ");
    if (entry.is_known()) {
      text.add(entry.name);
    } else {
      text.add(number);
    }
    text.add(" is not supported: answered ").add(error_name(entry.error));
    text.add(describe_caller()).add(" (").add(entry.why).add(")\n");
    shim_notice(text.c_str());
  }
  return -entry.error;
}

long do_native(long number, const long* a) {
  return as_is(number, a);
}

// --- memory: at the address that the primary got ---

namespace {

bool shares_with_strangers(const long* a) {
  return (a[3] & (MAP_SHARED | MAP_ANONYMOUS)) == MAP_SHARED && (a[2] & PROT_WRITE) != 0 &&
         fd_native_class(static_cast<int>(a[4])) != 1;
}

[[noreturn]] void cannot_map(long number, long wanted, long got) {
  Text text;
  text.add(call_name(number)).add(" gave ").hex(static_cast<uint64_t>(got));
  text.add(" here and ").hex(static_cast<uint64_t>(wanted)).add(" in the primary\n");
  doors_fail(ShimFailure::kDiverged, text.c_str());
}

}  // namespace

long do_mmap(long number, const long* a) {
  if (shares_with_strangers(a)) {
    shim_notice("writable shared mapping of a file outside the state directories refused\n");
    return -EACCES;
  }
  if ((a[3] & MAP_ANONYMOUS) == 0 && fd_kind(static_cast<int>(a[4])) != FdKind::kNative) {
    return fd_kind(static_cast<int>(a[4])) == FdKind::kFree ? -EBADF : -ENODEV;
  }
  const bool of_file = (a[3] & MAP_ANONYMOUS) == 0;
  if (of_file && maps_copy(a)) {
    return map_copy(a);
  }
  return choose_and_follow(
      number, [&] { return as_is(number, a); },
      [&](long address) {
        if (of_file) {
          require_same_file(static_cast<int>(a[4]), number);
        }
        const long flags = (a[3] & MAP_FIXED) != 0 ? a[3] : a[3] | MAP_FIXED_NOREPLACE;
        const long here = raw(number, address, a[1], a[2], flags, a[4], a[5]);
        if (here != address) {
          cannot_map(number, address, here);
        }
      });
}

long do_mremap(long number, const long* a) {
  return choose_and_follow(
      number, [&] { return as_is(number, a); },
      [&](long address) {
        const bool moved = address != a[0];
        const long flags = MREMAP_MAYMOVE | MREMAP_FIXED | (a[3] & MREMAP_DONTUNMAP);
        const long here = moved ? raw(number, a[0], a[1], a[2], flags, address)
                                : raw(number, a[0], a[1], a[2], 0);
        if (here != address) {
          cannot_map(number, address, here);
        }
      });
}

long do_madvise(long number, const long* a) {
  // MADV_FREE leaves it to memory pressure what the pages contain.
  return raw(number, a[0], a[1], a[2] == MADV_FREE ? static_cast<long>(MADV_DONTNEED) : a[2]);
}

// In parts: a choice carries kChoicePayloadBytesMax at most, one byte for each page here.
long do_mincore(long number, const long* a) {
  constexpr size_t kPageBytes = 4096;
  constexpr size_t kPartBytes = kChoicePayloadBytesMax * kPageBytes;
  auto left = static_cast<size_t>(a[1]);
  long part[6] = {a[0], 0, a[2]};
  do {
    const size_t bytes = left < kPartBytes ? left : kPartBytes;
    const size_t pages = (bytes + kPageBytes - 1) / kPageBytes;
    part[1] = static_cast<long>(bytes);
    const long result =
        choose(number, at<void>(part[2]), pages, [&] { return as_is(number, part); });
    if (result != 0) {
      return result;
    }
    part[0] += static_cast<long>(bytes);
    part[2] += static_cast<long>(pages);
    left -= bytes;
    doors_between_parts(number);
  } while (left != 0);
  return 0;
}

// --- threads and signals ---

long do_futex(long, const long* a) {
  return futex_call(a);
}
long do_sched_yield(long, const long*) {
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
  self()->clear_child_tid = at<int32_t>(a[0]);
  return self()->tid;
}
long do_set_robust_list(long, const long* a) {
  if (a[1] != kRobustListBytes) {
    return -EINVAL;
  }
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

// --- facts about host and process ---

long do_getrandom(long number, const long* a) {
  const auto wanted = static_cast<size_t>(a[1]);
  const size_t size = wanted < kTransferBytesMax ? wanted : kTransferBytesMax;
  return in_parts(number, at<void>(a[0]), size, [&](void* to, size_t bytes) {
    return choose_counted(number, to, bytes, [&] { return raw(number, to, bytes, a[2]); });
  });
}
long do_uname(long number, const long* a) {
  return choose_struct<struct utsname>(number, a, 0);
}
long do_sysinfo(long number, const long* a) {
  return choose_struct<struct sysinfo>(number, a, 0);
}
long do_times(long number, const long* a) {
  return a[0] == 0 ? choose(number, [&] { return as_is(number, a); })
                   : choose_struct<struct tms>(number, a, 0);
}
long do_getrusage(long number, const long* a) {
  return choose_struct<struct rusage>(number, a, 1);
}
long do_getcpu(long, const long* a) {
  const bool is_told = (a[0] == 0 || put_out(at<void>(a[0]), self()->cpu)) &&
                       (a[1] == 0 || put_out(at<void>(a[1]), 0U));
  return is_told ? 0 : -EFAULT;
}

// A thread runs where it wants to run, as far as it can see: on the first of its processors.
long do_sched_setaffinity(long number, const long* a) {
  const auto move_and_look = [&]() -> long {
    const long result = as_is(number, a);
    unsigned long mask[16] = {};
    long cpu = 0;
    if (result == 0 && raw(__NR_sched_getaffinity, a[0], sizeof(mask), mask) > 0) {
      while (cpu < 1023 && (mask[cpu / 64] >> cpu % 64 & 1) == 0) {
        ++cpu;
      }
    }
    return result < 0 ? result : cpu;
  };
  const long first = choose_and_follow(number, move_and_look, [&](long) { as_is(number, a); });
  if (first < 0) {
    return first;
  }
  Thread* thread = a[0] == 0 ? self() : thread_by_tid(static_cast<int>(a[0]));
  if (thread != nullptr) {
    thread->cpu = static_cast<uint32_t>(first);
  }
  return 0;
}

}  // namespace ftrun::shim
