// SPDX-License-Identifier: Apache-2.0
// The shim's own memory (env.h): one range of addresses, the same in every replica and never given
// back, of which more is mapped as it is needed. Addresses in it are in the application's hands
// (thread-local storage, signal frames), so they must not depend on what this kernel gives.
// Runs in the application on the shim's stack with the token held; no libc.
#include <sys/mman.h>

#include "preload/env.h"
#include "preload/limits.h"
#include "preload/raw.h"
#include "preload/start.h"

namespace ftrun::shim {
namespace {

uint8_t* arena_next = reinterpret_cast<uint8_t*>(FTRUN_ARENA_ADDRESS);
uint64_t arena_end = FTRUN_ARENA_ADDRESS + FTRUN_ARENA_STEP_BYTES;  // of what is mapped

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

}  // namespace ftrun::shim
