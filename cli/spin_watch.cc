// SPDX-License-Identifier: Apache-2.0
// See spin_watch.h.
#include "cli/spin_watch.h"

namespace ftrun::cli {
bool SpinWatch::add(const ActivityLook& look) {
  const bool called = look.records != last_.records || look.log_bytes != last_.log_bytes ||
                      look.kernel_calls != last_.kernel_calls;
  const auto passed_ns = static_cast<uint64_t>(look.now_ns - last_.now_ns);
  // CPU time runs backwards when the process is gone: it reads as 0.
  const bool idle =
      look.cpu_ns < last_.cpu_ns || (look.cpu_ns - last_.cpu_ns) * kSpinShare < passed_ns;
  last_ = look;
  if (!any_ || called || idle) {
    any_ = true;
    counted_ = false;
    first_ = look;
    return false;
  }
  const uint64_t used_ns = look.cpu_ns - first_.cpu_ns;
  if (used_ns < kSpinCpuNs) {
    return false;
  }
  longest_ns_ = std::max(longest_ns_, used_ns);
  const bool now_long = !counted_;
  stretches_ += now_long ? 1 : 0;
  counted_ = true;
  return now_long;
}

}  // namespace ftrun::cli
