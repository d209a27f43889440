// SPDX-License-Identifier: Apache-2.0
// See call_watch.h.
#include "supervisor/replica/call_watch.h"

namespace ftrun {

int64_t CallWatch::tick(int64_t now_ns, const Sample& sample) {
  if (!sample.may_run || !first_.may_run || sample.calls != first_.calls) {
    first_ = sample;
    since_ns_ = now_ns;
    lasts_ns_ = 0;
    return 0;
  }
  const int64_t passed_ns = now_ns - since_ns_;
  const bool computes =
      static_cast<int64_t>(sample.cpu_ns - first_.cpu_ns) >= passed_ns / kComputingShare;
  lasts_ns_ = computes ? passed_ns : 0;
  return lasts_ns_;
}

}  // namespace ftrun
