// SPDX-License-Identifier: Apache-2.0
// Whether an exec can be followed, and if not, why. Runs in the application with the token held; no
// libc.
#pragma once

#include <stdint.h>

namespace ftrun::shim {

// The values are in the log.
enum class Obstacle : uint8_t {
  kNone = 0,
  // The program's file.
  kStatic = 1,
  kLoader = 2,
  kForeign = 3,
  kPrivileges = 4,
  kUnreadable = 5,
  // The process.
  kThreads = 6,
  kNotFirstThread = 7,
  kSocket = 8,
  kInherited = 9,
  kTooMuch = 10,
  kLock = 11,
};

// Looks at the file as the supervisor does before the first start (process/program_check.h), which
// says more. kNone also for what the kernel will not execute: its errno is the right one.
// `flags`: of execveat.
Obstacle program_obstacle(int directory_fd, const char* path, int flags);

// The environment for the new image: `given`, in which what the shim needs is put back where it was
// dropped or changed (Control::preload_environment). `*out` is valid until the next call. 0,
// -EFAULT or -E2BIG. The strings that are not changed are still the application's.
long exec_environment(char* const* given, char*** out);

}  // namespace ftrun::shim
