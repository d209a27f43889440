// SPDX-License-Identifier: Apache-2.0
// Address space that a supervisor sets aside at its start, for the moment in which a limit
// (ulimit -v) leaves none: a takeover needs some megabytes. Runs in the supervisor.
#pragma once

#include <cstddef>

namespace ftrun {

inline constexpr size_t kMemoryReserveBytes = 16u << 20;

// Sets it aside, again perhaps; false: there is none. From the first call on, whoever finds no
// memory gets it; without it the supervisor says so on standard error and ends: nothing that it
// does can be half done, and its peer goes on.
bool keep_memory_reserve();
// Gives it back to whoever asks next. Before what needs memory that no operator new asks for.
void use_memory_reserve();

}  // namespace ftrun
