// SPDX-License-Identifier: Apache-2.0
// The table of descriptor numbers: which are virtual (and their files), which native, which free.
// Runs in the application with the token held; no libc, no system calls of its own (the numbers are
// held in the kernel's table through preload/env.h).
#pragma once

#include "preload/net/file.h"
#include "preload/net/net.h"

namespace ftrun::shim {

inline constexpr int kDescriptorsMax = 65536;

// The file behind a virtual number, or nullptr. Borrowed: hold it across waits.
File* virtual_file(int fd);
// The same for socket calls; *error is -EBADF or -ENOTSOCK on failure.
File* socket_file(int fd, long* error);

// Puts `file` (one reference moves to the table) at the number of a native descriptor, which stays
// open behind it.
void fd_set_virtual(int fd, File* file, bool close_on_exec);
// A number of this file, -1 if there is none; not `but`.
int fd_number_of(const File* file, int but = -1);

// Gives `file` (one reference moves to the table) the lowest free number >= `at_least`. On -EMFILE
// the reference stays with the caller.
long install_file(File* file, int at_least, bool close_on_exec);
// A native number that is inherited over an exec. Descriptors of one open file have one
// description.
void fd_restore_native(int fd, uint8_t native_class, uint32_t description);
// Memory for the table. net_init() does it too.
void descriptors_init();

}  // namespace ftrun::shim
