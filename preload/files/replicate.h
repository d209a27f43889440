// SPDX-License-Identifier: Apache-2.0
// How calls on files become the same in every replica: asked of the primary's kernel and logged, or
// carried out by everybody as the primary's result says (DESIGN section 3).
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include <fcntl.h>

#include "preload/doors.h"
#include "preload/files/outside.h"
#include "preload/files/paths.h"
#include "preload/net/net.h"
#include "preload/raw.h"

namespace ftrun::shim {

inline bool is_virtual(long fd) {
  return fd_kind(static_cast<int>(fd)) == FdKind::kVirtual;
}

// Opened with O_PATH: a place in the tree, on which few calls work (fdget() of the kernel).
// REQUIRES: the descriptor is not virtual.
inline bool is_place_only(long fd) {
  const long flags = raw(__NR_fcntl, fd, F_GETFL);
  return flags >= 0 && (flags & O_PATH) != 0;
}

inline void* pointer(long value) {
  return reinterpret_cast<void*>(value);
}

// Stops this replica: it cannot do what the primary did. `here` and `there` are results.
[[noreturn]] void replica_differs(const char* what, long number, long here, long there);

// A choice whose payload is `size` bytes at `out`.
long choose_out(long number, const long* a, long out, size_t size);
// A choice whose payload is as many bytes at `out` as the result says, `size` at most.
long choose_counted(long number, const long* a, long out, long size);

// A path-changing call: carried out where the primary succeeded.
template <typename F>
long replicate(long number, F&& function) {
  return choose_and_follow(
      number, [&] { return function(); },
      [&](long result) {
        const long here = function();
        if (here != result) {
          replica_differs("this replica could not follow", number, here, result);
        }
      });
}

// The same where `path` must be under a state directory; elsewhere it is what `change` says.
template <typename F>
long replicate_path(long number, int directory_fd, long path, Change change, F&& function) {
  const Path name(path);
  if (name.error() != 0) {
    return name.error();
  }
  if (classify_at(directory_fd, name.text()) != kState) {
    return refuse_change(number, directory_fd, name.text(), change);
  }
  return replicate(number, static_cast<F&&>(function));
}

}  // namespace ftrun::shim
