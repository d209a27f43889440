// SPDX-License-Identifier: Apache-2.0
// Which file an open outside the state directories has found, and how its content reaches the other
// replicas. Others may replace or change such a file at any time, also between the primary's open
// and a secondary's: content of small files comes from the log; large ones must be the very same
// file in both, unchanged, or the replica that finds another one stops when it needs its content.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include <fcntl.h>
#include <stdint.h>

#include "preload/files/paths.h"

namespace ftrun::shim {

// Up to this size the log carries what is read: a copy more in the ring, but no hash in either
// replica, and no system call in the secondary.
inline constexpr int64_t kLoggedFileBytesMax = 1 << 20;

// As the primary found it: stands in the log as the payload of the open.
struct Opened {
  FileClass file_class = kPlain;  // what the primary made of it
  uint8_t has_identity = 0;       // the rest is set, and worth comparing
  uint8_t reserved[6] = {};
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;
};
static_assert(sizeof(Opened) == 48);

inline bool opens_to_write(long flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
}

// Primary: `fd` is what `absolute` led to; `by_name` is the class that its name has.
Opened describe_opened(int fd, const char* absolute, FileClass by_name);
// Secondary: the class of its own `fd`, given what the primary saw.
FileClass compare_opened(int fd, const Opened& seen);

// The content of a descriptor of this class comes from the log.
inline bool is_logged(uint8_t file_class) {
  return file_class == kLogged || file_class == kLoggedElsewhere;
}
// Stops this replica if its file is another one than the primary's.
void require_same_file(int fd, long number);

}  // namespace ftrun::shim
