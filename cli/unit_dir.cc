// SPDX-License-Identifier: Apache-2.0
#include "cli/unit_dir.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "fmt/format.h"
#include "supervisor/process/launch.h"
#include "supervisor/process/proc_info.h"

namespace ftrun::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kUnitNameBytesMax = 64;
constexpr size_t kTextBytesMax = 1 << 20;

// Whatever stands there, it is not waited for.
Result<std::string> read_text(const std::string& path) {
  const process::Descriptor fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) {
    return system_error(path, errno);
  }
  if (!S_ISREG(info.st_mode)) {
    return Error{path + " is no file"};
  }
  std::string text;
  char buffer[4096];
  ssize_t got = 0;
  while ((got = read(fd.get(), buffer, sizeof buffer)) > 0 && text.size() < kTextBytesMax) {
    text.append(buffer, static_cast<size_t>(got));
  }
  return got < 0 ? system_error(path, errno) : Result<std::string>(text);
}

// What /proc says; nothing where there is no such process.
std::string read_process(pid_t pid, const char* what) {
  const auto text = read_text(fmt::format("/proc/{}/{}", pid, what));
  return text.ok() ? *text : "";
}

// The supervisor whose file is damaged still answers its control socket, if it lives.
pid_t who_listens(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const process::Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ucred peer{};
  socklen_t length = sizeof peer;
  if (!fd.valid() || path.size() >= sizeof address.sun_path) {
    return 0;
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                 getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0
             ? peer.pid
             : 0;
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
    const auto text = read_text(entry.path());
    auto replica = text.ok() ? decode_replica_file(*id, *text) : Result<ReplicaFile>(text.error());
    if (!replica.ok()) {
      ReplicaFile damaged;
      damaged.id = *id;
      damaged.damage = replica.error().message;
      replica = damaged;
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

pid_t find_supervisor_of(const std::string& run_dir, const ReplicaFile& replica) {
  const pid_t pid = replica.damage.empty()
                        ? replica.supervisor
                        : who_listens(fmt::format("{}/sup.{}.sock", run_dir, replica.id));
  return belongs_to(pid, run_dir) ? pid : 0;
}

Result<std::optional<Owner>> find_owner(const std::string& run_dir) {
  auto replicas = read_replica_files(run_dir);
  FTRUN_TRY(replicas);
  for (const ReplicaFile& replica : *replicas) {
    const pid_t supervisor = find_supervisor_of(run_dir, replica);
    if (supervisor != 0) {
      return std::optional<Owner>({"supervisor " + replica.id, supervisor});
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
