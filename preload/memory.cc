// SPDX-License-Identifier: Apache-2.0
// Calls about memory: every mapping stands at the address that the primary got, since pointers are
// data. The kernel chooses it in the primary alone; a secondary asks for that one and nothing else.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <sys/mman.h>

#include "eventlog/records.h"
#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/files/mapping.h"
#include "preload/files/opened.h"
#include "preload/net/net.h"
#include "preload/raw.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

long as_is(long number, const long* a) {
  return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// 1 is FileClass::kState: copies belong to one replica, and what it writes there all others write,
// too.
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
        // What lies there in this replica and not in the primary must not be mapped over: it stops.
        // Where the program itself wants that (MAP_FIXED), the address was its own.
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
        // Where the primary's could grow in place, this one must: without MAYMOVE it fails
        // otherwise.
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
    const long result = choose(number, reinterpret_cast<void*>(part[2]), pages,
                               [&] { return as_is(number, part); });
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

}  // namespace ftrun::shim
