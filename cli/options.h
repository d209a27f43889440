// SPDX-License-Identifier: Apache-2.0
// ftrun's command line. Runs in ftrun; a pure function of argv.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "supervisor/base/result.h"
#include "supervisor/edge/edge.h"
#include "supervisor/unit/limits.h"
#include "supervisor/unit/view.h"

namespace ftrun::cli {

inline constexpr int kReplicasMax = static_cast<int>(unit::kMembersMax);
inline constexpr int kReplicasDefault = 2;
inline constexpr int kTimeOutMsDefault = 150;
inline constexpr int kTimeOutMsMin = 60;
inline constexpr int kTimeOutMsMax = 60'000;

inline constexpr uint64_t kRunAheadBytesDefault = unit::kLogRunAheadBytesMax;
inline constexpr uint64_t kInputMemoryBytesDefault = unit::kInputStoreBytesMax;
inline constexpr uint64_t kOrphanMemoryBytesDefault = edge::kOrphanBytesMax;
inline constexpr uint64_t kMemoryBytesMin = 256 << 10;
inline constexpr uint64_t kMemoryBytesMax = 1 << 30;

inline constexpr int kQuarantineHoldMsDefault = 5'000;
inline constexpr int kQuarantineHoldMsMax = 3'600'000;

inline constexpr double kStopGraceSecondsDefault = 2;
inline constexpr double kSpinSecondsMax = 1e6;

struct RunOptions {
  std::string unit;  // empty: named after the program
  int replicas = kReplicasDefault;
  std::string topology = "chain";         // or "fanout"
  std::string logging = "late";           // or "early", or "independent"
  std::string input = "reference";        // or "log"
  std::string promote = "most-advanced";  // or "designated"
  int tolerance = 1;
  std::vector<std::string> state_dirs;
  std::string run_dir;  // empty: units_directory()/unit
  int time_out_ms = kTimeOutMsDefault;
  uint64_t run_ahead_bytes = kRunAheadBytesDefault;
  uint64_t input_memory_bytes = kInputMemoryBytesDefault;
  uint64_t orphan_memory_bytes = kOrphanMemoryBytesDefault;
  std::string sender_lag = "off";       // or "on"
  std::string on_crash = "quarantine";  // or "retry", which goes with early logging
  int quarantine_hold_ms = kQuarantineHoldMsDefault;
  double spin_limit_seconds = 0;  // 0: none
  double stop_grace_seconds = kStopGraceSecondsDefault;
  std::string transport;   // "memory", "unix" or "tcp"; as given, or by `replicas`
  bool no_filter = false;  // no second wall (process/call_wall.h)
  bool recover = false;
  std::string record_log;
  bool check = false;                // `ftrun check`: one replica, watched
  double check_seconds = 0;          // 0: until the program ends
  std::vector<std::string> command;  // program and arguments
};

struct ParsedOptions {
  RunOptions options;
  // When true the command line asked for text (--help, --version) or is wrong: print `text` (to
  // stderr if `exit_code` is not 0) and end.
  bool done = false;
  int exit_code = 0;
  std::string text;
};
// "check" as the first word stands before options; a program of that name is started by
// `ftrun -- check`.
ParsedOptions parse_run_options(int argc, const char* const* argv);

}  // namespace ftrun::cli
