// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/proc_info.h"

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

std::optional<Stat> read_stat(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (pid <= 0 || !std::getline(file, line)) {
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

}  // namespace ftrun::process
