// SPDX-License-Identifier: Apache-2.0
// What a path means to the unit: its absolute name, and which of three classes of files it is in.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ftrun::shim {

enum FileClass : uint8_t {
  kState = 1,   // under a state directory: each replica has its own
  kLogged = 2,  // content comes from the log
  kPlain = 3,   // opened by every replica, content compared
};

inline constexpr size_t kPathBytesMax = 4096;

// The absolute name of `path` relative to `directory_fd`. Symbolic links are not followed: a link
// out of a state directory is caught by the kernel's view, in which only copies are writable.
// `out` has kPathBytesMax bytes. False if the name is longer, or the directory has none.
bool absolute_path(int directory_fd, const char* path, char* out);

FileClass classify(const char* absolute);
FileClass classify_at(int directory_fd, const char* path);

// Devices that may be opened for writing: what is written to them is gone.
bool is_harmless_device(const char* absolute);

// -EROFS, and a notice that names the path and --state-dir.
long refuse_write(int directory_fd, const char* path);

}  // namespace ftrun::shim
