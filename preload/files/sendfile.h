// SPDX-License-Identifier: Apache-2.0
// What sendfile, splice and copy_file_range have in common: bytes go through a buffer of the
// shim's, read and written by the ordinary calls. Runs in the application on the shim's stack with
// the token held; no libc.
#pragma once

#include <stdint.h>

namespace ftrun::shim {

inline constexpr long kChunkBytesMax = 64 * 1024;

// As F_GETFL, of any descriptor: or -errno.
long descriptor_flags(int fd);

// Where a file is read or written: at a position of the call's own, or at the descriptor's.
struct Place {
  int fd;
  int64_t offset;  // < 0: where the descriptor stands, which moves on
};

// At most `bytes` bytes from one to the other: how many, or -errno. REQUIRES: what is read can be
// written without waiting; bytes <= kChunkBytesMax. Moves `offset`s that are not negative on.
long move_chunk(Place* from, Place* to, long bytes);

}  // namespace ftrun::shim
