// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/proc_info.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>

#include "fmt/format.h"

namespace ftrun::process {
namespace {

struct Stat {
  char state = '?';
  uint64_t started = 0;
};

std::optional<Stat> read_stat(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) {
    return std::nullopt;
  }
  // The name in brackets may hold anything; the fields after the last one do not (proc(5)).
  const size_t bracket = line.rfind(')');
  if (bracket == std::string::npos) {
    return std::nullopt;
  }
  std::istringstream fields(line.substr(bracket + 1));
  Stat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) {
    fields >> skipped;
  }
  fields >> stat.started;
  return fields ? std::optional<Stat>(stat) : std::nullopt;
}

std::optional<Stat> read_stat(pid_t pid) {
  return pid <= 0 ? std::nullopt : read_stat(fmt::format("/proc/{}/stat", pid));
}

}  // namespace

std::optional<uint64_t> process_start(pid_t pid) {
  const std::optional<Stat> stat = read_stat(pid);
  return stat ? std::optional<uint64_t>(stat->started) : std::nullopt;
}

bool process_runs(pid_t pid, uint64_t started) {
  const std::optional<Stat> stat = read_stat(pid);
  return stat && stat->state != 'Z' && stat->state != 'X' &&
         (started == 0 || stat->started == started);
}

Result<void> check_owner(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name;
    uid_t real = 0, effective = 0, saved = 0;
    fields >> name;
    if (name != "Uid:") {
      continue;
    }
    const uid_t own = geteuid();
    const bool ours =
        fields >> real >> effective >> saved && real == own && effective == own && saved == own;
    return ours ? Result<void>()
                : Error{fmt::format("process {} belongs to user {}, not to {}", pid, real, own),
                        EPERM};
  }
  return Error{fmt::format("there is no process {}", pid), ESRCH};
}

ProcessLook look_at_process(pid_t pid) {
  ProcessLook look;
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  DIR* directory = pid <= 0 ? nullptr : opendir(tasks.c_str());
  if (directory == nullptr) {
    return look;
  }
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] == '.') {
      continue;
    }
    const std::optional<Stat> stat = read_stat(fmt::format("{}/{}/stat", tasks, entry->d_name));
    look.runnable = look.runnable || (stat && stat->state == 'R');
    look.waits_for_disk = look.waits_for_disk || (stat && stat->state == 'D');
    look.stopped = look.stopped || (stat && (stat->state == 'T' || stat->state == 't'));
  }
  closedir(directory);
  return look;
}

uint64_t process_cpu_ns(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
    return 0;
  }
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

}  // namespace ftrun::process
