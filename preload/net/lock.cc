// SPDX-License-Identifier: Apache-2.0
// Locks at the edge: see lock.h. There are few: a list will do.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/lock.h"

#include <errno.h>

#include "preload/env.h"
#include "preload/net/pool.h"
#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

// What one owner has asked for, of one file. Not one for each range: which ranges are held the
// edge's kernel knows. Made with the first request, whatever its answer, and kept until the file is
// closed, since an unlock must go to the same object at the edge.
struct EdgeLock {
  EdgeLock* next = nullptr;
  uint32_t id = 0;  // among those of sockets
  LockOwner owner;
  LockTarget target;
  LockOperation operation = LockOperation::kUnlock;
  bool asked = false;      // an answer is on its way
  bool abandoned = false;  // and nobody waits for it any more
  uint64_t error = 0;      // the last answer
  uint32_t users = 0;      // threads inside a call: the object must stay
  bool released = false;
  WaitQueue waiters;
};

constinit Pool<EdgeLock> g_locks;
constinit EdgeLock* g_first = nullptr;

EdgeLock* find(LockOwner owner) {
  EdgeLock* lock = g_first;
  while (lock != nullptr && (lock->released || !(lock->owner == owner))) {
    lock = lock->next;
  }
  return lock;
}

EdgeLock* find_or_make(LockOwner owner) {
  if (EdgeLock* lock = find(owner)) {
    return lock;
  }
  EdgeLock* lock = g_locks.get();
  // Answers name it by this id, as a socket's do: so no socket may have the same.
  lock->id = tcp_new_socket_id();
  lock->owner = owner;
  lock->next = g_first;
  g_first = lock;
  return lock;
}

void free_if_unused(EdgeLock* lock) {
  if (!lock->released || lock->users != 0) {
    return;
  }
  // A thread that is still inside a call has a pointer to it; the last one frees it.
  EdgeLock** link = &g_first;
  while (*link != lock) {
    link = &(*link)->next;
  }
  *link = lock->next;
  g_locks.put(lock);
}

void ask(EdgeLock* lock, LockOperation operation, bool wait) {
  Output entry;
  entry.kind = OutputKind::kBind;
  entry.id = lock->id;
  entry.value = kBindLock | (wait ? kBindLockWait : 0) |
                static_cast<uint32_t>(operation) << kLockOperationShift;
  entry.address = put_lock_target(lock->target);
  lock->asked = true;
  emit_output(entry);
}

// 0 when no answer is on its way any more.
long wait_for_answer(EdgeLock* lock) {
  // Released: another thread has closed the file while this one waited. Nobody answers that request
  // any more (kUnlisten), so it must be looked for here.
  while (lock->asked && !lock->released) {
    const int error = sched_wait(&lock->waiters, kNoDeadline);
    // A signal and the answer may have come at one ingest point: the answer counts then, or a lock
    // that is held would be told as an interrupted wait.
    if (error != 0 && lock->asked) {
      return error;
    }
  }
  return lock->released ? -EBADF : 0;
}

long lock_and_wait(EdgeLock* lock, const LockTarget& target, LockOperation operation, bool wait) {
  if (const long error = wait_for_answer(lock)) {
    return error;  // of another thread's request, or of one that was abandoned
  }
  // Of an owner only one request is on its way: answers carry no number of their own.
  lock->target = target;
  lock->operation = operation;
  ask(lock, operation, wait);
  const long error = wait_for_answer(lock);
  if (error == 0) {
    return -static_cast<long>(lock->error);
  }
  if (!lock->released) {
    // The edge may have the lock already, and the answer may be on its way: it is undone when it
    // comes (edge_lock_answered). Until then other requests of this owner wait.
    lock->abandoned = true;
    ask(lock, LockOperation::kCancel, false);
  }
  return error;
}

}  // namespace

long edge_lock(LockOwner owner, const LockTarget& target, LockOperation operation, bool wait) {
  EdgeLock* lock = find_or_make(owner);
  ++lock->users;
  const long result = lock_and_wait(lock, target, operation, wait);
  --lock->users;
  free_if_unused(lock);
  return result;
}

bool edge_lock_exists(LockOwner owner) {
  return find(owner) != nullptr;
}

bool edge_lock_of_process_exists() {
  const EdgeLock* lock = g_first;
  while (lock != nullptr && (lock->released || !lock->owner.is_process)) {
    lock = lock->next;
  }
  return lock != nullptr;
}

bool edge_lock_of_anybody_exists() {
  return g_first != nullptr;
}

void edge_lock_release(LockOwner owner) {
  EdgeLock* lock = find(owner);
  if (lock == nullptr) {
    return;
  }
  Output entry;
  entry.kind = OutputKind::kUnlisten;
  entry.id = lock->id;
  emit_output(entry);
  // The edge unlocks, closes its descriptor and answers no more; what it has answered before finds
  // no object, or one that has not asked.
  lock->released = true;
  lock->asked = false;
  wake(&lock->waiters, kWakeAll);
  free_if_unused(lock);
}

bool edge_lock_answered(const Arrival& item) {
  EdgeLock* lock = g_first;
  while (lock != nullptr && lock->id != item.id) {
    lock = lock->next;
  }
  if (lock == nullptr) {
    return false;
  }
  // Of an operation and its cancellation one answer is enough. Only cancellations are answered by
  // EINTR: one that came too late is no answer to what was asked since.
  if (!lock->asked || (item.value == EINTR && !lock->abandoned)) {
    return true;
  }
  lock->asked = false;
  lock->error = item.value;
  if (lock->abandoned) {
    lock->abandoned = false;
    if (item.value == 0) {  // taken before the cancellation came: nobody wants it
      const bool range = lock->operation >= LockOperation::kRangeRead;
      ask(lock, range ? LockOperation::kRangeUnlock : LockOperation::kUnlock, false);
    }
  }
  wake(&lock->waiters, kWakeAll);
  return true;
}

}  // namespace ftrun::shim
