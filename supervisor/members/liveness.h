// SPDX-License-Identifier: Apache-2.0
// Judges hangs: how long a process has shown no sign of life, and whether that is its own fault.
// Runs in the supervisor, once per tick of its loop. No I/O and no clock: callers bring both.
//
// Three things look like a hang and are none: the judge itself was stopped or starved (its ticks
// come late), the process waits for a CPU or a disk that others use, or it has nothing to do.
#pragma once

#include <cstdint>

#include "supervisor/process/proc_info.h"

namespace ftrun {

// Late ticks that may restart a silence one after the other. Bounded: a judge that is late for ever
// (a machine that is always too busy) would never see that a process is stopped.
inline constexpr unsigned kLateTicksForgivenMax = 8;
// A starved process gets so many times the time-out.
inline constexpr int kStarvedPatience = 10;
// CPU time that counts as progress; less is what a stopped process's last moments are charged.
inline constexpr uint64_t kCpuProgressNs = 1'000'000;

// The time since the last sign of life, as far as the judge was awake to see one.
class Silence {
 public:
  void heard(int64_t now_ns) {
    since_ns_ = now_ns;
    forgiven_ = 0;
  }
  // To be called at every tick; `late` if the tick itself came late.
  void tick(int64_t now_ns, bool late) {
    if (late && forgiven_ < kLateTicksForgivenMax) {
      ++forgiven_;
      since_ns_ = now_ns;
    }
  }
  int64_t since_ns() const { return since_ns_; }
  int64_t lasts_ns(int64_t now_ns) const { return now_ns - since_ns_; }

 private:
  int64_t since_ns_ = 0;
  unsigned forgiven_ = 0;
};

// Whether a process that was silent for `silent_ns`, and used `cpu_used_ns` of CPU in that time, is
// kept from running by the machine: a thread of it waits for a CPU or for a disk. It waits for a
// CPU if it is runnable, or has got a little CPU time though it sleeps at this moment (in a page
// fault, or a write to a file), and got less than half of one; and nobody has stopped it.
bool starved(const process::ProcessLook& look, uint64_t cpu_used_ns, int64_t silent_ns);

// Whether a silence of `silent_ns` is long enough for a verdict, given what keeps the process busy.
bool hangs(int64_t silent_ns, int64_t time_out_ns, bool is_starved);

// Watches one application. It makes progress when its counters move or it uses CPU time; it need
// not when there is nothing that it could do.
class ProgressWatch {
 public:
  struct Sample {
    bool has_work = false;  // unread arrivals or log, and it is not asleep, and we owe it no room
    uint64_t done = 0;      // moves whenever the application reads or writes a ring
    uint64_t cpu_ns = 0;    // used so far
  };
  // To be called at every tick. Returns for how long it has made no progress.
  int64_t tick(int64_t now_ns, bool late, const Sample& sample);
  uint64_t cpu_used_ns(uint64_t cpu_ns) const { return cpu_ns - last_.cpu_ns; }

 private:
  Silence silence_;
  Sample last_;
};

}  // namespace ftrun
