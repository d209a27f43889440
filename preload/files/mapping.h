// SPDX-License-Identifier: Apache-2.0
// Mapping small files outside the state directories: every replica gets a copy of what the primary
// read at the time of the call. A mapping of the file itself would show in each replica what others
// have made of it, and end in SIGBUS when it is cut. Whether a change made after mmap is seen in a
// private mapping is unspecified (mmap(2)).
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

namespace ftrun::shim {

// Whether the mmap with these arguments is of that kind. Programs and libraries are not: debuggers
// and call stacks want their names.
bool maps_copy(const long* a);
long map_copy(const long* a);

}  // namespace ftrun::shim
