// SPDX-License-Identifier: Apache-2.0
// Verdicts about silent processes: see liveness.h. Runs in the supervisor.
#include "supervisor/members/liveness.h"

namespace ftrun {

bool starved(const process::ProcessLook& look, uint64_t cpu_used_ns, int64_t silent_ns) {
  const bool works = look.runnable || cpu_used_ns >= kCpuProgressNs;
  return look.waits_for_disk ||
         (works && !look.stopped && cpu_used_ns < static_cast<uint64_t>(silent_ns) / 2);
}

bool hangs(int64_t silent_ns, int64_t time_out_ns, bool is_starved) {
  return silent_ns > (is_starved ? kStarvedPatience * time_out_ns : time_out_ns);
}

int64_t ProgressWatch::tick(int64_t now_ns, bool late, const Sample& sample) {
  if (!sample.has_work || !last_.has_work || sample.done != last_.done ||
      sample.cpu_ns - last_.cpu_ns >= kCpuProgressNs) {
    silence_.heard(now_ns);
    last_ = sample;
    return 0;
  }
  silence_.tick(now_ns, late);
  return silence_.lasts_ns(now_ns);
}

}  // namespace ftrun
