// SPDX-License-Identifier: Apache-2.0
// Finds the region's descriptor: it is inherited at the number below the doorbell's, and both lie
// above whatever limit the application had at its start; a limit that was lowered since tells
// nothing. Runs in the application at its start; no libc.
#include <fcntl.h>

#include "preload/exec/carry.h"
#include "preload/raw.h"

namespace ftrun::shim {
namespace {

// The kernel's struct linux_dirent64.
struct Entry {
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[];
};

int number_of(const char* name) {
  int number = 0;
  for (; *name >= '0' && *name <= '9'; ++name) {
    number = number * 10 + (*name - '0');
  }
  return number;
}

}  // namespace

int find_region_descriptor() {
  alignas(Entry) char entries[4096];
  int highest = -1;
  const long directory = raw(__NR_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_CLOEXEC);
  for (long n = 1; n > 0;) {
    n = raw(__NR_getdents64, directory, entries, sizeof(entries));
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const Entry*>(entries + at);
      const int number = number_of(entry->name);
      highest = number > highest ? number : highest;
      at += entry->length;
    }
  }
  raw(__NR_close, directory);
  return highest - 1;
}

}  // namespace ftrun::shim
