// SPDX-License-Identifier: Apache-2.0
// What the process does to the world goes into the output ring, in every replica alike: the digest
// is over this ring's bytes. Runs in the application by the token's holder; no libc.
#pragma once

#include "eventlog/output.h"
#include "eventlog/ring.h"
#include "eventlog/shared_region.h"
#include "preload/sleep.h"

namespace ftrun::shim {

class OutputWriter {
 public:
  void attach(RingProducer ring) { ring_ = ring; }

  // emit_output() of env.h.
  size_t emit(const Output& entry, Control* control, Sleeper& sleeper);
  // The turn has ended. A full ring is published before that: its reader keeps back what has no
  // mark yet.
  void publish_turn() {
    ring_.publish();
    turn_start_ = ring_.written();
  }
  uint64_t turn_bytes() const { return ring_.written() - turn_start_; }

 private:
  RingProducer ring_;
  uint64_t turn_start_ = 0;
};

}  // namespace ftrun::shim
