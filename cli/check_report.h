// SPDX-License-Identifier: Apache-2.0
// What `ftrun check` has found out about a server, and how it says so. Runs in ftrun; pure, but for
// read_call_findings().
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/check_grades.h"
#include "cli/object_scan.h"

namespace ftrun::cli {

inline constexpr int kCheckClean = 0;
inline constexpr int kCheckFound = 1;  // something stops it
inline constexpr int kCheckImpossible = 2;

struct CallFinding {
  Grade grade = Grade::kLoses;
  std::string text;
  std::string meaning;
  int count = 1;
};
// From the events of a unit: each text once. What else ended the application goes to `failure`.
std::vector<CallFinding> find_calls(const std::vector<std::string>& event_lines,
                                    std::string* failure);
std::vector<CallFinding> read_call_findings(const std::string& run_dir, std::string* failure);

struct LogVolume {
  double seconds = 0;
  uint64_t records = 0;
  uint64_t log_bytes = 0;
  uint64_t input_bytes = 0;
};

struct CheckFindings {
  std::string program;             // as its file is really called
  std::optional<int> exit_status;  // nothing: it never ended by itself
  int stop_signal = 0;             // what it was asked to end with; 0: nothing
  bool ended_by_force = false;     // it did not heed that
  std::string failure;             // why its application was lost; empty: it was not
  std::vector<CallFinding> calls;
  int spins = 0;
  uint64_t longest_spin_ms = 0;
  uint64_t spin_at_end_ms = 0;             // of the last one, if it had not ended
  std::map<std::string, int> spin_places;  // "function (object)": how often it was seen there
  std::vector<ObjectScan> objects;
  std::vector<std::string> unread_objects;  // with the reason
  LogVolume volume;
};

struct CheckReport {
  std::string text;
  int exit_code = kCheckClean;
};
CheckReport check_report(const CheckFindings& findings);

}  // namespace ftrun::cli
