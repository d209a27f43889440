// SPDX-License-Identifier: Apache-2.0
// Watches for code that makes no calls: a loop that waits for another thread, or for a signal, or a
// long computation. Nothing reaches an application there: signals, other threads, input and the end
// of its turn all enter at calls. Runs in the supervisor, once per tick; no I/O and no clock.
#pragma once

#include <cstdint>

namespace ftrun {

// So long without a call is worth a word.
inline constexpr int64_t kNoCallsNoticedNs = 2'000'000'000;
// A process that used less of a CPU than one part in this many did not compute: it waited in the
// kernel. On a machine that is full it may be so little.
inline constexpr int64_t kComputingShare = 100;

class CallWatch {
 public:
  struct Sample {
    bool may_run = false;  // it is not asleep, and has something to do
    uint64_t calls = 0;    // moves with its calls; every turn is ended soon by one
    uint64_t cpu_ns = 0;   // used so far
  };
  // Returns for how long it has computed without a call.
  int64_t tick(int64_t now_ns, const Sample& sample);
  // So far; 0: it makes calls.
  int64_t lasts_ns() const { return lasts_ns_; }

 private:
  Sample first_;
  int64_t since_ns_ = 0;
  int64_t lasts_ns_ = 0;
};

}  // namespace ftrun
