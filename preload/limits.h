// SPDX-License-Identifier: Apache-2.0
// See limits.cc. Runs in the application with the token held; no libc.
#pragma once

#include <stdint.h>

namespace ftrun::shim {

// Looks up the soft limit of descriptors: at the start, and when it has been set.
void limits_init();
// The arena is about to grow by so much: the application's limits shall not notice.
void limits_make_room(uint64_t bytes);
// How much of the arena is mapped. arena.cc.
uint64_t arena_bytes();

}  // namespace ftrun::shim
