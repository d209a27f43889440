// SPDX-License-Identifier: Apache-2.0
// See guarded.h. Runs in the application, leave_guarded() in its signal handler; no libc.
#include "preload/guarded.h"

#include <errno.h>
#include <sys/types.h>

extern "C" {
#define FTRUN_LABEL(name) extern __attribute__((visibility("hidden"))) const char name[]
FTRUN_LABEL(ftrun_guarded_begin);
FTRUN_LABEL(ftrun_guarded_careful);
FTRUN_LABEL(ftrun_guarded_rest);
FTRUN_LABEL(ftrun_guarded_end);
FTRUN_LABEL(ftrun_guarded_count_left);
FTRUN_LABEL(ftrun_guarded_efault);
#undef FTRUN_LABEL
}

namespace ftrun::shim {

bool leave_guarded(greg_t* registers) {
  // The address alone decides: the handler may run on top of any code of the shim or of the
  // application, and nothing else is known to be sound there.
  const auto address = [](const char* label) { return reinterpret_cast<greg_t>(label); };
  const greg_t at = registers[REG_RIP];
  if (at < address(ftrun_guarded_begin) || at >= address(ftrun_guarded_end)) {
    return false;
  }
  // By the three parts of guarded.S. The quick copies have changed no register that holds an
  // argument: they start over byte by byte, so that the count is exact. A fault there tells what is
  // left.
  if (at < address(ftrun_guarded_careful)) {
    registers[REG_RIP] = address(ftrun_guarded_careful);
  } else if (at < address(ftrun_guarded_rest)) {
    registers[REG_RIP] = address(ftrun_guarded_count_left);
  } else {
    registers[REG_RIP] = address(ftrun_guarded_efault);
  }
  return true;
}

long iovecs_in(struct iovec (&to)[kIovecCountMax], const void* application, long count) {
  if (count < 0 || count > kIovecCountMax) {
    return -EINVAL;
  }
  // ORDER: copied, then checked: what is used is what was checked.
  const size_t bytes = static_cast<size_t>(count) * sizeof(struct iovec);
  if (copy_in(to, application, bytes) != bytes) {
    return -EFAULT;
  }
  for (long i = 0; i < count; ++i) {
    if (static_cast<ssize_t>(to[i].iov_len) < 0) {
      return -EINVAL;
    }
  }
  return 0;
}

}  // namespace ftrun::shim
