// SPDX-License-Identifier: Apache-2.0
// See pending.h. Runs in the application with the token held; no libc.
//
// As the kernel has it: an ordinary signal waits once, with the facts of its first sending; a
// real-time signal waits as often as it was sent, oldest first. Which of several waiting signals is
// taken first is the caller's choice, by number. All of it lies in the arena, at the same address
// in every replica, since siginfo is what a handler is shown.
#include "preload/pending.h"

#include "preload/env.h"
#include "preload/exec/carry.h"
#include "preload/scheduler.h"

namespace ftrun::shim {
namespace {

constexpr int kFirstRealTime = 32;  // the kernel's SIGRTMIN

struct Queued {
  siginfo_t info;
  const Thread* thread;  // null: for the process
  Queued* next;
};

struct Pending {
  siginfo_t process_info[kSignals] = {};  // of ordinary signals
  Queued* first = nullptr;                // real-time signals, oldest first
  Queued* free = nullptr;
  uint32_t made = 0;
};
Pending pending;

bool is_real_time(int number) {
  return number >= kFirstRealTime;
}

Queued* new_entry() {
  Queued* entry = pending.free;
  if (entry != nullptr) {
    pending.free = entry->next;
  } else if (pending.made < kQueuedSignalsMax) {
    pending.made++;
    entry = static_cast<Queued*>(arena_alloc(sizeof(Queued), alignof(Queued)));
  }
  return entry;
}

void free_entry(Queued* entry) {
  entry->next = pending.free;
  pending.free = entry;
}

bool enqueue(const Thread* thread, const siginfo_t& info) {
  Queued* entry = new_entry();
  if (entry == nullptr) {
    return false;
  }
  entry->info = info;
  entry->thread = thread;
  entry->next = nullptr;
  Queued** end = &pending.first;
  while (*end != nullptr) {
    end = &(*end)->next;
  }
  *end = entry;
  return true;
}

// The oldest entry of `number` for `thread` into `info`; `*more`: there is another one.
bool dequeue(const Thread* thread, int number, siginfo_t* info, bool* more) {
  bool found = false;
  *more = false;
  for (Queued** link = &pending.first; *link != nullptr;) {
    Queued* entry = *link;
    if (entry->thread != thread || entry->info.si_signo != number) {
      link = &entry->next;
    } else if (found) {
      *more = true;
      return true;
    } else {
      found = true;
      *info = entry->info;
      *link = entry->next;
      free_entry(entry);
    }
  }
  return found;
}

}  // namespace

SignalSet process_pending;

bool pending_add(Thread* thread, int number, const siginfo_t& info) {
  SignalSet& set = thread != nullptr ? thread->pending : process_pending;
  const bool waits = (set & signal_bit(number)) != 0;
  set |= signal_bit(number);
  if (is_real_time(number)) {
    siginfo_t numbered = info;
    numbered.si_signo = number;
    return enqueue(thread, numbered);
  }
  if (!waits) {
    (thread != nullptr ? thread->pending_info : pending.process_info)[number - 1] = info;
  }
  return true;
}

siginfo_t pending_take(Thread* thread, int number) {
  const SignalSet bit = signal_bit(number);
  if ((pending_for(thread) & bit) == 0) {
    shim_fail("a signal is taken that does not wait", number, thread->index);
  }
  // ORDER: the thread's own before the process's, as dequeue_signal() of the kernel.
  const bool own = (thread->pending & bit) != 0;
  SignalSet& set = own ? thread->pending : process_pending;
  bool more = false;
  siginfo_t info = {};
  if (!is_real_time(number)) {
    info = (own ? thread->pending_info : pending.process_info)[number - 1];
  } else if (!dequeue(own ? thread : nullptr, number, &info, &more)) {
    // The queue was full when it was sent: the kernel still delivers it, without its facts.
    info.si_signo = number;
    info.si_code = SI_USER;
  }
  if (!more) {
    set &= ~bit;
  }
  return info;
}

namespace {
void drop_entries(const Thread* thread, SignalSet numbers) {
  for (Queued** link = &pending.first; *link != nullptr;) {
    Queued* entry = *link;
    if (entry->thread == thread && (signal_bit(entry->info.si_signo) & numbers) != 0) {
      *link = entry->next;
      free_entry(entry);
    } else {
      link = &entry->next;
    }
  }
}

// `thread`: null for what waits for the process.
void discard(Thread* thread, SignalSet numbers) {
  (thread != nullptr ? thread->pending : process_pending) &= ~numbers;
  drop_entries(thread, numbers);
}
}  // namespace

// Over an exec only the calling thread goes, and its thread becomes the main one; what waits for it
// and for the process stays.
void pending_carry(Carry& carry) {
  Thread* thread = self();
  carry.value(thread->pending);
  carry.value(process_pending);
  for (int number = 1; number < kFirstRealTime; ++number) {
    if ((thread->pending & signal_bit(number)) != 0) {
      carry.value(thread->pending_info[number - 1]);
    }
    if ((process_pending & signal_bit(number)) != 0) {
      carry.value(pending.process_info[number - 1]);
    }
  }
  const Queued* entry = carry.saves() ? pending.first : nullptr;
  for (;;) {
    bool more = entry != nullptr;
    carry.value(more);
    if (!more) {
      return;
    }
    bool own = carry.saves() && entry->thread != nullptr;
    siginfo_t info = carry.saves() ? entry->info : siginfo_t{};
    carry.value(own);
    carry.value(info);
    if (carry.saves()) {
      entry = entry->next;
    } else {
      enqueue(own ? thread : nullptr, info);
    }
  }
}

void pending_forget(Thread* thread) {
  discard(thread, ~SignalSet{0});
}

void pending_discard(int number) {
  discard(nullptr, signal_bit(number));
  for (uint32_t slot = 0; slot < thread_slots(); ++slot) {
    if (Thread* thread = thread_at(slot); thread != nullptr) {
      discard(thread, signal_bit(number));
    }
  }
}

}  // namespace ftrun::shim
