// SPDX-License-Identifier: Apache-2.0
// Calls that say little about a virtual object, but must say it as the kernel does: which error a
// socket gives to fsync(2), which file system a pipe is of. The primary asks its kernel, with an
// object of the same kind that lives as long as the question; the answer is a choice.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include "preload/doors.h"
#include "preload/raw.h"

namespace ftrun::shim {

class StandIn {
 public:
  // REQUIRES: `fd` is virtual.
  explicit StandIn(int fd);
  ~StandIn();
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;
  long fd() const { return fd_; }  // or -errno

 private:
  long fd_ = -1;
  long other_ = -1;  // the other end of a pipe or pair
};

// What the kernel says to a call whose first argument is the virtual descriptor.
inline long call_stand_in(long number, const long* a) {
  const StandIn object(static_cast<int>(a[0]));
  return object.fd() < 0 ? object.fd() : raw(number, object.fd(), a[1], a[2], a[3], a[4], a[5]);
}
// The same as a choice, with the bytes that it writes to `out`.
inline long ask_stand_in(long number, const long* a, void* out = nullptr, size_t size = 0) {
  return choose(number, out, size, [&] { return call_stand_in(number, a); });
}

}  // namespace ftrun::shim
