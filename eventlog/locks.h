// SPDX-License-Identifier: Apache-2.0
// Locks on files outside the state directories: one lock of the unit, which the edge holds. Asked
// for as a bind is (a bind entry with kBindLock in its flags, a `bound` arrival as the answer), and
// given back by `unlisten`. The address names the file by the application's descriptor of it.
// Runs in the shim and in the supervisor: no libc.
#pragma once

#include <stdint.h>

#include "eventlog/arrivals.h"

namespace ftrun {

inline constexpr uint32_t kBindLock = 8;            // in the flags: not a socket but a lock
inline constexpr uint32_t kBindLockWait = 16;       // wait until nobody else holds it
inline constexpr uint32_t kLockOperationShift = 8;  // above: the operation

enum class LockOperation : uint32_t {
  kShared = 1,  // flock(2)
  kExclusive = 2,
  kUnlock = 3,
  kRangeRead = 4,  // fcntl(2)
  kRangeWrite = 5,
  kRangeUnlock = 6,
  kCancel = 7,  // ends the wait of an operation before; answered with EINTR
};

// What is locked. `start` and `length` (0: to the end) count from the file's start; fcntl only.
struct LockTarget {
  int32_t fd = -1;
  uint64_t inode = 0;
  int64_t start = 0;
  int64_t length = 0;
};
inline constexpr size_t kLockTargetBytes = 28;
static_assert(kLockTargetBytes <= kAddressBytesMax);

inline Address put_lock_target(const LockTarget& target) {
  Address address;
  address.length = kLockTargetBytes;
  __builtin_memcpy(address.bytes, &target.fd, 4);
  __builtin_memcpy(address.bytes + 4, &target.inode, 8);
  __builtin_memcpy(address.bytes + 12, &target.start, 8);
  __builtin_memcpy(address.bytes + 20, &target.length, 8);
  return address;
}

// False: `address` is none.
inline bool get_lock_target(const Address& address, LockTarget* target) {
  if (address.length != kLockTargetBytes) {
    return false;
  }
  __builtin_memcpy(&target->fd, address.bytes, 4);
  __builtin_memcpy(&target->inode, address.bytes + 4, 8);
  __builtin_memcpy(&target->start, address.bytes + 12, 8);
  __builtin_memcpy(&target->length, address.bytes + 20, 8);
  return true;
}

}  // namespace ftrun
