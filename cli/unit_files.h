// SPDX-License-Identifier: Apache-2.0
// The text of files in a unit's run directory (supervisor/operator/run_dir.h and unit_dir.h say
// which there are), to values and back; no I/O. Runs in the tools. An Error says what is wrong with
// a file, to stand behind its name.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.h"

namespace ftrun::cli {

// unit.json. A field that is missing is empty.
struct UnitFile {
  std::string unit;
  int replicas = 0;
  std::string program;
  pid_t ftrun = 0;
  bool operator==(const UnitFile&) const = default;
};
std::string encode_unit_file(const UnitFile& unit);
Result<UnitFile> decode_unit_file(std::string_view text);

// sup.<id>.json. A process that is missing is 0.
struct ReplicaFile {
  std::string id;
  pid_t supervisor = 0;
  pid_t keeper = 0;
  pid_t init = 0;
  pid_t application = 0;
  std::string damage;  // why the file says nothing (a power failure cut it off, say); else empty
  bool operator==(const ReplicaFile&) const = default;
};
// The id in such a name; nothing for the name of any other file.
std::optional<std::string> replica_of_file(std::string_view name);
Result<ReplicaFile> decode_replica_file(const std::string& id, std::string_view text);

// exit_status: nothing unless it is one decimal number and a newline.
std::optional<int> decode_exit_status(std::string_view text);

// The last event of one of these kinds among the lines of events.jsonl, as "replica a: text"; empty
// if there is none. Lines that are no events, or not complete yet, are passed over.
std::string last_event_in(std::string_view lines, const std::vector<std::string>& kinds);

}  // namespace ftrun::cli
