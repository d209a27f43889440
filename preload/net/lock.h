// SPDX-License-Identifier: Apache-2.0
// Locks that the edge holds for the unit (eventlog/locks.h): what the application asked for, and
// what the edge answered. Runs in the application with the token held; no libc, no system calls.
#pragma once

#include "eventlog/locks.h"

namespace ftrun::shim {

// Who owns a lock: an open file description (flock, OFD locks), or the process with all that it has
// open of a file (POSIX locks).
struct LockOwner {
  bool is_process = false;
  uint64_t value = 0;  // number of the description (net.h), or inode
  bool operator==(const LockOwner&) const = default;
};

// Asks the edge and waits for its answer: 0 or -errno, -EWOULDBLOCK among them. kErrRestart when a
// signal ended the wait: then the lock is not taken.
long edge_lock(LockOwner owner, const LockTarget& target, LockOperation operation, bool wait);
// Whether the edge holds something for this owner (or may, where an answer is on its way).
bool edge_lock_exists(LockOwner owner);
bool edge_lock_of_process_exists();
bool edge_lock_of_anybody_exists();
// The owner has closed the file: all of its locks end.
void edge_lock_release(LockOwner owner);

// A `bound` arrival. False: it is about no lock.
bool edge_lock_answered(const Arrival& item);

}  // namespace ftrun::shim
