// SPDX-License-Identifier: Apache-2.0
// Pipes inside the process. The buffer is a ring of pages as in the kernel, so that partial writes,
// PIPE_BUF atomicity, packets (O_DIRECT) and every readiness edge come out the same.
// Runs in the application with the token held; no libc, no system calls.
#pragma once

#include "preload/net/file.h"

namespace ftrun::shim {

// F_GETPIPE_SZ and F_SETPIPE_SZ; -EBADF for what is no pipe.
long pipe_capacity(File* file, bool set, unsigned long bytes);
// The end of `file`'s pipe that open(2) with these flags would give; a reference. An end that is
// there already is shared; nullptr for both at once (O_RDWR).
File* pipe_reopen(File* file, int status_flags);
// Bytes to read (FIONREAD).
size_t pipe_bytes(const File* file);

}  // namespace ftrun::shim
