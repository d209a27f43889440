// SPDX-License-Identifier: Apache-2.0
// Signals about files: who gets them (F_SETOWN and its kin) and whether (O_ASYNC). The model is
// fs/fcntl.c of Linux 6. Runs in the application with the token held; no libc.
#pragma once

#include "preload/net/file.h"

namespace ftrun::shim {

// F_SETOWN, F_GETOWN, F_SETOWN_EX, F_GETOWN_EX, F_SETSIG, F_GETSIG.
long owner_control(File* file, int command, unsigned long argument);
// O_ASYNC on or off, through descriptor `fd`; -ENOTTY for files that send no signals.
long set_async(int fd, File* file, bool on);

}  // namespace ftrun::shim
