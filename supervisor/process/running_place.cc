// SPDX-License-Identifier: Apache-2.0
// See running_place.h.
#include "supervisor/process/running_place.h"

#include <sstream>

namespace ftrun::process {
namespace {

std::string without_offset(const std::string& name) {
  return name.substr(0, name.rfind("+0x"));
}

// Of "  #0  0x00007ffff7e92829 function+0x12 (object+0x345)"; empty for the shim's.
std::string place_of(const std::string& line) {
  const size_t address = line.find(" 0x");
  const size_t object = line.rfind(" (");
  if (address == std::string::npos || object == std::string::npos || object <= address) {
    return "";
  }
  const size_t name = line.find(' ', address + 1);
  const std::string file = without_offset(line.substr(object + 2));
  if (name >= object || file == "libftpreload.so") {
    return "";
  }
  const std::string function = without_offset(line.substr(name + 1, object - name - 1));
  return (function == "?" ? "a function without a name" : function) + " (" + file + ")";
}

// Of "thread 1234 (tid 3 in its namespace):".
std::string thread_of(const std::string& line) {
  const size_t begin = line.find("(tid ");
  const size_t end = line.find(" in its namespace");
  return begin < end && end != std::string::npos
             ? "thread " + line.substr(begin + 5, end - begin - 5)
             : "";
}

}  // namespace

RunningPlace running_place(const std::string& stacks) {
  std::istringstream lines(stacks);
  std::string thread;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("thread ")) {
      thread = thread_of(line);
    } else if (line.starts_with("  #0 ")) {
      const std::string place = place_of(line);
      if (!place.empty()) {
        return {thread, place};
      }
    }
  }
  return {};
}

}  // namespace ftrun::process
