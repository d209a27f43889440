// SPDX-License-Identifier: Apache-2.0
// Facts about host and process: asked with the shim's own memory, logged, and copied out in every
// replica.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/guarded.h"
#include "preload/net/bytes.h"
#include "preload/raw.h"
#include "preload/scheduler.h"

namespace ftrun::shim {
namespace {

void* at(long value) {
  return reinterpret_cast<void*>(value);
}

long as_is(long number, const long* a) {
  return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// `bytes` at `address`, of which the first `known` are at `value` and the others zero.
long put_padded(long address, const void* value, size_t known, size_t bytes) {
  const size_t first = known < bytes ? known : bytes;
  auto* out = static_cast<uint8_t*>(at(address));
  return copy_out(out, value, first) == first &&
                 clear_out(out + first, bytes - first) == bytes - first
             ? 0
             : -EFAULT;
}

// A choice that fills in a structure at `out`: argument number `which` of the call.
// The kernel writes into the shim's structure, in the primary; put_out() fills the application's in
// every replica. So a bad address is EFAULT in all of them.
template <typename T>
long choose_struct(long number, const long* a, int which) {
  T value = {};
  const long result = choose(number, &value, sizeof(value), [&] {
    long arguments[6] = {a[0], a[1], a[2], a[3], a[4], a[5]};
    arguments[which] = reinterpret_cast<long>(&value);
    return as_is(number, arguments);
  });
  return is_error(result) || put_out(at(a[which]), value) ? result : -EFAULT;
}

// Words of the sets of CPUs and nodes: 8192 CPUs, 1024 nodes, the kernel's limits.
constexpr size_t kCpuBytesMax = 1024;
constexpr size_t kNodeBytesMax = 128;

}  // namespace

long do_capget(long number, const long* a) {
  struct __user_cap_header_struct header;
  if (!get_in(&header.version, at(a[0]))) {
    return -EFAULT;
  }
  size_t sets = 0;
  switch (header.version) {
    // One set of 32 bits, then two (capget(2)); the kernel is always asked for what the header
    // says.
    case _LINUX_CAPABILITY_VERSION_1:
      sets = 1;
      break;
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
      sets = 2;
      break;
    default: {
      // How libraries ask which version there is.
      constexpr uint32_t kPreferred = _LINUX_CAPABILITY_VERSION_3;
      return !put_out(at(a[0]), kPreferred) ? -EFAULT : a[1] == 0 ? 0 : -EINVAL;
    }
  }
  if (a[1] == 0) {
    return 0;
  }
  if (!get_in(&header, at(a[0]))) {
    return -EFAULT;
  }
  struct __user_cap_data_struct data[2] = {};
  const long result =
      choose(number, data, sizeof(data), [&] { return raw(number, &header, data); });
  const size_t bytes = sets * sizeof(data[0]);
  return result < 0 || copy_out(at(a[1]), data, bytes) == bytes ? result : -EFAULT;
}

long do_sched_getaffinity(long number, const long* a) {
  uint8_t mask[kCpuBytesMax];
  const auto wanted = static_cast<uint32_t>(a[1]);
  if (wanted % sizeof(long) != 0) {
    return -EINVAL;
  }
  const size_t size = wanted < sizeof(mask) ? wanted : sizeof(mask);
  const long result =
      choose_counted(number, mask, sizeof(mask), [&] { return raw(number, a[0], size, mask); });
  const auto bytes = static_cast<size_t>(result > 0 ? result : 0);
  return copy_out(at(a[2]), mask, bytes) == bytes ? result : -EFAULT;
}

// --- scheduling: an operator may change it from outside, for one replica alone ---

long do_getpriority(long number, const long* a) {
  return choose(number, [&] { return as_is(number, a); });
}
long do_ioprio_get(long number, const long* a) {
  return choose(number, [&] { return as_is(number, a); });
}
long do_sched_getscheduler(long number, const long* a) {
  return choose(number, [&] { return as_is(number, a); });
}

long do_sched_getparam(long number, const long* a) {
  int parameter = 0;
  if (a[1] == 0) {
    return -EINVAL;
  }
  const long result =
      choose(number, &parameter, sizeof(parameter), [&] { return raw(number, a[0], &parameter); });
  return result < 0 || put_out(at(a[1]), parameter) ? result : -EFAULT;
}

long do_sched_rr_get_interval(long number, const long* a) {
  struct timespec interval = {};
  const long result =
      choose(number, &interval, sizeof(interval), [&] { return raw(number, a[0], &interval); });
  return result < 0 || put_out(at(a[1]), interval) ? result : -EFAULT;
}

long do_sched_getattr(long number, const long* a) {
  constexpr uint32_t kBytesMin = 48;    // SCHED_ATTR_SIZE_VER0
  constexpr uint32_t kBytesMax = 4096;  // the kernel's: a page
  uint8_t attributes[56] = {};          // struct sched_attr, which older headers have not
  const auto size = static_cast<uint32_t>(a[2]);
  if (a[1] == 0 || size < kBytesMin || size > kBytesMax || a[3] != 0) {
    return -EINVAL;
  }
  const size_t known = size < sizeof(attributes) ? size : sizeof(attributes);
  const long result = choose(number, &attributes, sizeof(attributes),
                             [&] { return raw(number, a[0], attributes, known, 0); });
  return result < 0 ? result : put_padded(a[1], attributes, known, size);
}

long do_get_mempolicy(long number, const long* a) {
  struct {
    int mode;
    uint32_t padding;
    uint8_t nodes[kNodeBytesMax];
  } answer = {};
  constexpr uint64_t kNodesMax = 8 * kNodeBytesMax;
  const auto wanted = static_cast<uint64_t>(a[2]);
  // The kernel takes one bit less than it is told.
  const uint64_t count = wanted < kNodesMax + 1 ? wanted : kNodesMax + 1;
  const uint64_t bytes = wanted == 0 ? 0 : (wanted - 1 + 63) / 64 * 8;
  if (a[1] != 0 && bytes > 4096) {
    return -EINVAL;
  }
  const long result = choose(number, &answer, sizeof(answer), [&] {
    return raw(number, &answer.mode, a[1] == 0 ? nullptr : answer.nodes, count, a[3], a[4]);
  });
  if (result < 0) {
    return result;
  }
  if (a[0] != 0 && !put_out(at(a[0]), answer.mode)) {
    return -EFAULT;
  }
  return a[1] == 0 ? 0 : put_padded(a[1], answer.nodes, sizeof(answer.nodes), bytes);
}

// Native: the process has the same id in every replica's PID namespace.
uint32_t application_process_id() {
  return static_cast<uint32_t>(raw(__NR_getpid));
}

// Native as well: who the program runs as is what the launcher has made it, and calls that change
// it are carried out by all.
struct ucred application_credentials() {
  return {static_cast<pid_t>(application_process_id()), static_cast<uid_t>(raw(__NR_geteuid)),
          static_cast<gid_t>(raw(__NR_getegid))};
}

long do_getrandom(long number, const long* a) {
  const auto wanted = static_cast<size_t>(a[1]);
  const size_t size = wanted < kTransferBytesMax ? wanted : kTransferBytesMax;
  // A part is a record. Where the program's memory ends the kernel gives less, and the record says
  // so.
  return in_parts(number, at(a[0]), size, [&](void* to, size_t bytes) {
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
  // Node 0: a program that asks for its place gets one that does not change behind its back.
  const bool is_told =
      (a[0] == 0 || put_out(at(a[0]), self()->cpu)) && (a[1] == 0 || put_out(at(a[1]), 0U));
  return is_told ? 0 : -EFAULT;
}

// A thread runs where it wants to run, as far as it can see: on the first of its processors.
long do_sched_setaffinity(long number, const long* a) {
  const auto move_and_look = [&]() -> long {
    // Everybody carries it out, so that a promoted replica runs where the program has put itself;
    // what the program sees is the primary's first processor.
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
