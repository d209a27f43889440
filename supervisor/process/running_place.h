// SPDX-License-Identifier: Apache-2.0
// Which thread of an application runs, and where, from call stacks as StackReader gives them: one
// thread has the token, all others wait inside the shim. Runs in the supervisor and in ftrun; pure.
#pragma once

#include <string>

namespace ftrun::process {

struct RunningPlace {
  std::string thread;  // "thread 3" (tid, as the application knows it); empty: none runs
  std::string place;   // "function (object)"
};
RunningPlace running_place(const std::string& stacks);

}  // namespace ftrun::process
