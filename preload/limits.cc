// SPDX-License-Identifier: Apache-2.0
// Resource limits. What the shim itself maps must not be charged to the application: limits of the
// address space and of data are set higher in the kernel by that much, and read back as the
// application set them. Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/env.h"
#include "preload/exec/carry.h"
#include "preload/guarded.h"
#include "preload/limits.h"
#include "preload/raw.h"
#include "preload/scheduler.h"

namespace ftrun::shim {
namespace {

// Kept, so that no dup or poll needs to ask for it.
constinit int g_descriptor_limit = 1024;

// A limit that the shim's own mappings count against, as the application has set it.
struct ShiftedLimit {
  bool is_set = false;
  struct rlimit seen = {};
};
constinit ShiftedLimit g_address_space;
constinit ShiftedLimit g_data;

ShiftedLimit* shifted(long resource) {
  return resource == RLIMIT_AS ? &g_address_space : resource == RLIMIT_DATA ? &g_data : nullptr;
}

// `more`: by how much the arena is about to grow.
uint64_t shim_bytes(long resource, uint64_t more) {
  // Equal in every replica: the arena grows by what the program does. Shared mappings count against
  // the address space, not against data (setrlimit(2)).
  return arena_bytes() + more + (resource == RLIMIT_AS ? region_map_bytes() : 0);
}

rlim_t above(rlim_t limit, uint64_t bytes) {
  return limit > RLIM_INFINITY - bytes ? RLIM_INFINITY : limit + bytes;
}

// Not above the hard limit that there is, which only a privileged process may raise, unless the
// application means to raise it.
struct rlimit shift(long resource, const struct rlimit& wanted, uint64_t more) {
  const uint64_t bytes = shim_bytes(resource, more);
  struct rlimit native = {above(wanted.rlim_cur, bytes), above(wanted.rlim_max, bytes)};
  struct rlimit now = {};
  raw(__NR_getrlimit, resource, &now);
  const rlim_t hard = shifted(resource)->is_set ? shifted(resource)->seen.rlim_max : now.rlim_max;
  if (wanted.rlim_max <= hard && native.rlim_max > now.rlim_max) {
    native.rlim_max = now.rlim_max;
  }
  native.rlim_cur = native.rlim_cur < native.rlim_max ? native.rlim_cur : native.rlim_max;
  return native;
}

long get_limit(long resource, struct rlimit* out) {
  const ShiftedLimit* limit = shifted(resource);
  if (limit != nullptr && limit->is_set) {
    *out = limit->seen;
    return 0;
  }
  return choose(__NR_getrlimit, out, sizeof(*out),
                [&] { return raw(__NR_getrlimit, resource, out); });
}

long set_limit(long resource, const struct rlimit& wanted) {
  if (wanted.rlim_cur > wanted.rlim_max) {
    return -EINVAL;
  }
  ShiftedLimit* limit = shifted(resource);
  const struct rlimit native = limit != nullptr ? shift(resource, wanted, 0) : wanted;
  // The result is the primary's: a hard limit may have been lowered from outside for one replica.
  // What is set is equal, since it is computed from what the program wants and from the arena.
  const long result = choose_and_follow(
      __NR_setrlimit, [&] { return raw(__NR_setrlimit, resource, &native); },
      [&](long) { raw(__NR_setrlimit, resource, &native); });
  if (result != 0) {
    return result;
  }
  if (limit != nullptr) {
    *limit = {true, wanted};
  }
  if (resource == RLIMIT_NOFILE) {
    // What the kernel has now, less the numbers of the shim's own descriptors.
    limits_init();
  }
  return 0;
}

}  // namespace

void limits_init() {
  struct rlimit limit = {};
  raw(__NR_getrlimit, RLIMIT_NOFILE, &limit);
  // Whoever may raise it still does not reach the shim's own, the region's and the doorbell.
  const auto reach = static_cast<rlim_t>(doors_control()->doorbell_fd - 1);
  g_descriptor_limit = static_cast<int>(limit.rlim_cur < reach ? limit.rlim_cur : reach);
}

void limits_make_room(uint64_t bytes) {
  constexpr long kResources[] = {RLIMIT_AS, RLIMIT_DATA};
  for (const long resource : kResources) {
    if (shifted(resource)->is_set) {
      const struct rlimit native = shift(resource, shifted(resource)->seen, bytes);
      raw(__NR_setrlimit, resource, &native);
    }
  }
}

void limits_carry(Carry& carry) {
  carry.value(g_address_space);
  carry.value(g_data);
}

int descriptor_limit() {
  return g_descriptor_limit;
}

long ask_pipe_capacity(size_t bytes) {
  return choose(__NR_fcntl, [&]() -> long {
    int ends[2];
    if (raw(__NR_pipe2, ends, O_CLOEXEC) < 0) {
      return -EPERM;  // no descriptor is left to ask with
    }
    const long result = raw(__NR_fcntl, ends[0], F_SETPIPE_SZ, bytes);
    raw(__NR_close, ends[0]);
    raw(__NR_close, ends[1]);
    return result;
  });
}

long do_getrlimit(long, const long* a) {
  struct rlimit limit = {};
  const long result = get_limit(a[0], &limit);
  return result == 0 && !put_out(reinterpret_cast<void*>(a[1]), limit) ? -EFAULT : result;
}

long do_setrlimit(long, const long* a) {
  struct rlimit wanted;
  return get_in(&wanted, reinterpret_cast<const void*>(a[1])) ? set_limit(a[0], wanted) : -EFAULT;
}

long do_prlimit64(long, const long* a) {
  struct rlimit wanted = {};
  struct rlimit old = {};
  if (a[2] != 0 && !get_in(&wanted, reinterpret_cast<const void*>(a[2]))) {
    return -EFAULT;
  }
  const auto whose = static_cast<int>(a[0]);
  if (whose != 0 && thread_by_tid(whose) == nullptr) {
    return raw(__NR_kill, whose, 0) == -ESRCH || whose < 0 ? -ESRCH : -EPERM;
  }
  long result = get_limit(a[1], &old);
  if (result == 0 && a[2] != 0) {
    result = set_limit(a[1], wanted);
  }
  const bool tells = result == 0 && a[3] != 0;
  return tells && !put_out(reinterpret_cast<void*>(a[3]), old) ? -EFAULT : result;
}

}  // namespace ftrun::shim
