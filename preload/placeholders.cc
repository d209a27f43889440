// SPDX-License-Identifier: Apache-2.0
// What stands in the kernel's table of descriptors where the application has a virtual object
// (env.h): so native and virtual ones share one numbering, and the kernel gives the lowest free
// number in every replica alike.
// Runs in the application on the shim's stack with the token held; no libc.
#include <fcntl.h>

#include "preload/env.h"
#include "preload/raw.h"

namespace ftrun::shim {
namespace {

// No directory: names relative to a virtual descriptor lead nowhere (ENOTDIR), as natively.
constexpr char kPlaceholder[] = "/dev/null";

}  // namespace

int hold_descriptor(int at_least) {
  // O_PATH: nothing can be read or written through it, whatever slips by the table. O_CLOEXEC,
  // until an exec sets it as the program has it (carry.cc): no number survives by mistake.
  const long fd = raw(__NR_openat, AT_FDCWD, kPlaceholder, O_PATH | O_CLOEXEC);
  if (fd < 0 || fd >= at_least) {
    return static_cast<int>(fd);
  }
  // The lowest number may be below what was asked for; it is used for a moment only.
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

}  // namespace ftrun::shim
