// SPDX-License-Identifier: Apache-2.0
// The doors' state, and their way to the log: written or followed, and when a replica that follows
// goes live. For the doors' own files.
// Runs in the application by the token's holder; no libc.
#pragma once

#include "eventlog/records.h"
#include "eventlog/shared_region.h"
#include "preload/log_reader.h"
#include "preload/log_writer.h"
#include "preload/output_writer.h"
#include "preload/sleep.h"
#include "preload/virtual_clock.h"

namespace ftrun::shim {

struct Doors {
  Control* control = nullptr;
  bool live = false;
  bool live_late = false;  // and not early: nobody waits at optional points. PERF: one look
  bool early = false;      // early logging
  uint64_t points = 0;     // optional points so far, if so
  RingConsumer input;
  LogReader log_in;
  LogWriter log_out;
  OutputWriter output;
  uint64_t log_base = 0;     // log position of byte 0 of the ring that it writes, or follows
  uint64_t live_period = 0;  // how often it has gone live
  uint64_t lsn = 0;
  uint64_t input_bytes = 0;
  Sleeper sleeper;
  VirtualClock clock;
};
extern Doors doors;

uint64_t log_position();

// --- who decides ---
void append_record(Record& record, const void* payload, size_t length);

// --- who follows ---
bool next_is_here(RecordKind kind);
// The next record must be `kind`, here. It stays readable until finish_record(). `number`: of a
// choice, for the report.
const Record& expect_record(RecordKind kind, long number = 0);
void finish_record(bool last_of_turn);
[[noreturn]] void diverged(const Record& here);
// Waits for the next record, or goes live for want of one. REQUIRES: one must come here.
void await_record();
// The operator wants another replica to decide: this one follows from here on, if so. REQUIRES: a
// turn of its own has ended, and was published, and nothing has happened since. Returns when it
// knows what comes next.
void step_down_if_asked();
bool is_asked_to_step_down();

// --- both ---
// A place at which the primary may write a record, or none: before it is known which, and, where it
// was none, after.
void reach_point();
void pass_point();

}  // namespace ftrun::shim
