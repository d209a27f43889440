// SPDX-License-Identifier: Apache-2.0
// The signals that are the program's, whichever process of its unit they are sent to. Runs in ftrun
// and in the supervisors.
#pragma once

#include <signal.h>

namespace ftrun {

inline constexpr int kPassedOnSignals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT};

inline sigset_t passed_on_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kPassedOnSignals) {
    sigaddset(&set, number);
  }
  return set;
}

}  // namespace ftrun
