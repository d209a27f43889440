// SPDX-License-Identifier: Apache-2.0
// futex(2), all of it virtual: words are plain memory, since one thread runs at a time, and waiters
// are threads without the token. The model is kernel/futex of Linux 6.
// Runs in the application with the token held; no libc, no system calls.
#include <errno.h>
#include <linux/futex.h>

#include "preload/futex_operation.h"
#include "preload/guarded.h"
#include "preload/scheduler.h"
#include "preload/times.h"

namespace ftrun::shim {

namespace {

// By address; a bucket's waiters are in the order of their waits.
// Addresses are equal in all replicas, so buckets and the order in them are, too. One process:
// shared and private words are the same here.
WaitQueue buckets[256];

WaitQueue* futex_bucket(uint64_t address) {
  return &buckets[(address >> 2) * 0x9E3779B97F4A7C15u >> 56];
}

int futex_wake(uint64_t address, int count, uint32_t bits) {
  WaitQueue* bucket = futex_bucket(address);
  int woken = 0;
  // The kernel counts after it has woken: a count of nothing wakes one.
  count = count > 0 ? count : 1;
  for (Thread* t = bucket->first; t != nullptr && woken < count;) {
    Thread* next = t->next_in_queue;
    if (t->futex_address == address && (t->futex_bits & bits) != 0) {
      scheduler_wake_thread(t, 0);
      ++woken;
    }
    t = next;
  }
  return woken;
}

long futex_wait(uint32_t* word, uint32_t expected, int64_t deadline_ns, uint32_t bits) {
  if (bits == 0) {
    return -EINVAL;
  }
  uint32_t value = 0;
  if (!get_in(&value, word)) {
    return -EFAULT;
  }
  if (value != expected) {
    return -EAGAIN;
  }
  Thread* me = self();
  me->futex_address = reinterpret_cast<uint64_t>(word);
  me->futex_bits = bits;
  // ORDER: compared, then queued, and nothing can come between: the token is what the kernel's lock
  // of the bucket is.
  const int result = sched_wait(futex_bucket(me->futex_address), deadline_ns);
  // With a time-out it is not started over (ERESTART_RESTARTBLOCK).
  return result == kErrRestart && deadline_ns != kNoDeadline ? -EINTR : result;
}

int futex_requeue(uint64_t from, uint64_t to, int count) {
  WaitQueue* source = futex_bucket(from);
  int moved = 0;
  for (Thread* t = source->first; t != nullptr && moved < count;) {
    Thread* next = t->next_in_queue;
    if (t->futex_address == from) {
      ++moved;
      if (from != to) {  // else the kernel counts it, too; moved, it would be met again at the end
        t->futex_address = to;
        scheduler_move_waiter(t, futex_bucket(to));
      }
    }
    t = next;
  }
  return moved;
}

// The deadline of a wait: FUTEX_WAIT has a time from now, the others a time of the clock. 0, or
// -errno.
int futex_deadline(int command, int operation, long timeout, int64_t* deadline_ns) {
  *deadline_ns = kNoDeadline;
  if (timeout == 0) {
    return 0;
  }
  int64_t ns = 0;
  if (const int error = read_timespec(timeout, &ns)) {
    return error;
  }
  const bool real_time = (operation & FUTEX_CLOCK_REALTIME) != 0;
  *deadline_ns = command == FUTEX_WAIT
                     ? add_ns(virtual_now_ns(), ns)
                     : absolute_deadline(ns, real_time ? realtime_offset_ns() : 0);
  return 0;
}

long futex_wait_call(const long* a, int command, uint32_t bits) {
  int64_t deadline_ns = kNoDeadline;
  const int error = futex_deadline(command, static_cast<int>(a[1]), a[3], &deadline_ns);
  return error != 0 ? error
                    : futex_wait(reinterpret_cast<uint32_t*>(a[0]), static_cast<uint32_t>(a[2]),
                                 deadline_ns, bits);
}

long futex_requeue_call(const long* a) {
  const auto wake = static_cast<int>(a[2]);
  const auto requeue = static_cast<int>(a[3]);
  if (wake < 0 || requeue < 0) {
    return -EINVAL;
  }
  const auto address = static_cast<uint64_t>(a[0]);
  const int woken = wake == 0 ? 0 : futex_wake(address, wake, ~0u);
  return woken + futex_requeue(address, static_cast<uint64_t>(a[4]), requeue);
}

long futex_wake_operation(const long* a) {
  const auto encoded = static_cast<uint32_t>(a[5]);
  if (!is_futex_operation(encoded)) {
    return -ENOSYS;
  }
  auto* word = reinterpret_cast<uint32_t*>(a[4]);
  uint32_t value = 0;
  if (!get_in(&value, word)) {
    return -EFAULT;
  }
  // ORDER: the word first, then both wake-ups; a word that cannot be written wakes nobody.
  const bool also = futex_operation(&value, encoded);
  if (!put_out(word, value)) {
    return -EFAULT;
  }
  int woken = futex_wake(static_cast<uint64_t>(a[0]), static_cast<int>(a[2]), ~0u);
  if (also) {
    woken += futex_wake(static_cast<uint64_t>(a[4]), static_cast<int>(a[3]), ~0u);
  }
  return woken;
}

// Operations on words that are not aligned, and clocks where there is no time; 0 or -errno.
long check_futex(const long* a, int command, int operation) {
  if ((operation & FUTEX_CLOCK_REALTIME) != 0 && command != FUTEX_WAIT_BITSET) {
    return -ENOSYS;
  }
  const bool two_words =
      command == FUTEX_REQUEUE || command == FUTEX_CMP_REQUEUE || command == FUTEX_WAKE_OP;
  if (((a[0] | (two_words ? a[4] : 0)) & 3) != 0) {
    return -EINVAL;
  }
  // The kernel looks up the page behind a word that other processes may share (get_futex_key).
  uint32_t word = 0;
  const bool is_private = (operation & FUTEX_PRIVATE_FLAG) != 0;
  return is_private || get_in(&word, reinterpret_cast<const void*>(a[0])) ? 0 : -EFAULT;
}

}  // namespace

void futex_wake_address(uint32_t* word, int count) {
  futex_wake(reinterpret_cast<uint64_t>(word), count, ~0u);
}

long futex_call(const long* a) {
  const int operation = static_cast<int>(a[1]);
  const int command = operation & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
  const auto bits = static_cast<uint32_t>(a[5]);
  if (const long error = check_futex(a, command, operation)) {
    return error;
  }
  switch (command) {
    case FUTEX_WAIT:
      return futex_wait_call(a, command, ~0u);
    case FUTEX_WAIT_BITSET:
      return futex_wait_call(a, command, bits);
    case FUTEX_WAKE:
      return futex_wake(static_cast<uint64_t>(a[0]), static_cast<int>(a[2]), ~0u);
    case FUTEX_WAKE_BITSET:
      return bits == 0 ? -EINVAL
                       : futex_wake(static_cast<uint64_t>(a[0]), static_cast<int>(a[2]), bits);
    case FUTEX_CMP_REQUEUE: {
      uint32_t value = 0;
      if (!get_in(&value, reinterpret_cast<uint32_t*>(a[0]))) {
        return -EFAULT;
      }
      return value != bits ? -EAGAIN : futex_requeue_call(a);
    }
    case FUTEX_REQUEUE:
      return futex_requeue_call(a);
    case FUTEX_WAKE_OP:
      return futex_wake_operation(a);
    default:
      return -ENOSYS;  // priority inheritance: glibc reports it as not supported
  }
}

}  // namespace ftrun::shim
