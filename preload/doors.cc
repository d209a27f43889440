// SPDX-License-Identifier: Apache-2.0
// See doors.h. Runs in the application by the token's holder; calls only the gate and this folder.
//
// ORDER: at the end of a turn the output ring is published before the log ring, so a supervisor
// that sees a turn in the log also sees all its output and its mark.
#include "preload/doors.h"

#include <errno.h>
#include <time.h>

#include "preload/dying.h"
#include "preload/exec/carry.h"
#include "preload/failure.h"
#include "preload/guarded.h"
#include "preload/input_items.h"
#include "preload/net/net.h"
#include "preload/raw.h"
#include "preload/scheduler.h"
#include "preload/signals.h"
#include "preload/sleep.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

// A turn is cut when it has produced this much (DESIGN section 5).
constexpr uint64_t kTurnOutputBytesMax = 256 * 1024;
constexpr uint64_t kTurnLogBytesMax = 1024 * 1024;
// The clock moves by this with every reading, and jumps to the supervisor's clock (one record) when
// that is further ahead than the quantum.
constexpr int64_t kClockStepNs = 40;
constexpr int64_t kClockQuantumNs = 100'000;
constexpr int64_t kRingFullNapNs = 500'000;

struct Doors {
  Control* control = nullptr;
  bool live = false;
  RingConsumer input;
  RingConsumer log_in;
  RingProducer log_out;
  RingProducer output;
  uint64_t log_base = 0;        // log position at which this replica went live
  uint64_t turn_log_start = 0;  // log_out position at the last turn end
  uint64_t turn_output_start = 0;
  uint64_t lsn = 0;
  uint64_t input_bytes = 0;
  Sleeper sleeper;
  int64_t now_ns = 0;
  int64_t clock_offset_ns = 0;  // added to the kernel's clock so that time never goes back
  int64_t realtime_offset_ns = 0;
  bool has_next = false;  // secondary: the next record is decoded
  Record next;
  size_t next_bytes = 0;
};
Doors doors;

int64_t live_clock_ns() {
  const int64_t now = kernel_clock_ns(CLOCK_MONOTONIC) + doors.clock_offset_ns;
  return now > doors.now_ns ? now : doors.now_ns;
}

// The time at which the supervisor passed on what lies in the input ring: no system call. Does not
// move while the supervisor does nothing, so nobody may wait for it.
int64_t fed_clock_ns() {
  const auto seen =
      static_cast<int64_t>(doors.control->coarse_now_ns.load(std::memory_order_relaxed));
  if (seen == 0) {
    return live_clock_ns();
  }
  const int64_t now = seen + doors.clock_offset_ns;
  return now > doors.now_ns ? now : doors.now_ns;
}

// --- sleeping and waking ---

void ring_doorbell() {
  doors.sleeper.wake_supervisor(doors.control);
}

template <typename Ready>
void sleep_until(Ready&& ready, int64_t timeout_ns) {
  doors.sleeper.until(doors.control, ready, timeout_ns);
}

[[gnu::noinline]] uint8_t* wait_for_room(RingProducer& ring, size_t bytes) {
  uint8_t* room = nullptr;
  while (room == nullptr) {
    if (&ring == &doors.output) {
      ring.publish();
    } else if (ring.unpublished() + bytes > ring.capacity()) {
      shim_fail("a turn is larger than the log ring", ring.unpublished(), bytes);
    }
    ring_doorbell();
    sleep_until([&] { return (room = ring.reserve(bytes)) != nullptr; }, kRingFullNapNs);
    room = ring.reserve(bytes);
  }
  return room;
}

uint8_t* reserve(RingProducer& ring, size_t bytes) {
  uint8_t* room = ring.reserve(bytes);
  return room != nullptr ? room : wait_for_room(ring, bytes);
}

// --- the log ---

uint64_t log_position() {
  return doors.live ? doors.log_base + doors.log_out.written() : doors.log_in.position();
}

void count_record() {
  doors.lsn++;
  doors.control->lsn.store(doors.lsn, std::memory_order_relaxed);
}

void append(Record& record, const void* payload, size_t length) {
  Thread* thread = self();
  record.delta = thread->calls - thread->calls_at_record;
  thread->calls_at_record = thread->calls;
  record.length = length;
  uint8_t* room = reserve(doors.log_out, kRecordHeaderBytesMax + length);
  const size_t header = put_record_header(room, record);
  // What the kernel has just written into the application's memory, or the shim's own.
  if (copy_in(room + header, payload, length) != length) {
    shim_fail("a record's bytes cannot be read", static_cast<int64_t>(record.number), length);
  }
  doors.log_out.advance(header + length);
  count_record();
}

[[noreturn]] void diverged(const Record& here) {
  fail_diverged(doors.lsn + 1, doors.next, here);
}

void go_live() {
  doors.live = true;
  doors.has_next = false;
  doors.log_base = doors.log_in.position();
  doors.turn_log_start = doors.log_out.written();
  const int64_t kernel_now = kernel_clock_ns(CLOCK_MONOTONIC);
  if (kernel_now + doors.clock_offset_ns < doors.now_ns) {
    doors.clock_offset_ns = doors.now_ns - kernel_now;
  }
  doors.control->role.store(Role::kPrimary, std::memory_order_release);
  ring_doorbell();
}

bool decode_next() {
  const size_t available = doors.log_in.available();
  if (available == 0) {
    return false;
  }
  if (available == kRingCorrupt) {
    doors_fail(ShimFailure::kCorruptInput, "the log ring's head is out of bounds\n");
  }
  const uint8_t* begin = doors.log_in.data();
  const uint8_t* end = get_record(begin, begin + available, &doors.next);
  if (end == nullptr) {
    Text text;
    text.add("the log does not decode at position ");
    text.add(static_cast<int64_t>(doors.log_in.position())).add("\n");
    doors_fail(ShimFailure::kCorruptInput, text.c_str());
  }
  doors.next_bytes = static_cast<size_t>(end - begin);
  doors.has_next = true;
  return true;
}

// After a turn's end: waits for the next turn, or goes live.
void await_log() {
  while (!decode_next()) {
    if (doors.control->go_live.load(std::memory_order_acquire) != 0 && !decode_next()) {
      go_live();
      return;
    }
    if (doors.has_next) {
      return;
    }
    sleep_until(
        [] {
          return doors.log_in.available() != 0 ||
                 doors.control->go_live.load(std::memory_order_acquire) != 0;
        },
        -1);
  }
}

bool next_is_here(RecordKind kind) {
  const Thread* thread = self();
  return doors.next.kind == kind && doors.next.delta == thread->calls - thread->calls_at_record;
}

// The next record must be `kind`, here. It stays readable until finish_record(). `number`: of a
// choice, for the report.
const Record& expect(RecordKind kind, long number = 0) {
  if (!doors.has_next || !next_is_here(kind)) {
    diverged({.kind = kind,
              .delta = self()->calls - self()->calls_at_record,
              .number = static_cast<uint64_t>(number)});
  }
  return doors.next;
}

void finish_record(bool last_of_turn) {
  self()->calls_at_record = self()->calls;
  doors.log_in.consume(doors.next_bytes);
  doors.has_next = false;
  count_record();
  if (!last_of_turn && !decode_next()) {
    doors_fail(ShimFailure::kCorruptInput, "a turn in the log ends without its end mark\n");
  }
}

// --- turns and arrivals ---

void publish_output() {
  doors.output.publish();
  doors.turn_output_start = doors.output.written();
}

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

void end_turn(RecordKind kind) {
  note_turn_end();
  if (doors.live) {
    Record record;
    record.kind = kind;
    append(record, nullptr, 0);
    emit_mark();
    publish_output();
    doors.log_out.publish();
    doors.turn_log_start = doors.log_out.written();
    ring_doorbell();
    return;
  }
  expect(kind);
  finish_record(true);
  emit_mark();
  publish_output();
  ring_doorbell();
  await_log();
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
void take_arrivals() {
  if (doors.live) {
    Record record;
    record.kind = RecordKind::kArrivals;
    const size_t length = measure_input(doors.input, &record.count);
    const int64_t now = length != 0 ? fed_clock_ns() : live_clock_ns();
    record.now_delta_ns = static_cast<uint64_t>(now - doors.now_ns);
    append(record, doors.input.data(), length);
    doors.now_ns = now;
    const uint8_t* items = doors.input.data();
    apply_items(items, items + length);
    doors.input.consume(length);
  } else {
    const Record& record = expect(RecordKind::kArrivals);
    doors.now_ns += static_cast<int64_t>(record.now_delta_ns);
    apply_items(record.payload, record.payload + record.length);
    finish_record(false);
  }
  scheduler_expire(doors.now_ns);
}

bool cut_is_due(long number) {
  if (!doors.live) {
    return next_is_here(RecordKind::kTurnEndCut);
  }
  return (doors.control->cut_requested.load(std::memory_order_relaxed) != 0 ||
          doors.output.written() - doors.turn_output_start > kTurnOutputBytesMax ||
          doors.log_out.written() - doors.turn_log_start > kTurnLogBytesMax) &&
         !leads_to_crash(number) && !is_dying();
}

void cut_turn() {
  doors.control->cut_requested.store(0, std::memory_order_relaxed);
  end_turn(RecordKind::kTurnEndCut);
  take_arrivals();
}

}  // namespace

Control* doors_control() {
  return doors.control;
}
bool doors_are_live() {
  return doors.live;
}

void doors_init(Control* control) {
  doors.control = control;
  auto* base = reinterpret_cast<uint8_t*>(control);
  const auto ring = [&](RingId id) { return base + ring_map_offset(id); };
  doors.input = RingConsumer(&control->rings[kRingInput], ring(kRingInput), kRingBytes[kRingInput]);
  doors.log_in =
      RingConsumer(&control->rings[kRingLogIn], ring(kRingLogIn), kRingBytes[kRingLogIn]);
  doors.log_out =
      RingProducer(&control->rings[kRingLogOut], ring(kRingLogOut), kRingBytes[kRingLogOut]);
  doors.output =
      RingProducer(&control->rings[kRingOutput], ring(kRingOutput), kRingBytes[kRingOutput]);
  if (control->execs.load(std::memory_order_relaxed) != 0) {
    return;  // the rest, positions included, is carried over
  }
  doors.live = control->initial_role.load(std::memory_order_acquire) == Role::kPrimary;
  control->role.store(doors.live ? Role::kPrimary : Role::kSecondary, std::memory_order_release);
}

// Start record; separate from doors_init because a secondary may wait here for the primary.
void doors_start() {
  doors.control->ready.store(1, std::memory_order_release);
  ring_doorbell();
  if (doors.live) {
    Record record;
    record.kind = RecordKind::kStart;
    record.count = kLogVersion;
    doors.now_ns = kernel_clock_ns(CLOCK_MONOTONIC);
    doors.realtime_offset_ns = kernel_clock_ns(CLOCK_REALTIME) - doors.now_ns;
    record.now_delta_ns = static_cast<uint64_t>(doors.now_ns);
    record.result = doors.realtime_offset_ns;
    append(record, nullptr, 0);
    return;
  }
  await_log();
  if (doors.live) {
    doors_start();
    return;
  }
  const Record& record = expect(RecordKind::kStart);
  if (record.count != kLogVersion) {
    doors_fail(ShimFailure::kCorruptInput, "the log has another version than this shim\n");
  }
  doors.now_ns = static_cast<int64_t>(record.now_delta_ns);
  doors.realtime_offset_ns = record.result;
  finish_record(false);
}

void doors_enter_call(Thread* thread, long number) {
  thread->calls++;
  if (!doors.live && doors.next.delta < thread->calls - thread->calls_at_record) {
    diverged({.kind = RecordKind::kChoice,
              .delta = thread->calls - thread->calls_at_record,
              .number = static_cast<uint64_t>(number)});
  }
  if (cut_is_due(number)) {
    cut_turn();
    scheduler_yield();
  }
}

void doors_between_parts(long number) {
  if (cut_is_due(number)) {
    cut_turn();
  }
}

int64_t doors_clock_ns() {
  doors.now_ns += kClockStepNs;
  if (doors.live) {
    const int64_t coarse = fed_clock_ns();
    if (coarse > doors.now_ns + kClockQuantumNs) {
      Record record;
      record.kind = RecordKind::kTime;
      record.now_delta_ns = static_cast<uint64_t>(coarse - doors.now_ns);
      append(record, nullptr, 0);
      doors.now_ns = coarse;
    }
  } else if (next_is_here(RecordKind::kTime)) {
    doors.now_ns += static_cast<int64_t>(doors.next.now_delta_ns);
    finish_record(false);
  }
  return doors.now_ns;
}

int64_t virtual_now_ns() {
  return doors.now_ns;
}
int64_t realtime_offset_ns() {
  return doors.realtime_offset_ns;
}

void ingest_point() {
  if (doors.live ? doors.input.available() == 0 || is_dying()
                 : !next_is_here(RecordKind::kTurnEndIngest)) {
    return;
  }
  end_turn(RecordKind::kTurnEndIngest);
  take_arrivals();
}

int64_t doors_idle(int64_t deadline_ns) {
  die_if_dying();
  end_turn(RecordKind::kTurnEndIdle);
  if (doors.live) {
    while (doors.input.available() == 0) {
      int64_t left = -1;
      if (deadline_ns != kNoDeadline) {
        doors.sleeper.count_call();
        left = deadline_ns - live_clock_ns();
        if (left <= 0) {
          break;
        }
      }
      sleep_until([] { return doors.input.available() != 0; }, left);
    }
  }
  take_arrivals();
  return doors.now_ns;
}

// PERF: flattened, so that the compiler sees which record it is.
[[gnu::flatten]] long doors_log_choice(long number, long result, const void* payload,
                                       size_t length) {
  Record record;
  record.kind = RecordKind::kChoice;
  record.number = static_cast<uint64_t>(number);
  record.result = result;
  append(record, payload, length);
  return result;
}

void doors_carry(Carry& carry) {
  carry.value(doors);
}

long doors_peek_choice(long number) {
  const Record& record = expect(RecordKind::kChoice, number);
  if (record.number != static_cast<uint64_t>(number)) {
    diverged({.kind = RecordKind::kChoice,
              .delta = record.delta,
              .number = static_cast<uint64_t>(number)});
  }
  return static_cast<long>(record.result);
}

long doors_replay_choice(long number, void* payload, size_t capacity) {
  const Record& record = expect(RecordKind::kChoice, number);
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

uint64_t doors_log_written() {
  return doors.log_out.written();
}
bool doors_log_is_taken(uint64_t position) {
  return doors.control->rings[kRingLogOut].tail.load(std::memory_order_acquire) >= position;
}

void doors_switch(uint32_t thread_index) {
  if (doors.live) {
    Record record;
    record.kind = RecordKind::kSwitch;
    record.count = thread_index;
    append(record, nullptr, 0);
    return;
  }
  const Record& record = expect(RecordKind::kSwitch);
  if (record.count != thread_index) {
    diverged({.kind = RecordKind::kSwitch, .delta = record.delta, .count = thread_index});
  }
  finish_record(false);
}

void doors_exit(int status) {
  die_if_dying();
  if (doors.live) {
    Record record;
    record.kind = RecordKind::kExit;
    record.count = static_cast<uint64_t>(status);
    append(record, nullptr, 0);
  } else {
    const Record& record = expect(RecordKind::kExit);
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
  publish_output();
  doors.log_out.publish();
  ring_doorbell();
}

size_t emit_output(const Output& entry) {
  Output part = entry;
  size_t left = entry.length;
  do {
    part.length = left < kOutputDataBytesMax ? left : kOutputDataBytesMax;
    uint8_t* room = reserve(doors.output, kOutputHeaderBytesMax + part.length);
    const size_t header = put_output_header(room, part);
    // ORDER: the ring moves on after the copy: what could not be read is not in it.
    if (part.length != 0 && copy_in(room + header, part.data, part.length) != part.length) {
      break;
    }
    part.data += part.length;
    doors.output.advance(header + part.length);
    left -= part.length;
  } while (left != 0);
  if (entry.kind == OutputKind::kConsole || entry.kind == OutputKind::kNotice) {
    // ORDER: the entry first; whoever reads this word looks there.
    doors.control->said_end.store(doors.output.written(), std::memory_order_release);
  }
  return entry.length - left;
}

}  // namespace ftrun::shim
