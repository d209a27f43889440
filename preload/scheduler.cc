// SPDX-License-Identifier: Apache-2.0
// See scheduler.h.
//
// ORDER: a hand-over is logged before the next thread is woken; the old holder touches no shared
// state of the shim after the wake.
#include "preload/scheduler.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>

#include "preload/doors.h"
#include "preload/files/fifo.h"
#include "preload/guarded.h"
#include "preload/pending.h"
#include "preload/raw.h"
#include "preload/signals.h"
#include "preload/start.h"

extern "C" {
__attribute__((visibility("hidden"),
               tls_model("initial-exec"))) __thread ftrun::shim::Thread* ftrun_self;
__attribute__((visibility("hidden"))) ftrun::shim::Thread* ftrun_clone_child;
void ftrun_clone_return();
[[noreturn]] __attribute__((visibility("hidden"))) void shim_clone_parent(long result);
[[noreturn]] __attribute__((visibility("hidden"))) void shim_clone_child(ftrun::shim::Thread*);
}

namespace ftrun::shim {
namespace {

constexpr uint32_t kThreadsMax = 8192;
constexpr size_t kShimStackBytes = 64 * 1024;
constexpr size_t kAlternateStackBytes = 64 * 1024;
constexpr uint32_t kExitedKept = 8;

struct Scheduler {
  Thread* threads[kThreadsMax] = {};
  uint32_t slots = 0;    // used prefix of `threads`
  uint32_t created = 0;  // next index
  uint32_t live = 0;
  WaitQueue run_queue;
  Thread* timed = nullptr;  // waiting with a deadline, unordered
  WaitQueue exited;         // oldest first: their memory is used again
  uint32_t exited_count = 0;
};
Scheduler scheduler;

void push(WaitQueue* queue, Thread* thread) {
  thread->next_in_queue = nullptr;
  if (queue->last != nullptr) {
    queue->last->next_in_queue = thread;
  } else {
    queue->first = thread;
  }
  queue->last = thread;
}

Thread* pop(WaitQueue* queue) {
  Thread* thread = queue->first;
  if (thread != nullptr) {
    queue->first = thread->next_in_queue;
    if (queue->first == nullptr) {
      queue->last = nullptr;
    }
    thread->next_in_queue = nullptr;
  }
  return thread;
}

void remove(WaitQueue* queue, Thread* thread) {
  Thread* previous = nullptr;
  for (Thread* t = queue->first; t != nullptr; previous = t, t = t->next_in_queue) {
    if (t != thread) {
      continue;
    }
    (previous != nullptr ? previous->next_in_queue : queue->first) = t->next_in_queue;
    if (queue->last == t) {
      queue->last = previous;
    }
    t->next_in_queue = nullptr;
    return;
  }
  shim_fail("a waiting thread is not in its queue", thread->index);
}

void remove_timed(Thread* thread) {
  for (Thread** link = &scheduler.timed; *link != nullptr; link = &(*link)->next_timed) {
    if (*link == thread) {
      *link = thread->next_timed;
      return;
    }
  }
}

int64_t earliest_deadline() {
  int64_t earliest = net_next_timer_ns();
  const int64_t look = fifo_next_look_ns();
  if (look != kNoDeadline && (earliest == kNoDeadline || look < earliest)) {
    earliest = look;
  }
  const int64_t alarm = signals_next_timer_ns();
  if (alarm != kNoDeadline && (earliest == kNoDeadline || alarm < earliest)) {
    earliest = alarm;
  }
  for (Thread* t = scheduler.timed; t != nullptr; t = t->next_timed) {
    if (earliest == kNoDeadline || t->deadline_ns < earliest) {
      earliest = t->deadline_ns;
    }
  }
  return earliest;
}

// The word is the thread's own, so a waker needs no lock and wakes nobody else.
// ORDER: the acquire pairs with give_token()'s release: all that the last holder did, in shim and
// application, is seen by this one. It is the only synchronisation between threads that there is.
void await_token(Thread* thread) {
  while (thread->token.load(std::memory_order_acquire) == 0) {
    raw(__NR_futex, &thread->token, FUTEX_WAIT_PRIVATE, 0, nullptr);
  }
}

// Hand-over. From the store on the other thread runs, and may already be at its next call: the
// giver must not touch any state of the scheduler, the doors or its own Thread after it, but for
// waiting.
void give_token(Thread* next) {
  if (next->token.load(std::memory_order_relaxed) != 0) {
    shim_fail("the token is with two threads", self()->index, next->index);
  }
  next->state = ThreadState::kRunning;
  next->token.store(1, std::memory_order_release);
  raw(__NR_futex, &next->token, FUTEX_WAKE_PRIVATE, 1);
}

// The next runnable thread; waits for arrivals while there is none.
Thread* next_runnable() {
  while (scheduler.run_queue.first == nullptr) {
    doors_idle(earliest_deadline());
  }
  return pop(&scheduler.run_queue);
}

// The calling thread cannot go on (its state says why): runs others until it is runnable and first.
void block() {
  Thread* me = self();
  Thread* next = next_runnable();
  if (next == me) {
    me->state = ThreadState::kRunning;
    return;
  }
  // ORDER: own word, record, other word. The own word is cleared while nobody else can set it: once
  // the other thread runs it may give the token straight back. The record is written by the holder,
  // since the log has one writer and records do not name their thread: it is the switch that tells
  // a reader whose calls the next ones are.
  me->token.store(0, std::memory_order_relaxed);
  doors_switch(next->index);
  give_token(next);
  await_token(me);
}

// Memory of the thread that exited longest ago, once there are a few: by then the kernel has almost
// surely buried it, and which one it is does not depend on how fast (the application holds a
// pointer to it, in the shim's word of its thread-local storage).
Thread* take_exited() {
  if (scheduler.exited_count < kExitedKept) {
    return nullptr;
  }
  Thread* thread = pop(&scheduler.exited);
  scheduler.exited_count--;
  while (__atomic_load_n(&thread->leaving, __ATOMIC_ACQUIRE) != 0) {
    raw(__NR_futex, &thread->leaving, FUTEX_WAIT, 1, nullptr);
  }
  return thread;
}

Thread* make_thread() {
  Thread* thread = take_exited();
  uint8_t* alternate = nullptr;
  uint8_t* stack = nullptr;
  if (thread != nullptr) {
    alternate = thread->alternate_stack;
    stack = thread->stack_top;
    __builtin_memset(static_cast<void*>(thread), 0, sizeof(Thread));
  } else {
    thread = static_cast<Thread*>(arena_alloc(sizeof(Thread), 64));
    alternate = static_cast<uint8_t*>(arena_alloc(kAlternateStackBytes, 4096));
    stack = static_cast<uint8_t*>(arena_alloc(kShimStackBytes, 4096)) + kShimStackBytes;
  }
  thread->alternate_stack = alternate;
  thread->stack_top = stack;
  thread->index = scheduler.created++;
  thread->deadline_ns = kNoDeadline;
  for (uint32_t slot = 0; slot < kThreadsMax; ++slot) {
    if (scheduler.threads[slot] == nullptr) {
      scheduler.threads[slot] = thread;
      scheduler.slots = slot + 1 > scheduler.slots ? slot + 1 : scheduler.slots;
      scheduler.live++;
      return thread;
    }
  }
  shim_fail("too many threads", kThreadsMax);
}

void forget_thread(Thread* thread) {
  if (scheduler.live == 0 || thread->waiting_on != nullptr) {
    shim_fail("a thread ends that waits, or that nobody counts", thread->index, scheduler.live);
  }
  for (uint32_t slot = 0; slot < scheduler.slots; ++slot) {
    if (scheduler.threads[slot] == thread) {
      scheduler.threads[slot] = nullptr;
    }
  }
  scheduler.live--;
}

}  // namespace

Thread* scheduler_init() {
  Thread* thread = make_thread();
  thread->tid = static_cast<int>(raw(__NR_gettid));
  thread->state = ThreadState::kRunning;
  thread->token.store(1, std::memory_order_relaxed);
  // The loader has set them before the shim was there.
  size_t length = 0;
  raw(__NR_get_robust_list, 0, &thread->robust_list, &length);
  raw(__NR_prctl, PR_GET_TID_ADDRESS, &thread->clear_child_tid);
  ftrun_self = thread;
  return thread;
}

void scheduler_publish(Control* control) {
  control->thread_table.store(reinterpret_cast<uint64_t>(scheduler.threads));
  control->thread_table_slots.store(kThreadsMax);
}

uint32_t thread_count() {
  return scheduler.live;
}
uint32_t thread_slots() {
  return scheduler.slots;
}
Thread* thread_at(uint32_t slot) {
  return scheduler.threads[slot];
}

Thread* thread_by_tid(int tid) {
  for (uint32_t slot = 0; slot < scheduler.slots; ++slot) {
    Thread* thread = scheduler.threads[slot];
    if (thread != nullptr && thread->tid == tid) {
      return thread;
    }
  }
  return nullptr;
}

// ORDER: who yields stands behind all who were runnable before: the order is that of becoming
// runnable, which arrivals and the threads' own acts decide, and no clock.
void scheduler_yield() {
  if (scheduler.run_queue.first == nullptr) {
    return;
  }
  Thread* me = self();
  me->state = ThreadState::kRunnable;
  push(&scheduler.run_queue, me);
  block();
}

void scheduler_wake_thread(Thread* thread, int result) {
  if (thread->state != ThreadState::kWaiting) {
    return;
  }
  if (thread->waiting_on != nullptr) {
    remove(thread->waiting_on, thread);
    thread->waiting_on = nullptr;
  }
  if (thread->deadline_ns != kNoDeadline) {
    remove_timed(thread);
    thread->deadline_ns = kNoDeadline;
  }
  thread->wait_result = result;
  thread->state = ThreadState::kRunnable;
  push(&scheduler.run_queue, thread);
}

// Timers first, then threads by deadline and, of equal ones, by index: the list is unordered, and
// the order of waking becomes the order of running. `now_ns` is the virtual clock, so all of it
// replays.
void scheduler_expire(int64_t now_ns) {
  net_expire_timers(now_ns);
  signals_expire_timers(now_ns);
  fifo_look_if_due(now_ns);
  for (;;) {
    Thread* due = nullptr;
    for (Thread* t = scheduler.timed; t != nullptr; t = t->next_timed) {
      if (t->deadline_ns <= now_ns &&
          (due == nullptr || t->deadline_ns < due->deadline_ns ||
           (t->deadline_ns == due->deadline_ns && t->index < due->index))) {
        due = t;
      }
    }
    if (due == nullptr) {
      return;
    }
    scheduler_wake_thread(due, -ETIMEDOUT);
  }
}

int sched_wait(WaitQueue* queue, int64_t deadline_ns) {
  Thread* me = self();
  // Signals come only at ingest points and from threads that hold the token, so none can slip in
  // between this look and the wait.
  if (signals_deliverable(me)) {
    return kErrRestart;
  }
  if (me->state != ThreadState::kRunning || me->waiting_on != nullptr) {
    shim_fail("a thread waits that does not run", me->index, static_cast<int64_t>(me->state));
  }
  me->state = ThreadState::kWaiting;
  me->waiting_on = queue;
  if (queue != nullptr) {
    push(queue, me);
  }
  me->deadline_ns = deadline_ns;
  if (deadline_ns != kNoDeadline) {
    me->next_timed = scheduler.timed;
    scheduler.timed = me;
  }
  block();
  return me->wait_result;
}

int sched_wake(WaitQueue* queue, int count) {
  int woken = 0;
  while (woken < count && queue->first != nullptr) {
    scheduler_wake_thread(queue->first, 0);
    ++woken;
  }
  return woken;
}

void scheduler_move_waiter(Thread* thread, WaitQueue* queue) {
  if (thread->state != ThreadState::kWaiting || thread->waiting_on == nullptr) {
    shim_fail("a thread is moved that does not wait", thread->index);
  }
  remove(thread->waiting_on, thread);
  thread->waiting_on = queue;
  push(queue, thread);
}

// --- creation and end of threads ---

long clone_call(const long* a, greg_t* registers) {
  const auto flags = static_cast<uint64_t>(a[0]);
  constexpr uint64_t kNeeded = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_SETTLS;
  if (((flags & CLONE_THREAD) != 0 && (flags & CLONE_SIGHAND) == 0) ||
      ((flags & CLONE_SIGHAND) != 0 && (flags & CLONE_VM) == 0)) {
    return -EINVAL;
  }
  if ((flags & kNeeded) != kNeeded) {
    shim_notice("fork, vfork and posix_spawn are not supported: answered ENOSYS\n");
    return -ENOSYS;
  }
  // A thread with descriptors or a directory of its own, one that its creator waits for, another
  // way to see its end: not what a thread of the C library is.
  constexpr uint64_t kShared = CLONE_FILES | CLONE_FS;
  constexpr uint64_t kUnknown = CLONE_PIDFD | CLONE_VFORK | CLONE_PTRACE | CLONE_NEWNS |
                                CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                CLONE_NEWPID | CLONE_NEWNET;
  if ((flags & kShared) != kShared || (flags & kUnknown) != 0) {
    shim_notice("clone: a thread with resources of its own is not supported: answered EINVAL\n");
    return -EINVAL;
  }
  Thread* me = self();
  Thread* child = make_thread();
  child->mask = me->mask;
  child->cpu = me->cpu;
  child->clear_child_tid =
      (flags & CLONE_CHILD_CLEARTID) != 0 ? reinterpret_cast<int32_t*>(a[3]) : nullptr;
  child->state = ThreadState::kRunnable;
  // Both continue after the application's own syscall instruction, with their own results.
  gregset_t& mine = me->clone_context.registers;
  __builtin_memcpy(mine, registers, sizeof(gregset_t));
  __builtin_memcpy(child->clone_context.registers, mine, sizeof(gregset_t));
  child->clone_context.registers[REG_RAX] = 0;
  child->clone_context.registers[REG_RSP] = a[1];
  ftrun_clone_child = child;
  // The kernel must not write into the application behind the token's back (hard case 7).
  registers[REG_RDI] = static_cast<greg_t>(flags & ~uint64_t{CLONE_CHILD_CLEARTID});
  registers[REG_RAX] = __NR_clone;
  registers[REG_R12] = reinterpret_cast<greg_t>(&ftrun_clone_return);
  registers[REG_RIP] = FTRUN_GATE_ADDRESS;
  return 0;
}

// A thread's end, step by step. The kernel does the same at an exit, but when it gets to it: then
// other threads would see it at a moment that no log tells. So all that others can see is done
// here, with the token, and the kernel is left with nothing to do but to bury the thread. ORDER:
// robust mutexes before the clear-tid word, as do_exit() has it: who joins this thread may look at
// a mutex that it held. Then the kernel's own robust list is emptied, and its clear-tid word turned
// to one of the shim's, which says when nobody stands on this stack any more.
void thread_exit(int status) {
  Thread* me = self();
  if (scheduler.live == 1) {  // exit(2) of the last thread is the end of the process
    doors_exit(status);
    for (;;) {
      raw(__NR_exit_group, status);
    }
  }
  pending_forget(me);
  robust_exit(me);
  if (me->clear_child_tid != nullptr) {
    [[maybe_unused]] const bool is_cleared = put_out(me->clear_child_tid, 0);
    futex_wake_address(reinterpret_cast<uint32_t*>(me->clear_child_tid), 1);
  }
  raw(__NR_set_robust_list, nullptr, 24);
  me->leaving = 1;
  raw(__NR_set_tid_address, &me->leaving);
  me->state = ThreadState::kExited;
  forget_thread(me);
  // This thread still holds the token: it may have to wait for arrivals on behalf of the others.
  Thread* next = next_runnable();
  doors_switch(next->index);
  // ORDER: in the queue before the token is given, which others need to look there; not taken from
  // it before the kernel has cleared `leaving`, when nobody stands on this stack any more.
  push(&scheduler.exited, me);
  scheduler.exited_count++;
  give_token(next);
  for (;;) {
    raw(__NR_exit, status);
  }
}

}  // namespace ftrun::shim

using ftrun::shim::Thread;

// Runs on the creator's shim stack, still with the token.
void shim_clone_parent(long result) {
  Thread* me = ftrun_self;
  Thread* child = ftrun_clone_child;
  if (result < 0) {
    ftrun::shim::forget_thread(child);
  } else {
    // The child reports before its creator goes on, so there is never more than one in the making.
    while (__atomic_load_n(&child->tid, __ATOMIC_ACQUIRE) == 0) {
      ftrun::shim::raw(__NR_futex, &child->tid, FUTEX_WAIT_PRIVATE, 0, nullptr);
    }
    ftrun::shim::push(&ftrun::shim::scheduler.run_queue, child);
  }
  me->clone_context.registers[REG_RAX] = result;
  ftrun::shim::resume_context(&me->clone_context);
}

// Runs on the new thread's shim stack, without the token.
// ORDER: alternate stack and trap before anything of the application: the kernel gives a new thread
// neither. The tid last, for which the creator waits; until then this thread makes raw calls only.
void shim_clone_child(Thread* me) {
  ftrun_self = me;
  ftrun::shim::install_alternate_stack(me);
  ftrun::shim::arm_dispatch();
  const long tid = ftrun::shim::raw(__NR_gettid);
  __atomic_store_n(&me->tid, static_cast<int>(tid), __ATOMIC_RELEASE);
  ftrun::shim::raw(__NR_futex, &me->tid, FUTEX_WAKE_PRIVATE, 1);
  ftrun::shim::await_token(me);
  ftrun::shim::resume_context(&me->clone_context);
}
