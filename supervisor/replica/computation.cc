// SPDX-License-Identifier: Apache-2.0
// An application that makes no calls is told of, and can be ended: see computation.h. Runs in the
// supervisor's event loop, once per tick.
#include "supervisor/replica/computation.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstring>

#include "supervisor/process/running_place.h"

namespace ftrun {

namespace {

// A survivor, which begins the computation anew, gets so long at least before a stop ends it.
constexpr int64_t kAnewNs = 1'000'000'000;
constexpr char kUnknownPlace[] = "an unknown place";

std::string seconds(int64_t ns) {
  return fmt::format("{:.1f} s", static_cast<double>(ns) / 1e9);
}

}  // namespace

std::optional<Loss> Computation::tick(int64_t now_ns, const Look& look) {
  const int64_t before_ns = calls_.lasts_ns();
  const int64_t lasts_ns = calls_.tick(now_ns, look.sample);
  if (lasts_ns == 0 && told_) {
    tell_("calls_again",
          look.gone ? "the program has ended"
                    : fmt::format("the program makes calls again, after {}", seconds(before_ns)));
  }
  if (lasts_ns == 0) {
    told_ = false;
    place_.clear();
    stacks_.stop();
  } else if (lasts_ns >= kNoCallsNoticedNs && !told_) {
    look_for_place(look.application);
  }
  end_signal_since_ns_ = look.end_signal == 0        ? 0
                         : end_signal_since_ns_ == 0 ? now_ns
                                                     : end_signal_since_ns_;
  return judge(now_ns, look.end_signal);
}

// Where it computes, then says so. Takes some ticks: the stacks are read by another process.
void Computation::look_for_place(pid_t application) {
  if (place_.empty() && stacks_.start(application).ok()) {
    place_ = kUnknownPlace;
    return;
  }
  stacks_.read();
  if (stacks_.running()) {
    return;
  }
  const process::RunningPlace found = process::running_place(stacks_.text());
  place_ = found.place.empty() ? kUnknownPlace : fmt::format("{}, {}", found.place, found.thread);
  told_ = true;
  tell_("no_calls",
        fmt::format("the program has made no call for {}, in {}: no input, no signal and no other "
                    "thread of it gets on meanwhile; ftctl stop ends it nevertheless",
                    seconds(calls_.lasts_ns()), place_));
}

std::optional<Loss> Computation::judge(int64_t now_ns, int end_signal) const {
  const int64_t lasts_ns = calls_.lasts_ns();
  const int64_t stop_grace_ns = int64_t{limits_.stop_grace_ms} * 1'000'000;
  const int64_t spin_ns = int64_t{limits_.spin_ms} * 1'000'000;
  const bool stops = end_signal != 0 && lasts_ns >= std::min(kAnewNs, stop_grace_ns) &&
                     now_ns - end_signal_since_ns_ >= stop_grace_ns;
  if (!stops && (spin_ns == 0 || lasts_ns < spin_ns)) {
    return std::nullopt;
  }
  return Loss{fmt::format("has made no call for {}{}{}: {}", seconds(lasts_ns),
                          place_.empty() ? "" : ", in ", place_,
                          stops ? fmt::format("it does not hear SIG{}", sigabbrev_np(end_signal))
                                : fmt::format("the limit is {}", seconds(spin_ns))),
              128 + (stops ? end_signal : SIGKILL)};
}

std::string Computation::stacks() const {
  return "Call stacks after " + seconds(kNoCallsNoticedNs) + ":\n" + stacks_.text();
}

}  // namespace ftrun
