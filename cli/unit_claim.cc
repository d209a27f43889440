// SPDX-License-Identifier: Apache-2.0
// Claiming a run directory, and removing what a dead unit left there: see unit_dir.h. Runs in
// ftrun.
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/unit_dir.h"
#include "fmt/format.h"
#include "supervisor/edge/keeper.h"
#include "supervisor/process/launch.h"
#include "supervisor/process/tree_copy.h"

namespace ftrun::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kKeeperDeathMs = 5'000;
// The longest file name in a run directory that is a Unix socket's: sup.a.sock and a slash.
constexpr size_t kSocketPathBytesMax = 107 - 11;

std::string comm_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/comm", pid));
  std::string name;
  return std::getline(file, name) ? name : "";
}

Result<void> kill_keeper(pid_t keeper) {
  const process::Descriptor pidfd(static_cast<int>(syscall(SYS_pidfd_open, keeper, 0)));
  return pidfd.valid() ? edge::kill_and_wait(pidfd.get(), kKeeperDeathMs) : Result<void>();
}

// Keepers that no file names, because it is damaged or gone: they have their supervisor's command
// line.
std::vector<pid_t> find_keepers(const std::string& run_dir) {
  std::vector<pid_t> keepers;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    const pid_t pid = static_cast<pid_t>(std::strtol(name.c_str(), nullptr, 10));
    if (pid > 0 && comm_of(pid) == "ftrun-keeper" && belongs_to(pid, run_dir)) {
      keepers.push_back(pid);
    }
  }
  return keepers;
}

// The names that supervisors and ftrun give in a run directory.
bool is_ours(const std::string& name) {
  for (const char* start : {"unit.json", "view.", ".view.", "sup.", "console.", "last_words.",
                            "report.", "events.jsonl", "exit_status", "signals"}) {
    if (name.starts_with(start)) {
      return true;
    }
  }
  return false;
}

// Empty, or of a unit: also where a power failure has left only some of its files.
bool is_run_directory(const std::string& path) {
  std::error_code error;
  bool ours = true;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    ours = ours && is_ours(entry.path().filename());
  }
  return ours && !error;
}

Result<void> remove_dead_unit(const std::string& run_dir, std::vector<std::string>* notes) {
  auto replicas = read_replica_files(run_dir);
  FTRUN_TRY(replicas);
  for (const ReplicaFile& replica : *replicas) {
    if (!replica.damage.empty()) {
      notes->push_back(fmt::format("{}/sup.{}.json {}: removed with what else the unit had left",
                                   run_dir, replica.id, replica.damage));
    }
    if (belongs_to(replica.keeper, run_dir)) {
      FTRUN_TRY(kill_keeper(replica.keeper));
    }
  }
  for (const pid_t keeper : find_keepers(run_dir)) {
    FTRUN_TRY(kill_keeper(keeper));
  }
  // Renamed first: of two that start the same unit at once, one finds nothing to rename.
  const std::string stale = fmt::format("{}.stale-{}", run_dir, getpid());
  if (rename(run_dir.c_str(), stale.c_str()) != 0) {
    return errno == ENOENT ? Result<void>() : system_error("removing " + run_dir, errno);
  }
  return process::remove_tree(stale);
}

// What stands at `path`: a living unit refuses, a dead one's remains are removed.
Result<void> clear_place(const std::string& path, const std::string& unit,
                         std::vector<std::string>* notes) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Result<void>() : system_error(path, errno);
  }
  const bool link = S_ISLNK(info.st_mode);
  std::error_code unresolved;
  const std::string run_dir = fs::canonical(path, unresolved);
  if (unresolved) {
    return unlink(path.c_str()) == 0 ? Result<void>() : system_error(path, errno);
  }
  FTRUN_TRY(make_private_directory(run_dir));
  auto owner = find_owner(run_dir);
  FTRUN_TRY(owner);
  if (owner->has_value()) {
    return Error{fmt::format("unit {} is running already ({}, pid {}); its run directory is {}",
                             unit, (*owner)->role, (*owner)->pid, run_dir),
                 EBUSY};
  }
  if (link) {
    return unlink(path.c_str()) == 0 ? Result<void>() : system_error(path, errno);
  }
  // A directory that the operator made for us is empty; anything else was not ours.
  if (!is_run_directory(run_dir)) {
    return Error{run_dir + " is neither empty nor the run directory of a unit", ENOTEMPTY};
  }
  return remove_dead_unit(run_dir, notes);
}

}  // namespace

Result<void> claim_run_directory(const std::string& run_dir, const std::string& unit,
                                 std::vector<std::string>* notes) {
  if (run_dir.size() > kSocketPathBytesMax) {
    return Error{
        fmt::format("the run directory's name {} is too long for the sockets in it ({} "
                    "bytes, at most {})",
                    run_dir, run_dir.size(), kSocketPathBytesMax)};
  }
  FTRUN_TRY(clear_place(run_dir, unit, notes));
  if (mkdir(run_dir.c_str(), 0700) != 0) {
    return system_error("creating the run directory " + run_dir, errno);
  }
  return {};
}

Result<bool> publish_name(const std::string& run_dir, const std::string& unit) {
  FTRUN_TRY(make_private_directory(units_directory()));
  const std::string name = fmt::format("{}/{}", units_directory(), unit);
  std::error_code error;
  if (fs::equivalent(name, run_dir, error)) {
    return true;
  }
  std::vector<std::string> notes;
  const Result<void> cleared = clear_place(name, unit, &notes);
  if (!cleared.ok()) {
    return cleared.error().number == EBUSY ? Result<bool>(false) : cleared.error();
  }
  return symlink(run_dir.c_str(), name.c_str()) == 0 ? Result<bool>(true)
                                                     : system_error("linking " + name, errno);
}

}  // namespace ftrun::cli
