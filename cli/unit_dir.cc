// SPDX-License-Identifier: Apache-2.0
#include "cli/unit_dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fmt/format.h"
#include "supervisor/edge/keeper.h"
#include "supervisor/process/launch.h"
#include "supervisor/process/proc_info.h"
#include "supervisor/process/tree_copy.h"

namespace ftrun::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kUnitNameBytesMax = 64;
constexpr int kKeeperDeathMs = 5'000;
// The longest file name in a run directory that is a Unix socket's: sup.a.sock and a slash.
constexpr size_t kSocketPathBytesMax = 107 - 11;

Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return system_error(path, errno);
  }
  return std::string{std::istreambuf_iterator<char>(file), {}};
}

// What /proc says; nothing where there is no such process.
std::string read_process(pid_t pid, const char* what) {
  const auto text = read_text(fmt::format("/proc/{}/{}", pid, what));
  return text.ok() ? *text : "";
}

Result<void> kill_keeper(const ReplicaFile& replica) {
  const process::Descriptor pidfd(static_cast<int>(syscall(SYS_pidfd_open, replica.keeper, 0)));
  return pidfd.valid() ? edge::kill_and_wait(pidfd.get(), kKeeperDeathMs) : Result<void>();
}

Result<void> remove_dead_unit(const std::string& run_dir) {
  auto replicas = read_replica_files(run_dir);
  FTRUN_TRY(replicas);
  for (const ReplicaFile& replica : *replicas) {
    if (belongs_to(replica.keeper, run_dir)) {
      FTRUN_TRY(kill_keeper(replica));
    }
  }
  // Renamed first: of two that start the same unit at once, one finds nothing to rename.
  const std::string stale = fmt::format("{}.stale-{}", run_dir, getpid());
  if (rename(run_dir.c_str(), stale.c_str()) != 0) {
    return errno == ENOENT ? Result<void>() : system_error("removing " + run_dir, errno);
  }
  return process::remove_tree(stale);
}

}  // namespace

Result<void> check_unit_name(const std::string& unit) {
  const bool plain = std::all_of(unit.begin(), unit.end(), [](unsigned char letter) {
    return std::isalnum(letter) != 0 || letter == '.' || letter == '_' || letter == '-';
  });
  if (unit.empty() || unit.size() > kUnitNameBytesMax || !plain || unit[0] == '.' ||
      unit[0] == '-') {
    return Error{
        fmt::format("'{}' is no name for a unit: 1 to {} letters, digits, '.', '_' and '-', "
                    "not starting with '.' or '-'",
                    unit, kUnitNameBytesMax)};
  }
  return {};
}

std::string units_directory() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  return runtime != nullptr && *runtime == '/' ? fmt::format("{}/ftrun", runtime)
                                               : fmt::format("/tmp/ftrun-{}", geteuid());
}

Result<void> make_private_directory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return system_error("creating " + path, errno);
  }
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    return system_error(path, errno);
  }
  if (!S_ISDIR(info.st_mode)) {
    return Error{path + " is not a directory", ENOTDIR};
  }
  if (info.st_uid != geteuid()) {
    return Error{fmt::format("{} belongs to user {}, not to {}", path, info.st_uid, geteuid()),
                 EPERM};
  }
  if ((info.st_mode & 077) != 0) {
    return Error{fmt::format("{} has mode {:o}: others may enter it; it must be 700", path,
                             info.st_mode & 0777),
                 EPERM};
  }
  return {};
}

Result<void> write_unit_file(const std::string& run_dir, const UnitFile& unit) {
  const std::string path = run_dir + "/unit.json";
  std::ofstream file(path + ".tmp");
  file << encode_unit_file(unit);
  file.close();
  if (!file || rename((path + ".tmp").c_str(), path.c_str()) != 0) {
    return system_error("writing " + path, errno);
  }
  return {};
}

Result<UnitFile> read_unit_file(const std::string& run_dir) {
  const std::string path = run_dir + "/unit.json";
  auto text = read_text(path);
  FTRUN_TRY(text);
  Result<UnitFile> unit = decode_unit_file(*text);
  return unit.ok() ? unit : Error{path + " " + unit.error().message};
}

Result<std::vector<ReplicaFile>> read_replica_files(const std::string& run_dir) {
  std::vector<ReplicaFile> replicas;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run_dir, error)) {
    const std::string name = entry.path().filename();
    const std::optional<std::string> id = replica_of_file(name);
    if (!id) {
      continue;
    }
    auto text = read_text(entry.path());
    FTRUN_TRY(text);
    auto replica = decode_replica_file(*id, *text);
    if (!replica.ok()) {
      return Error{entry.path().string() + " " + replica.error().message};
    }
    replicas.push_back(std::move(*replica));
  }
  if (error) {
    return system_error(run_dir, error.value());
  }
  std::sort(replicas.begin(), replicas.end(),
            [](const ReplicaFile& left, const ReplicaFile& right) { return left.id < right.id; });
  return replicas;
}

bool belongs_to(pid_t pid, const std::string& run_dir) {
  if (!process::process_runs(pid, 0)) {
    return false;
  }
  const std::string command = read_process(pid, "cmdline");
  return ('\0' + command + '\0').find('\0' + run_dir + '\0') != std::string::npos;
}

Result<std::optional<Owner>> find_owner(const std::string& run_dir) {
  auto replicas = read_replica_files(run_dir);
  FTRUN_TRY(replicas);
  for (const ReplicaFile& replica : *replicas) {
    if (belongs_to(replica.supervisor, run_dir)) {
      return std::optional<Owner>({"supervisor " + replica.id, replica.supervisor});
    }
  }
  // Before the supervisors have written their files there is only ftrun, whose command line need
  // not name the directory.
  const auto unit = read_unit_file(run_dir);
  if (replicas->empty() && unit.ok() && process::process_runs(unit->ftrun, 0) &&
      read_process(unit->ftrun, "comm") == "ftrun\n") {
    return std::optional<Owner>({"ftrun", unit->ftrun});
  }
  return std::optional<Owner>{};
}

namespace {

// What stands at `path`: a living unit refuses, a dead one's remains are removed.
Result<void> clear_place(const std::string& path, const std::string& unit) {
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
  if (!fs::is_empty(run_dir) && !fs::exists(run_dir + "/unit.json")) {
    return Error{run_dir + " is neither empty nor the run directory of a unit", ENOTEMPTY};
  }
  return remove_dead_unit(run_dir);
}

}  // namespace

Result<void> claim_run_directory(const std::string& run_dir, const std::string& unit) {
  if (run_dir.size() > kSocketPathBytesMax) {
    return Error{
        fmt::format("the run directory's name {} is too long for the sockets in it ({} "
                    "bytes, at most {})",
                    run_dir, run_dir.size(), kSocketPathBytesMax)};
  }
  FTRUN_TRY(clear_place(run_dir, unit));
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
  const Result<void> cleared = clear_place(name, unit);
  if (!cleared.ok()) {
    return cleared.error().number == EBUSY ? Result<bool>(false) : cleared.error();
  }
  return symlink(run_dir.c_str(), name.c_str()) == 0 ? Result<bool>(true)
                                                     : system_error("linking " + name, errno);
}

Result<std::vector<RunningUnit>> find_running_units() {
  std::vector<RunningUnit> units;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(units_directory(), error)) {
    const std::string name = entry.path().filename();
    if (!check_unit_name(name).ok() || !fs::is_directory(entry.path())) {
      continue;
    }
    std::error_code unresolved;
    const std::string run_dir = fs::canonical(entry.path(), unresolved);
    const auto owner = find_owner(run_dir);
    if (!unresolved && owner.ok() && owner->has_value()) {
      units.push_back({name, run_dir});
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return system_error(units_directory(), error.value());
  }
  std::sort(units.begin(), units.end(), [](const RunningUnit& left, const RunningUnit& right) {
    return left.unit < right.unit;
  });
  return units;
}

std::optional<int> read_exit_status(const std::string& run_dir) {
  const auto text = read_text(run_dir + "/exit_status");
  return text.ok() ? decode_exit_status(*text) : std::nullopt;
}

}  // namespace ftrun::cli
