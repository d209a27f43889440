// SPDX-License-Identifier: Apache-2.0
// Units as ftrun and ftctl see them: where a unit's run directory is, whether the unit lives, who
// is in it. The files in there are described in supervisor/operator/run_dir.h; ftrun adds
//   unit.json   {"unit","replicas","program","ftrun"}: what was started, by which process
// Runs in the tools. Whether a process is the one that a file names is asked of its command line:
// it must mention the run directory (a pid alone may have been given again).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "cli/unit_files.h"
#include "supervisor/base/result.h"

namespace ftrun::cli {

// Letters, digits, '.', '_' and '-', not at the start '.' or '-'; at most 64.
Result<void> check_unit_name(const std::string& unit);

// $XDG_RUNTIME_DIR/ftrun, or /tmp/ftrun-<uid> where that is not set.
std::string units_directory();

// Makes `path` with mode 0700 unless it is there. Refuses what another user owns, what others may
// enter, and symbolic links.
Result<void> make_private_directory(const std::string& path);

Result<void> write_unit_file(const std::string& run_dir, const UnitFile& unit);
Result<UnitFile> read_unit_file(const std::string& run_dir);

// All sup.<id>.json, by id. One that is damaged is there with its damage and no process.
Result<std::vector<ReplicaFile>> read_replica_files(const std::string& run_dir);

// Whether `pid` is a process of the unit in `run_dir`: ftrun, a supervisor or a keeper.
bool belongs_to(pid_t pid, const std::string& run_dir);

// The supervisor that lives of those in `replicas`; 0: it does not.
pid_t find_supervisor_of(const std::string& run_dir, const ReplicaFile& replica);

struct Owner {
  std::string role;  // "supervisor a", "ftrun"
  pid_t pid = 0;
};
// The process that keeps the unit alive: a supervisor, or else an ftrun that is just starting it.
// Nothing: the unit is dead. (A keeper alone does not keep it alive.)
Result<std::optional<Owner>> find_owner(const std::string& run_dir);

// Makes an empty run directory for a new unit, in place of a dead one's (whose keepers, which may
// still hold its sockets, are killed). Refuses when the unit lives, naming the process. `notes` is
// told of files of the dead unit that were damaged: they are no reason not to start.
Result<void> claim_run_directory(const std::string& run_dir, const std::string& unit,
                                 std::vector<std::string>* notes);

// For a unit whose run directory the operator chose: lets its name lead there (a symbolic link in
// units_directory()). False when another living unit has the name; it keeps it.
Result<bool> publish_name(const std::string& run_dir, const std::string& unit);

struct RunningUnit {
  std::string unit;
  std::string run_dir;
};
// The units under units_directory() that live.
Result<std::vector<RunningUnit>> find_running_units();

// The exit status that the unit left, if it has ended by itself.
std::optional<int> read_exit_status(const std::string& run_dir);

}  // namespace ftrun::cli
