// SPDX-License-Identifier: Apache-2.0
// The primary's end of the log. Runs in the application by the token's holder; no libc.
//
// ORDER: a record is complete before the ring's head moves over it: whoever reads the ring may ship
// its bytes at once. With late logging the head moves when a turn has ended, and nobody ever sees
// half a turn. With early logging it moves with every record, but for an answer that several
// records carry: a replica that went live in the middle of one could not make up the rest.
#pragma once

#include "eventlog/records.h"
#include "eventlog/ring.h"
#include "preload/guarded.h"
#include "preload/room.h"
#include "preload/thread.h"

namespace ftrun::shim {

class LogWriter {
 public:
  void attach(RingProducer ring, bool early) {
    ring_ = ring;
    early_ = early;
  }

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
    if (early_ && !holds_) {
      show(sleeper);
    }
  }

  // Between these, or up to the turn's end, records are seen together or not at all.
  void hold() { holds_ = early_; }
  void let_go(Sleeper& sleeper) {
    if (holds_) {
      holds_ = false;
      show(sleeper);
    }
  }

  // All that was written becomes visible: the turn has ended.
  void publish_turn() {
    holds_ = false;
    ring_.publish();
    turn_start_ = ring_.written();
  }

  // Of the ring, which a promoted replica begins to write at 0.
  uint64_t written() const { return ring_.written(); }
  uint64_t turn_bytes() const { return ring_.written() - turn_start_; }

 private:
  void show(Sleeper& sleeper) {
    ring_.publish();
    sleeper.wake_supervisor();
  }

  RingProducer ring_;
  bool early_ = false;
  bool holds_ = false;
  uint64_t turn_start_ = 0;
};

}  // namespace ftrun::shim
