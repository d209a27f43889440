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
  // What a secondary remembers of its own descriptor where its file is not the primary's:
  kLoggedElsewhere = 4,  // content comes from the log, but not after a promotion: ESTALE
  kChanged = 5,          // content would be compared, and cannot be the same
  kFifo = 6,             // only in an open's record: a virtual file is put over it
};

inline constexpr size_t kPathBytesMax = 4096;

// A path that the application gave, copied in.
class Path {
 public:
  explicit Path(long address);
  long error() const { return error_; }  // 0, -EFAULT or -ENAMETOOLONG
  // REQUIRES: no error.
  const char* text() const { return text_; }

 private:
  char text_[kPathBytesMax];
  long error_;
};

// The absolute name of `path` relative to `directory_fd`. Symbolic links are not followed: a link
// out of a state directory is caught by the kernel's view, in which only copies are writable.
// `out` has kPathBytesMax bytes. False if the name is longer, or the directory has none.
bool absolute_path(int directory_fd, const char* path, char* out);

// Replaces the last part of `absolute`, which is a symbolic link, by what the link says. False if
// the name becomes too long.
bool resolve_link(char* absolute, const char* target);

FileClass classify(const char* absolute);
FileClass classify_at(int directory_fd, const char* path);

bool has_state_directories();
bool is_under_proc(const char* absolute);
// What the kernel calls the file of a native descriptor; `out` as above.
bool name_of_descriptor(int fd, char* out);

// Devices that may be opened for writing: what is written to them is gone.
bool is_harmless_device(const char* absolute);

// -EROFS, and a notice that names the path and --state-dir.
long refuse_write(int directory_fd, const char* path);

}  // namespace ftrun::shim
