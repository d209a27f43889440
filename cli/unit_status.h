// SPDX-License-Identifier: Apache-2.0
// The state of a unit, put together from what its supervisors answer and, for those that do not,
// from the run directory. Runs in the tools.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cli/unit_files.h"
#include "nlohmann/json.hpp"
#include "supervisor/base/result.h"

namespace ftrun::cli {

enum class Protection { kProtected, kUnprotected, kRepairing };
const char* protection_name(Protection protection);
int protection_exit_code(Protection protection);  // 0, 1, 2
inline constexpr int kNoSuchUnitExitCode = 3;

struct ReplicaStatus {
  std::string id;
  std::string role;  // "primary", "secondary", or "none" once it is excluded
  bool sender = false;
  std::string state;  // "live", "replaying", "joining", "failed"
  pid_t app_pid = 0;  // 0 where there is none
  pid_t supervisor_pid = 0;
  pid_t keeper_pid = 0;
  std::string host;
  uint64_t lsn = 0;
  uint64_t lag_records = 0;
  uint64_t received = 0;          // log position up to which it has the log,
  uint64_t replayed = 0;          // up to which its program has come,
  uint64_t kept_bytes = 0;        // and what it keeps of it for others
  uint64_t turn_bytes_sent = 0;   // of log to others, in frames,
  uint64_t input_bytes_sent = 0;  // and of input
  uint64_t log_bytes = 0;         // of the log, written or replayed
  uint64_t input_bytes = 0;       // of these: client input
  uint64_t kernel_calls = 0;      // system calls that the application has cost so far
  uint64_t wake_calls = 0;        // of these: sleeping, and waking its supervisor,
  uint64_t spin_calls = 0;        // and looking around before sleeping
  uint64_t no_calls_ms = 0;       // it has computed for so long without a call,
  std::string no_calls_in;        // and there, once that is known
  std::string stays_primary;      // why it has not stepped down when it was asked last
};

struct UnitStatus {
  std::string unit;
  uint64_t epoch = 0;
  Protection protection = Protection::kUnprotected;
  std::string topology;        // "chain" or "fanout"
  bool settled = false;        // all members have come to this view, and taken their roles in it
  int may_die = 0;             // so many replicas at once, and the unit goes on
  std::string slowest;         // the replica that is furthest behind the primary,
  uint64_t slowest_lag = 0;    // by so many bytes of log,
  bool primary_waits = false;  // for which the primary waits
  std::vector<ReplicaStatus> replicas;  // those in the view in its order, then the failed ones
};

// An Error when no supervisor of the unit lives (number 0), or the directory cannot be read.
Result<UnitStatus> read_unit_status(const std::string& run_dir);

// A supervisor's answer, one line. An Error says what is wrong with it, or that it is a refusal, to
// stand behind the supervisor's name.
Result<nlohmann::json> decode_answer(std::string_view line);

// What follows from answers and files alone (read_unit_status without the sockets). `answers` holds
// the supervisors' status objects by replica; those that did not answer are not in it.
UnitStatus combine_status(const std::string& unit, const std::vector<ReplicaFile>& files,
                          const std::map<std::string, nlohmann::json>& answers,
                          const std::vector<std::string>& view, const std::string& sender,
                          uint64_t epoch);

nlohmann::ordered_json status_json(const UnitStatus& status);
// Several lines; the first word is the protection.
std::string status_text(const UnitStatus& status);

}  // namespace ftrun::cli
