// SPDX-License-Identifier: Apache-2.0
// The primary's end of the log. Runs in the application by the token's holder; no libc.
//
// ORDER: a record is complete before the ring's head moves over it, and the head moves when a turn
// has ended: whoever reads the ring may ship its bytes at once and never sees half a turn.
#pragma once

#include "eventlog/records.h"
#include "eventlog/ring.h"
#include "preload/guarded.h"
#include "preload/room.h"
#include "preload/thread.h"

namespace ftrun::shim {

class LogWriter {
 public:
  void attach(RingProducer ring) { ring_ = ring; }

  // Writes down what `thread` has decided in its present call.
  void append(Thread* thread, Record& record, const void* payload, size_t length,
              Sleeper& sleeper) {
    record.delta = thread->calls - thread->calls_at_record;
    thread->calls_at_record = thread->calls;
    record.length = length;
    uint8_t* room = reserve(ring_, kRecordHeaderBytesMax + length, WhenFull::kKeep, sleeper);
    const size_t header = put_record_header(room, record);
    // What the kernel has just written into the application's memory, or the shim's own.
    if (copy_in(room + header, payload, length) != length) {
      shim_fail("a record's bytes cannot be read", static_cast<int64_t>(record.number),
                static_cast<int64_t>(length));
    }
    ring_.advance(header + length);
  }

  // All that was written becomes visible: the turn has ended.
  void publish_turn() {
    ring_.publish();
    turn_start_ = ring_.written();
  }

  // Of the ring, which a promoted replica begins to write at 0.
  uint64_t written() const { return ring_.written(); }
  uint64_t turn_bytes() const { return ring_.written() - turn_start_; }

 private:
  RingProducer ring_;
  uint64_t turn_start_ = 0;
};

}  // namespace ftrun::shim
