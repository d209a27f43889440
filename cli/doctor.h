// SPDX-License-Identifier: Apache-2.0
// `ftrun doctor`: what this host lacks, and what that costs. Runs in ftrun; tries and looks,
// changes nothing.
#pragma once

#include <string>

namespace ftrun::cli {

struct Diagnosis {
  std::string text;   // one line each: "ok", "missing" or "costs", what, and why it matters
  bool able = false;  // everything that a unit cannot run without is there
};
Diagnosis diagnose_host();

}  // namespace ftrun::cli
