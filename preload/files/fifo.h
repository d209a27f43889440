// SPDX-License-Identifier: Apache-2.0
// Named pipes outside the state directories, into which others write: input of the unit. Every
// replica holds the pipe open; the primary looks into it (tee(2)) and logs what is there, and takes
// it out only when whoever reads its log has that record. So a primary that dies takes nothing with
// it: its successor finds in the pipe what no record tells of.
//
// Readiness is looked for every 10 ms while somebody waits for it, and at a read of an empty pipe.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include <stdint.h>

#include "preload/net/file.h"

namespace ftrun::shim {

// Puts a virtual file over the native descriptor `fd`, which is a pipe opened without blocking;
// then waits as open(2) does, unless `flags` say not to. Returns `fd` or -errno.
long fifo_install(int fd, long flags);
// `fd` is a new number of a virtual file: if that is a pipe of ours, the pipe itself is put there.
void fifo_dupped(int fd);

bool is_fifo(int fd);

// The next look that is due, or kNoDeadline; and what is due at `now_ns`.
int64_t fifo_next_look_ns();
void fifo_look_if_due(int64_t now_ns);

}  // namespace ftrun::shim
