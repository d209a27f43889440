// SPDX-License-Identifier: Apache-2.0
// flock(2) and the locks of fcntl(2). In state directories each replica locks its own copy, which
// nobody else can; everywhere else a lock is one of the unit: the edge holds it (net/lock.h), other
// processes see it held, and it survives a takeover.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include <stdint.h>

namespace ftrun::shim {

// F_SETLK, F_SETLKW, F_GETLK and their OFD forms on a native descriptor.
long lock_fcntl(long number, const long* a);

// Around the native close of a number (close, dup2 over it): what was there before, and what of
// its locks ends.
class ClosingFile {
 public:
  explicit ClosingFile(int fd);  // before the close
  void closed();                 // after it

 private:
  uint32_t description_;
  uint64_t inode_ = 0;  // 0: not needed
};

}  // namespace ftrun::shim
