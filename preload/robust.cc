// SPDX-License-Identifier: Apache-2.0
// What the kernel does with a thread's robust mutexes at its end (exit_robust_list in
// kernel/futex/core.c), done by the shim while it holds the token: the kernel would do it behind
// everyone's back. Runs in the application on the shim's stack; no libc.
#include <linux/futex.h>

#include "preload/guarded.h"
#include "preload/scheduler.h"

namespace ftrun::shim {
namespace {

// The kernel's bound on a list that may be circular, ROBUST_LIST_LIMIT.
constexpr int kEntriesMax = 2048;

// The owner of this lock word has died: mark it and pass it on, once. False: the list is damaged.
bool hand_on(uint32_t* word, uint32_t tid, bool unlocking) {
  uint32_t value = 0;
  if (!get_in(&value, word)) {
    return false;
  }
  if (unlocking && value == 0) {
    // It had released the lock and was about to wake somebody.
    futex_wake_address(word, 1);
    return true;
  }
  if ((value & FUTEX_TID_MASK) != tid) {
    return true;
  }
  const uint32_t died = (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
  if (!put_out(word, died)) {
    return false;
  }
  if ((value & FUTEX_WAITERS) != 0) {
    futex_wake_address(word, 1);
  }
  return true;
}

}  // namespace

void robust_exit(const Thread* thread) {
  robust_list_head head;
  if (thread->robust_list == nullptr || !get_in(&head, thread->robust_list)) {
    return;
  }
  const auto tid = static_cast<uint32_t>(thread->tid);
  // Bit 0 marks locks with priority inheritance, which the shim does not have.
  const auto entry_of = [](const robust_list* link) {
    return reinterpret_cast<uint64_t>(link) & ~uint64_t{1};
  };
  const auto word_of = [&head](uint64_t entry) {
    return reinterpret_cast<uint32_t*>(entry + static_cast<uint64_t>(head.futex_offset));
  };
  const uint64_t unlocking = entry_of(head.list_op_pending);
  const auto begin = reinterpret_cast<uint64_t>(thread->robust_list);
  uint64_t entry = entry_of(head.list.next);
  for (int i = 0; i < kEntriesMax && entry != begin; ++i) {
    // ORDER: the next one first: whoever is woken may reuse this entry.
    robust_list link = {};
    const bool has_next = get_in(&link, reinterpret_cast<const void*>(entry));
    if (entry != unlocking && !hand_on(word_of(entry), tid, false)) {
      return;
    }
    if (!has_next) {
      return;
    }
    entry = entry_of(link.next);
  }
  if (unlocking != 0) {
    hand_on(word_of(unlocking), tid, true);
  }
}

}  // namespace ftrun::shim
