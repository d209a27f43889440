// SPDX-License-Identifier: Apache-2.0
// Judges one application at every tick: was it stopped, has it crashed without an end, or does it
// do nothing although it could? A computation uses CPU time, however long it takes: that is no
// failure here (computation.h). Runs in the supervisor; looks into the rings and into /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "supervisor/members/liveness.h"
#include "supervisor/rings/app_port.h"

namespace ftrun {

// Why an application is given up, and its status as a shell has it.
struct Loss {
  std::string why;
  int status = 0;
};

class AppWatch {
 public:
  explicit AppWatch(int time_out_ms) : time_out_ns_(int64_t{time_out_ms} * 1'000'000) {}
  // Its init says that a signal has stopped it, or that it goes on.
  void stopped(int signal, int64_t now_ns);
  void continued() { stop_signal_ = 0; }
  bool is_stopped() const { return stop_signal_ != 0; }
  // To be called at every tick; `late` if the tick itself came late. Nothing, or the verdict.
  std::optional<Loss> tick(int64_t now_ns, bool late, pid_t application, const AppPort& port);

 private:
  std::optional<Loss> check_dying(int64_t now_ns, int signal);
  std::optional<Loss> check_stop(int64_t now_ns, bool late);
  std::optional<Loss> check_progress(int64_t now_ns, bool late, pid_t application,
                                     const AppPort& port);

  const int64_t time_out_ns_;
  ProgressWatch progress_;
  int stop_signal_ = 0;  // it is stopped by this one,
  Silence stopped_;      // for so long
  int64_t stop_grace_ns_ = 0;
  int64_t dying_since_ns_ = 0;  // it is busy with its crash; 0: it is not
};

}  // namespace ftrun
