// SPDX-License-Identifier: Apache-2.0
// See doors.h. Runs in the application by the token's holder; calls only the gate and this folder.
//
// ORDER: at the end of a turn the output ring is published before the log ring, so a supervisor
// that sees a turn in the log also sees all its output and its mark.
#include "preload/doors.h"

#include "preload/doors_log.h"
#include "preload/dying.h"
#include "preload/exec/carry.h"
#include "preload/failure.h"
#include "preload/guarded.h"
#include "preload/input_items.h"
#include "preload/net/net.h"
#include "preload/scheduler.h"
#include "preload/signals.h"

namespace ftrun::shim {
namespace {

// A turn is cut when it has produced this much (DESIGN section 5).
constexpr uint64_t kTurnOutputBytesMax = 256 * 1024;
constexpr uint64_t kTurnLogBytesMax = 1024 * 1024;

void emit_mark() {
  doors.control->log_position.store(log_position(), std::memory_order_relaxed);
  doors.control->input_bytes.store(doors.input_bytes, std::memory_order_relaxed);
  doors.control->kernel_calls.store(ftrun_kernel_calls, std::memory_order_relaxed);
  doors.control->spin_calls.store(doors.sleeper.spin_calls(), std::memory_order_relaxed);
  doors.control->wake_calls.store(doors.sleeper.wake_calls(), std::memory_order_relaxed);
  Output mark;
  mark.kind = OutputKind::kMark;
  mark.value = log_position();
  mark.value2 = doors.lsn;
  emit_output(mark);
}

// The end of a turn: what it did becomes visible, and a secondary has come to a place where its log
// may end.
// ORDER: the mark stands behind all output of the turn, and the output ring is published before the
// log ring: a supervisor that sees a turn sees its output. A secondary marks before it waits: its
// supervisor compares, and lets out, a turn whose successor may never come.
void end_turn(RecordKind kind) {
  note_turn_end();
  if (doors_decide()) {
    doors.log_out.hold();
    Record record;
    record.kind = kind;
    append_record(record, nullptr, 0);
    emit_mark();
    doors.output.publish_turn();
    doors.log_out.publish_turn();
    doors.sleeper.wake_supervisor();
    step_down_if_asked();
    return;
  }
  expect_record(kind);
  finish_record(true);
  emit_mark();
  doors.output.publish_turn();
  doors.sleeper.wake_supervisor();
  await_record();
}

void apply_items(const uint8_t* cursor, const uint8_t* end) {
  Arrival item;
  while (cursor < end) {
    cursor = get_arrival(cursor, end, &item);
    if (cursor == nullptr) {
      doors_fail(ShimFailure::kCorruptInput, "an arrival does not decode\n");
    }
    doors.input_bytes += item.length;
    if (item.kind == ArrivalKind::kSignal) {
      signals_arrived(static_cast<int>(item.value));
    } else {
      net_apply(item);
    }
  }
}

// The arrivals record: what came in here (possibly nothing but time).
// ORDER: written down, then applied, then given back. What an item changes may write output, whose
// place in the log is behind the record. Bytes that were given back are overwritten by the
// supervisor at once; applying takes from the ring itself, which saves a copy.
void take_arrivals() {
  if (doors_decide()) {
    Record record;
    record.kind = RecordKind::kArrivals;
    const size_t length = measure_input(doors.input, &record.count);
    // With input the supervisor's time is as good as the kernel's and costs no call. Without any, a
    // deadline has passed or nothing has: only the kernel knows.
    const int64_t now = length != 0 ? doors.clock.fed_ns(doors.control) : doors.clock.kernel_ns();
    record.now_delta_ns = static_cast<uint64_t>(now - doors.clock.now_ns());
    append_record(record, doors.input.data(), length);
    doors.clock.move_to(now);
    const uint8_t* items = doors.input.data();
    apply_items(items, items + length);
    doors.input.consume(length);
  } else {
    const Record& record = expect_record(RecordKind::kArrivals);
    doors.clock.move_by(static_cast<int64_t>(record.now_delta_ns));
    apply_items(record.payload, record.payload + record.length);
    finish_record(false);
  }
  scheduler_expire(doors.clock.now_ns());
}

// Whether the turn ends at this call, although the program neither waits nor asks what has come.
// The primary does so when others wait for the turn (a long one keeps its output back) or when it
// fills a ring; not while it dies, so that what it dies of is not shipped (dying.h).
bool primary_cuts(long number) {
  return (doors.control->cut_requested.load(std::memory_order_relaxed) != 0 ||
          doors.output.turn_bytes() > kTurnOutputBytesMax ||
          doors.log_out.turn_bytes() > kTurnLogBytesMax) &&
         !leads_to_crash(number) && !is_dying();
}

bool cut_is_due(long number) {
  if (doors.live_late) {
    return primary_cuts(number);
  }
  reach_point();
  const bool is_due = doors.live ? primary_cuts(number) : next_is_here(RecordKind::kTurnEndCut);
  if (!is_due) {
    pass_point();
  }
  return is_due;
}

// A cut ingests as well: a program that computes and calls, but never asks for input, gets its
// signals here.
void cut_turn() {
  doors.control->cut_requested.store(0, std::memory_order_relaxed);
  end_turn(RecordKind::kTurnEndCut);
  take_arrivals();
}

}  // namespace

Control* doors_control() {
  return doors.control;
}
void doors_init(Control* control) {
  doors.control = control;
  doors.sleeper.attach(control);
  auto* base = reinterpret_cast<uint8_t*>(control);
  const auto consumer = [&](RingId id) {
    return RingConsumer(&control->rings[id], base + ring_map_offset(id), kRingBytes[id]);
  };
  const auto producer = [&](RingId id) {
    return RingProducer(&control->rings[id], base + ring_map_offset(id), kRingBytes[id]);
  };
  doors.input = consumer(kRingInput);
  doors.log_in.attach(consumer(kRingLogIn));
  doors.early = control->logs_early != 0;
  doors.log_out.attach(producer(kRingLogOut), doors.early);
  doors.output.attach(producer(kRingOutput));
  if (control->execs.load(std::memory_order_relaxed) != 0) {
    return;  // the rest, positions included, is carried over
  }
  doors.live = control->initial_role.load(std::memory_order_acquire) == Role::kPrimary;
  doors.live_period = doors.live ? 1 : 0;
  doors.live_late = doors.live && !doors.early;
  control->role.store(doors.live ? Role::kPrimary : Role::kSecondary, std::memory_order_release);
}

// Start record; separate from doors_init because a secondary may wait here for the primary.
void doors_start() {
  doors.control->ready.store(1, std::memory_order_release);
  doors.sleeper.wake_supervisor();
  if (doors.live) {
    doors.clock.start();
    Record record;
    record.kind = RecordKind::kStart;
    record.count = kLogVersion;
    record.now_delta_ns = static_cast<uint64_t>(doors.clock.now_ns());
    record.result = doors.clock.realtime_offset_ns();
    append_record(record, nullptr, 0);
    return;
  }
  if (doors_decide()) {
    doors_start();
    return;
  }
  const Record& record = expect_record(RecordKind::kStart);
  if (record.count != kLogVersion) {
    doors_fail(ShimFailure::kCorruptInput, "the log has another version than this shim\n");
  }
  doors.clock.start_at(static_cast<int64_t>(record.now_delta_ns), record.result);
  finish_record(false);
}

// The call counter is what ties records to places: a thread's calls are the same in every replica
// as long as nothing has differed. So a record that should have been used by now is the first sign
// that something has, at the earliest place that both replicas can name.
void doors_enter_call(Thread* thread, long number) {
  thread->calls++;
  const bool cut = cut_is_due(number);
  if (!doors.live_late && !doors.live && doors.log_in.is_overdue(thread)) {
    diverged({.kind = RecordKind::kChoice,
              .delta = thread->calls - thread->calls_at_record,
              .number = static_cast<uint64_t>(number)});
  }
  if (cut) {
    cut_turn();
    scheduler_yield();
  }
}

void doors_between_parts(long number) {
  if (cut_is_due(number)) {
    cut_turn();
  }
}

namespace {

// Whether the clock outside is so far ahead that a record said so.
bool clock_jumps() {
  const int64_t outside = doors.clock.fed_ns(doors.control);
  if (outside <= doors.clock.now_ns() + VirtualClock::kQuantumNs) {
    return false;
  }
  Record record;
  record.kind = RecordKind::kTime;
  record.now_delta_ns = static_cast<uint64_t>(outside - doors.clock.now_ns());
  append_record(record, nullptr, 0);
  doors.clock.move_to(outside);
  return true;
}

}  // namespace

int64_t doors_clock_ns() {
  doors.clock.move_by(VirtualClock::kStepNs);
  if (doors.live_late) {
    clock_jumps();
    return doors.clock.now_ns();
  }
  reach_point();
  if (doors.live) {
    if (!clock_jumps()) {
      pass_point();
    }
  } else if (next_is_here(RecordKind::kTime)) {
    doors.clock.move_by(static_cast<int64_t>(doors.log_in.next().now_delta_ns));
    finish_record(false);
  }
  return doors.clock.now_ns();
}

int64_t virtual_now_ns() {
  return doors.clock.now_ns();
}
int64_t realtime_offset_ns() {
  return doors.clock.realtime_offset_ns();
}

// ORDER: the turn ends before what came is let in: what the program has put out so far does not
// rest on it, and may leave first.
void ingest_point() {
  if (!doors.live_late) {
    reach_point();
  }
  if (doors.live ? doors.input.available() == 0 || is_dying()
                 : !next_is_here(RecordKind::kTurnEndIngest)) {
    if (!doors.live_late) {
      pass_point();
    }
    return;
  }
  end_turn(RecordKind::kTurnEndIngest);
  take_arrivals();
}

// The deadline is virtual time, waited for by the kernel's clock, which is the same or later
// (virtual_clock.h). A secondary does not wait for it: the primary's arrivals record says when it
// went on.
int64_t doors_idle(int64_t deadline_ns) {
  die_if_dying();
  end_turn(RecordKind::kTurnEndIdle);
  while (doors.live && doors.input.available() == 0) {
    int64_t left = -1;
    if (deadline_ns != kNoDeadline) {
      doors.sleeper.count_call();
      left = deadline_ns - doors.clock.kernel_ns();
      if (left <= 0) {
        break;
      }
    }
    doors.sleeper.until([] { return doors.input.available() != 0 || is_asked_to_step_down(); },
                        left);
    step_down_if_asked();
  }
  take_arrivals();
  return doors.clock.now_ns();
}

// PERF: flattened, so that the compiler sees which record it is.
[[gnu::flatten]] long doors_log_choice(long number, long result, const void* payload,
                                       size_t length) {
  Record record;
  record.kind = RecordKind::kChoice;
  record.number = static_cast<uint64_t>(number);
  record.result = result;
  append_record(record, payload, length);
  return result;
}

// As it is: what it points to is in the region, which every image maps at the same address. The
// next record stays decoded: an exec's own record stands there, and the new image takes it.
void doors_carry(Carry& carry) {
  carry.value(doors);
}

long doors_peek_choice(long number) {
  const Record& record = expect_record(RecordKind::kChoice, number);
  if (record.number != static_cast<uint64_t>(number)) {
    diverged({.kind = RecordKind::kChoice,
              .delta = record.delta,
              .number = static_cast<uint64_t>(number)});
  }
  return static_cast<long>(record.result);
}

long doors_replay_choice(long number, void* payload, size_t capacity) {
  const Record& record = expect_record(RecordKind::kChoice, number);
  if (record.number != static_cast<uint64_t>(number) || record.length > capacity) {
    diverged({.kind = RecordKind::kChoice,
              .delta = record.delta,
              .number = static_cast<uint64_t>(number),
              .length = capacity});
  }
  const long result = static_cast<long>(record.result);
  if (copy_out(payload, record.payload, record.length) != record.length) {
    shim_fail("the primary's result cannot be written here", number,
              static_cast<int64_t>(record.length));
  }
  finish_record(false);
  return result;
}

void doors_begin_answer() {
  doors.log_out.hold();
}
void doors_end_answer() {
  doors.log_out.let_go(doors.sleeper);
}

uint64_t doors_live_period() {
  return doors.live ? doors.live_period : 0;
}
uint64_t doors_log_written() {
  return doors.log_out.written();
}
bool doors_log_is_taken(uint64_t position) {
  return doors.control->rings[kRingLogOut].tail.load(std::memory_order_acquire) >= position;
}

void doors_switch(uint32_t thread_index) {
  if (doors_decide()) {
    Record record;
    record.kind = RecordKind::kSwitch;
    record.count = thread_index;
    append_record(record, nullptr, 0);
    return;
  }
  const Record& record = expect_record(RecordKind::kSwitch);
  if (record.count != thread_index) {
    diverged({.kind = RecordKind::kSwitch, .delta = record.delta, .count = thread_index});
  }
  finish_record(false);
}

// ORDER: the exit record, then the ends of all connections, then the exit entry and the mark: the
// turn that ends the log has them all, so a client's last bytes leave before its connection's end,
// and both before the unit's.
void doors_exit(int status) {
  die_if_dying();
  if (doors_decide()) {
    doors.log_out.hold();
    Record record;
    record.kind = RecordKind::kExit;
    record.count = static_cast<uint64_t>(status);
    append_record(record, nullptr, 0);
  } else {
    const Record& record = expect_record(RecordKind::kExit);
    if (record.count != static_cast<uint64_t>(status)) {
      diverged({.kind = RecordKind::kExit,
                .delta = record.delta,
                .count = static_cast<uint64_t>(status)});
    }
    finish_record(true);
  }
  net_end();
  Output exit_entry;
  exit_entry.kind = OutputKind::kExit;
  exit_entry.value = static_cast<uint64_t>(status);
  emit_output(exit_entry);
  emit_mark();
  doors.output.publish_turn();
  doors.log_out.publish_turn();
  doors.sleeper.wake_supervisor();
}

size_t emit_output(const Output& entry) {
  return doors.output.emit(entry, doors.control, doors.sleeper);
}

void end_full_turn() {
  if (doors.output.turn_bytes() > kTurnOutputBytesMax) {
    doors_between_parts(__NR_write);
  }
}

}  // namespace ftrun::shim
