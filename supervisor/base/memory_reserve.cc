// SPDX-License-Identifier: Apache-2.0
// The reserve of address space: see memory_reserve.h. Runs in the supervisor.
#include "supervisor/base/memory_reserve.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace ftrun {

namespace {

void* reserve = MAP_FAILED;

void out_of_memory() {
  if (reserve != MAP_FAILED) {
    return use_memory_reserve();
  }
  constexpr char kText[] =
      "ftrun-supervisor: out of memory (see ulimit -v, and memory.max of the cgroup)\n";
  [[maybe_unused]] const ssize_t said = write(STDERR_FILENO, kText, sizeof(kText) - 1);
  _exit(1);
}

}  // namespace

bool keep_memory_reserve() {
  std::set_new_handler(&out_of_memory);
  if (reserve == MAP_FAILED) {
    reserve = mmap(nullptr, kMemoryReserveBytes, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  return reserve != MAP_FAILED;
}

void use_memory_reserve() {
  if (reserve != MAP_FAILED) {
    munmap(reserve, kMemoryReserveBytes);
    reserve = MAP_FAILED;
  }
}

}  // namespace ftrun
