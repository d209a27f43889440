// SPDX-License-Identifier: Apache-2.0
// A secondary's end of the log: one record ahead. Runs in the application by the token's holder; no
// libc.
//
// With late logging whole turns are fed: once a turn has begun, its next record is there. With
// early logging whole answers are: the next record may be yet to come, and may never come.
#pragma once

#include "eventlog/records.h"
#include "eventlog/ring.h"
#include "preload/thread.h"

namespace ftrun::shim {

class LogReader {
 public:
  void attach(RingConsumer ring) { ring_ = ring; }

  // The next record, which stays in the ring until consume(). REQUIRES: has_next().
  const Record& next() const { return next_; }
  bool has_next() const { return next_.kind != kNoRecord; }
  // Decodes the next record, if there is one.
  bool decode();
  // The next record belongs to the present call of `thread` and is of this kind. False without one.
  bool next_is(RecordKind kind, const Thread* thread) const {
    return next_.kind == kind && next_.delta == thread->calls - thread->calls_at_record;
  }
  // The present call of `thread` lies behind that of the next record: it should have used it.
  bool is_overdue(const Thread* thread) const {
    return next_.delta < thread->calls - thread->calls_at_record;
  }
  // `thread` has done what the next record says. The payload is gone.
  void consume(Thread* thread) {
    thread->calls_at_record = thread->calls;
    ring_.consume(next_bytes_);
    forget();
  }
  // A replica that goes live has no next record, and nothing is overdue.
  void forget() {
    next_.kind = kNoRecord;
    next_.delta = UINT64_MAX;
  }

  bool is_empty() const { return ring_.available() == 0; }
  uint64_t position() const { return ring_.position(); }

 private:
  static constexpr auto kNoRecord = static_cast<RecordKind>(0);

  RingConsumer ring_;
  Record next_{.kind = kNoRecord, .delta = UINT64_MAX};
  size_t next_bytes_ = 0;
};

}  // namespace ftrun::shim
