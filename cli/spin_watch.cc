// SPDX-License-Identifier: Apache-2.0
// See spin_watch.h.
#include "cli/spin_watch.h"

#include <sstream>

namespace ftrun::cli {
namespace {

std::string without_offset(const std::string& name) {
  return name.substr(0, name.rfind("+0x"));
}

}  // namespace

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

std::string running_place(const std::string& stacks) {
  std::istringstream lines(stacks);
  for (std::string line; std::getline(lines, line);) {
    // "  #0  0x00007ffff7e92829 function+0x12 (object+0x345)"
    const size_t address = line.find(" 0x");
    const size_t object = line.rfind(" (");
    if (!line.starts_with("  #0 ") || address == std::string::npos || object == std::string::npos ||
        object <= address) {
      continue;
    }
    const size_t name = line.find(' ', address + 1);
    const std::string file = without_offset(line.substr(object + 2));
    if (name >= object || file == "libftpreload.so") {
      continue;
    }
    const std::string function = without_offset(line.substr(name + 1, object - name - 1));
    return (function == "?" ? "a function without a name" : function) + " (" + file + ")";
  }
  return "";
}

}  // namespace ftrun::cli
