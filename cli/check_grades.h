// SPDX-License-Identifier: Apache-2.0
// What a refusal means for the operator of a server, by the text of the unit's notice. Runs in
// ftrun; pure.
#pragma once

#include <string>
#include <string_view>

namespace ftrun::cli {

enum class Grade {
  kStops,     // the server cannot run in replicas like this
  kLoses,     // it runs, without what it wanted there
  kHarmless,  // it runs as well
};
const char* grade_name(Grade grade);  // "stops", "loses", "harmless"

struct Verdict {
  Grade grade = Grade::kLoses;
  std::string_view meaning;  // what is lost, or why nothing is; may be empty
};
// Of a call that was answered with an error. (One that ended the server stops it.)
Verdict verdict_of_notice(std::string_view text);

}  // namespace ftrun::cli
