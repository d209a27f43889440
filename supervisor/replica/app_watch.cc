// SPDX-License-Identifier: Apache-2.0
// Whether an application can still be counted on: see app_watch.h. Runs in the supervisor's event
// loop.
#include "supervisor/replica/app_watch.h"

#include <fmt/format.h>
#include <signal.h>

#include "eventlog/shared_region.h"
#include "supervisor/process/proc_info.h"

namespace ftrun {

namespace {
constexpr int64_t kStopGraceNs = 50'000'000;    // for a stopped application to be continued
constexpr int64_t kDyingNsMax = 1'000'000'000;  // for a crashed application's own handlers
}  // namespace

// Whoever stops a whole unit (and wakes it later) reaches the application a moment before its
// supervisor: nothing is decided yet.
void AppWatch::stopped(int signal, int64_t now_ns) {
  stop_signal_ = signal;
  stopped_.heard(now_ns);
  stop_grace_ns_ = kStopGraceNs;
}

std::optional<Loss> AppWatch::tick(int64_t now_ns, bool late, pid_t application,
                                   const AppPort& port) {
  const int crash = crash_signal(port.control()->crash.load(std::memory_order_acquire));
  if (crash != 0) {
    return check_dying(now_ns, crash);
  }
  dying_since_ns_ = 0;
  return is_stopped() ? check_stop(now_ns, late) : check_progress(now_ns, late, application, port);
}

// It has crashed, and its handlers write a report, perhaps. Clients are waiting.
std::optional<Loss> AppWatch::check_dying(int64_t now_ns, int signal) {
  dying_since_ns_ = dying_since_ns_ == 0 ? now_ns : dying_since_ns_;
  if (now_ns - dying_since_ns_ < kDyingNsMax) {
    return std::nullopt;
  }
  return Loss{
      fmt::format("crashed by signal {} and not gone {} ms later", signal, kDyingNsMax / 1'000'000),
      128 + signal};
}

std::optional<Loss> AppWatch::check_stop(int64_t now_ns, bool late) {
  // A late tick: we were stopped too, and those who wake us come to the application later.
  stop_grace_ns_ = late ? time_out_ns_ : stop_grace_ns_;
  stopped_.tick(now_ns, late);
  if (stopped_.lasts_ns(now_ns) < stop_grace_ns_) {
    return std::nullopt;
  }
  return Loss{fmt::format("stopped by signal {}", stop_signal_), 128 + stop_signal_};
}

std::optional<Loss> AppWatch::check_progress(int64_t now_ns, bool late, pid_t application,
                                             const AppPort& port) {
  ProgressWatch::Sample sample;
  sample.has_work = port.app_has_work();
  sample.done = port.app_progress();
  sample.cpu_ns = sample.has_work ? process::process_cpu_ns(application) : 0;
  const int64_t idle_ns = progress_.tick(now_ns, late, sample);
  if (idle_ns <= time_out_ns_ || !hangs(idle_ns, time_out_ns_,
                                        starved(process::look_at_process(application),
                                                progress_.cpu_used_ns(sample.cpu_ns), idle_ns))) {
    return std::nullopt;
  }
  return Loss{fmt::format("has work, but neither used CPU time nor did any of it for {} ms",
                          idle_ns / 1'000'000),
              128 + SIGKILL};
}

}  // namespace ftrun
