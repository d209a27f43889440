// SPDX-License-Identifier: Apache-2.0
// An application that makes no calls: where it computes, said once, and when it is to be given up.
// Runs in the supervisor's event loop, once per tick; another process reads the stacks.
//
// A secondary's application stands in the middle of nothing meanwhile: it has replayed the turns
// that ended. If the primary's is given up it does the same computation again, from there.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "supervisor/process/call_stacks.h"
#include "supervisor/replica/app_watch.h"
#include "supervisor/replica/call_watch.h"

namespace ftrun {

class Computation {
 public:
  struct Limits {
    int spin_ms = 0;        // without a call, then it is given up; 0: none
    int stop_grace_ms = 0;  // for one that makes no calls to take a signal to end
  };
  using Tell = std::function<void(std::string_view kind, const std::string& text)>;
  // `tell` gets events: no_calls, calls_again.
  Computation(Limits limits, Tell tell) : limits_(limits), tell_(std::move(tell)) {}

  struct Look {
    CallWatch::Sample sample;
    pid_t application = -1;
    bool gone = false;   // its process has ended
    int end_signal = 0;  // the operator's, that no turn has yet; 0: none
  };
  // To be called at every tick. Why it is given up: an operator's signal to end it cannot hear, or
  // the limit; or nothing.
  std::optional<Loss> tick(int64_t now_ns, const Look& look);
  // Somebody else wants to read the stacks: a process has one tracer.
  void stop_reading() { stacks_.stop(); }
  int64_t lasts_ns() const { return calls_.lasts_ns(); }
  // Where, as far as it is known.
  const std::string& place() const { return place_; }
  // For a report, with a heading.
  std::string stacks() const;

 private:
  void look_for_place(pid_t application);
  std::optional<Loss> judge(int64_t now_ns, int end_signal) const;

  const Limits limits_;
  const Tell tell_;
  CallWatch calls_;
  process::StackReader stacks_;
  bool told_ = false;
  std::string place_;
  int64_t end_signal_since_ns_ = 0;  // such a signal waits; 0: none
};

}  // namespace ftrun
