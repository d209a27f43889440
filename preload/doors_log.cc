// SPDX-License-Identifier: Apache-2.0
// See doors_log.h. Runs in the application by the token's holder; calls only the gate and this
// folder.
#include "preload/doors_log.h"

#include "preload/doors.h"
#include "preload/failure.h"

namespace ftrun::shim {

constinit Doors doors;

namespace {

void count_record() {
  doors.lsn++;
  doors.control->lsn.store(doors.lsn, std::memory_order_relaxed);
}

// Here, and at no other record: this replica has done all that the log says and has done nothing
// else, so whatever it decides from now on continues what the world has seen.
// ORDER: the clock before the role: a live replica reads the kernel's, and what it gets must not be
// before what the log has told the program. The role last: whoever sees it may feed input.
void go_live() {
  if (doors.log_in.has_next() || doors.log_out.turn_bytes() != 0) {
    shim_fail("went live before the end of the log", static_cast<int64_t>(doors.lsn),
              static_cast<int64_t>(doors.log_out.turn_bytes()));
  }
  doors.log_base = log_position() - doors.log_out.written();
  doors.live = true;
  doors.live_late = !doors.early;
  doors.live_period++;
  doors.clock.go_live();
  doors.control->role.store(Role::kPrimary, std::memory_order_release);
  doors.sleeper.wake_supervisor();
}

bool must_go_live() {
  return doors.control->go_live.load(std::memory_order_acquire) != 0;
}

// As await_record(), where there need not be a record: a later one tells as well that there is none
// here, and so does the primary's progress.
// ORDER: the progress, then the log: all records up to there are in the ring before the progress
// is.
[[gnu::noinline]] void await_point() {
  const auto is_known = [] {
    return doors.control->points_known.load(std::memory_order_acquire) >= doors.points;
  };
  for (;;) {
    const bool known = is_known();
    if (doors.log_in.decode() || known) {
      break;
    }
    if (must_go_live() && doors.log_in.is_empty()) {
      go_live();
      break;
    }
    doors.control->point_awaited.store(doors.points, std::memory_order_relaxed);
    doors.sleeper.wake_supervisor();
    doors.sleeper.until([&] { return !doors.log_in.is_empty() || must_go_live() || is_known(); },
                        -1);
  }
  doors.control->point_awaited.store(0, std::memory_order_relaxed);
}

// It has done what its log says, up to the end, and nothing else: so has a secondary that has
// consumed the end of a turn, and all else that replicas have in common is equal anyway.
// ORDER: what is void, and that nobody wants it to go live yet, before the supervisor may hear of
// it and feed what comes next. The role last.
[[gnu::noinline]] void step_down() {
  Control* control = doors.control;
  const size_t is_void = doors.input.available();
  StepDown asked = StepDown::kAsked;
  control->go_live.store(0, std::memory_order_relaxed);
  if (is_void == kRingCorrupt || !control->step_down.compare_exchange_strong(
                                     asked, StepDown::kDone, std::memory_order_acq_rel)) {
    return;
  }
  doors.log_base = log_position() - doors.log_in.position();
  doors.live = doors.live_late = false;
  doors.input.consume(is_void);
  control->role.store(Role::kSecondary, std::memory_order_release);
  doors.sleeper.wake_supervisor();
  await_record();
}

}  // namespace

uint64_t log_position() {
  return doors.log_base + (doors.live ? doors.log_out.written() : doors.log_in.position());
}

bool is_asked_to_step_down() {
  return doors.control->step_down.load(std::memory_order_acquire) == StepDown::kAsked;
}

void step_down_if_asked() {
  if (is_asked_to_step_down() && !doors.early) {
    step_down();
  }
}

void append_record(Record& record, const void* payload, size_t length) {
  doors.log_out.append(self(), record, payload, length, doors.sleeper);
  count_record();
}

[[noreturn]] void diverged(const Record& here) {
  fail_diverged(doors.lsn + 1, doors.log_in.next(), here);
}

// ORDER: the word, then the log once more: the supervisor feeds all of it before it sets the word.
[[gnu::noinline]] void await_record() {
  while (!doors.log_in.decode()) {
    if (must_go_live() && doors.log_in.is_empty()) {
      go_live();
      return;
    }
    doors.sleeper.until([] { return !doors.log_in.is_empty() || must_go_live(); }, -1);
  }
}

// A place at which the primary may write a record, or none. With early logging a secondary that has
// come to the end of what it was fed cannot tell "none" from "none yet": so such places are
// counted, the primary says which it has passed, and a secondary passes behind it. It may go live
// here.
void reach_point() {
  if (doors.early) {
    doors.points++;
    if (!doors.live && !doors.log_in.has_next()) {
      await_point();
    }
  }
}

// Nothing was written at the point: a promise, since a secondary may pass it from now on.
// ORDER: progress, a full fence, then whether somebody waits for it; the other side stores the
// wish, fences, and reads the progress.
void pass_point() {
  if (!doors.early || !doors.live) {
    return;
  }
  Control* control = doors.control;
  control->points_passed.store(doors.points, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint64_t wanted = control->point_wanted.load(std::memory_order_relaxed);
  if (wanted != 0 && doors.points >= wanted) {
    control->point_wanted.store(0, std::memory_order_relaxed);
    doors.sleeper.wake_supervisor();
  }
}

bool next_is_here(RecordKind kind) {
  return doors.log_in.next_is(kind, self());
}

const Record& expect_record(RecordKind kind, long number) {
  if (!next_is_here(kind)) {
    diverged({.kind = kind,
              .delta = self()->calls - self()->calls_at_record,
              .number = static_cast<uint64_t>(number)});
  }
  return doors.log_in.next();
}

void finish_record(bool last_of_turn) {
  doors.log_in.consume(self());
  count_record();
  if (!last_of_turn && !doors.log_in.decode() && !doors.early) {
    doors_fail(ShimFailure::kCorruptInput, "a turn in the log ends without its end mark\n");
  }
}

bool doors_are_live() {
  return doors.live;
}
bool doors_decide() {
  if (!doors.live && !doors.log_in.has_next()) {
    await_record();
  }
  return doors.live;
}

}  // namespace ftrun::shim
