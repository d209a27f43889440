// SPDX-License-Identifier: Apache-2.0
// Memory files that processes of a unit share. Runs in supervisors and ftrun.
#pragma once

#include <cstddef>

#include "supervisor/base/result.h"

namespace ftrun {

// An empty file of this name and size, sealed, as a descriptor: no side can pull pages away under
// another's mapping, which would be a SIGBUS there. `allocated`: its memory is there already; what
// a takeover writes must not be the first to ask for it. `what` stands before an error. A soft
// limit of file sizes (ulimit -f), which is meant for the program, does not count.
enum class Allocated { kNo, kYes };
Result<int> make_memory_file(const char* name, size_t bytes, Allocated allocated, const char* what);

}  // namespace ftrun
