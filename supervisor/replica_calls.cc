// SPDX-License-Identifier: Apache-2.0
// An application that makes no calls: it is told of, and can be ended. See replica.h and
// call_watch.h. Runs in the supervisor's event loop, once per tick.
//
// A secondary's application stands in the middle of nothing meanwhile: it has replayed the turns
// that ended. If the primary's is given up it does the same computation again, from there.
#include <fmt/format.h>
#include <signal.h>

#include <cstring>

#include "supervisor/process/running_place.h"
#include "supervisor/replica.h"
#include "supervisor/reports.h"

namespace ftrun {

namespace {

// A survivor, which begins the computation anew, gets so long at least before a stop ends it.
constexpr int64_t kAnewNs = 1'000'000'000;

std::string seconds(int64_t ns) {
  return fmt::format("{:.1f} s", static_cast<double>(ns) / 1e9);
}

}  // namespace

void Replica::check_calls() {
  CallWatch::Sample sample;
  const Control* shared = port_->control();
  sample.may_run = !app_gone_ && !evidence_.collects() && stop_signal_ == 0 &&
                   shared->crash.load(std::memory_order_relaxed) == 0 && !port_->app_asleep() &&
                   (core_->live() || port_->app_has_work());
  sample.calls = shared->lsn.load(std::memory_order_relaxed);
  sample.cpu_ns = sample.may_run ? process::process_cpu_ns(application_.application_pid) : 0;
  const int64_t before_ns = calls_.lasts_ns();
  const int64_t lasts_ns = calls_.tick(now_ns_, sample);
  if (lasts_ns == 0 && no_calls_told_) {
    event("calls_again",
          app_gone_ ? "the program has ended"
                    : fmt::format("the program makes calls again, after {}", seconds(before_ns)));
  }
  if (lasts_ns == 0) {
    no_calls_told_ = false;
    no_calls_in_.clear();
    computing_.stop();
  } else if (lasts_ns >= kNoCallsNoticedNs && !no_calls_told_) {
    look_for_computation();
  }
  end_computation(lasts_ns);
}

// Where it computes, then says so. Takes some ticks: the stacks are read by another process.
void Replica::look_for_computation() {
  if (no_calls_in_.empty() && computing_.start(application_.application_pid).ok()) {
    no_calls_in_ = "an unknown place";
    return;
  }
  computing_.read();
  if (computing_.running()) {
    return;
  }
  const process::RunningPlace found = process::running_place(computing_.text());
  no_calls_in_ =
      found.place.empty() ? "an unknown place" : fmt::format("{}, {}", found.place, found.thread);
  no_calls_told_ = true;
  event("no_calls",
        fmt::format("the program has made no call for {}, in {}: no input, no signal and no other "
                    "thread of it gets on meanwhile; ftctl stop ends it nevertheless",
                    seconds(calls_.lasts_ns()), no_calls_in_));
}

// Gives the application up if it was asked to end and cannot hear it, or has reached the limit.
void Replica::end_computation(int64_t lasts_ns) {
  const int signal = core_->status().end_signal;
  end_signal_since_ns_ = signal == 0                 ? 0
                         : end_signal_since_ns_ == 0 ? now_ns_
                                                     : end_signal_since_ns_;
  const int64_t stop_grace_ns = int64_t{options_.stop_grace_ms} * 1'000'000;
  const bool stops = signal != 0 && lasts_ns >= std::min(kAnewNs, stop_grace_ns) &&
                     now_ns_ - end_signal_since_ns_ >= stop_grace_ns;
  const bool limited =
      options_.spin_limit_ms > 0 && lasts_ns >= int64_t{options_.spin_limit_ms} * 1'000'000;
  if (!stops && !limited) {
    return;
  }
  const std::string why = fmt::format(
      "has made no call for {}{}{}: {}", seconds(lasts_ns), no_calls_in_.empty() ? "" : ", in ",
      no_calls_in_,
      stops ? fmt::format("it does not hear SIG{}", sigabbrev_np(signal))
            : fmt::format("the limit is {}", seconds(int64_t{options_.spin_limit_ms} * 1'000'000)));
  const uint64_t epoch = core_->status().view.epoch;
  const std::string replica = arbiter::replica_name(options_.replica);
  const Result<std::string> written =
      reports::write(options_.run_dir, epoch, replica,
                     report_head(epoch) + why + "\n\nCall stacks after " +
                         seconds(kNoCallsNoticedNs) + ":\n" + computing_.text());
  event("report", written.ok() ? *written : "cannot be kept: " + written.error().message);
  given_up_ = true;
  application_lost(why, 128 + (stops ? signal : SIGKILL));
}

}  // namespace ftrun
