// SPDX-License-Identifier: Apache-2.0
#include "cli/ftctl_commands.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "cli/control_client.h"
#include "cli/standard_streams.h"
#include "cli/unit_dir.h"
#include "cli/unit_status.h"
#include "fmt/format.h"
#include "supervisor/arbiter/views.h"
#include "supervisor/base/json_fields.h"
#include "supervisor/operator/console_spool.h"
#include "supervisor/operator/reports.h"
#include "supervisor/process/launch.h"

namespace ftrun::cli {
namespace {

constexpr int kLookMs = 50;
constexpr int kSwitchoverMs = 10'000;

Result<bool> lives(const std::string& run_dir) {
  auto owner = find_owner(run_dir);
  FTRUN_TRY(owner);
  return owner->has_value();
}

// The descriptor of this process that is its console spool; empty if there is none, or nobody may
// look.
std::string spool_of(pid_t pid) {
  std::error_code none;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), none)) {
    std::error_code gone;
    // Not opened unless it is one: a descriptor may be anything.
    if (std::filesystem::read_symlink(entry, gone).string().starts_with("/memfd:ftrun-console")) {
      return entry.path();
    }
  }
  return "";
}

// The sender's spool: in its supervisor's memory while that lives, else the file that is left.
Result<process::Descriptor> find_console(const std::string& run_dir, const std::string& sender) {
  auto replicas = read_replica_files(run_dir);
  FTRUN_TRY(replicas);
  std::string path;
  for (const ReplicaFile& replica : *replicas) {
    const pid_t supervisor = replica.id == sender ? find_supervisor_of(run_dir, replica) : 0;
    path = supervisor != 0 ? spool_of(supervisor) : path;
  }
  path = path.empty() ? fmt::format("{}/console.{}", run_dir, sender) : path;
  process::Descriptor fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) {
    return system_error(path, errno);
  }
  return fd;
}

bool has_role(const ReplicaStatus& replica, const std::string& role) {
  return role == "sender" ? replica.sender : replica.role == role;
}

const ReplicaStatus* find_role(const UnitStatus& status, const std::string& role) {
  const auto found =
      std::find_if(status.replicas.begin(), status.replicas.end(),
                   [&role](const ReplicaStatus& replica) { return has_role(replica, role); });
  return found == status.replicas.end() ? nullptr : &*found;
}

// Empty once `to` has the role, or why it has not: `from` had it.
Result<std::string> await_role(const std::string& run_dir, const std::string& role,
                               const std::string& from, const std::string& to) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kSwitchoverMs);
  while (std::chrono::steady_clock::now() < deadline) {
    const auto status = read_unit_status(run_dir);
    FTRUN_TRY(status);
    const ReplicaStatus* const holder = find_role(*status, role);
    if (holder != nullptr && holder->id == to && status->settled &&
        (role == "sender" || holder->state == "live")) {
      const ReplicaStatus* const primary = find_role(*status, "primary");
      const ReplicaStatus* const sender = find_role(*status, "sender");
      print(fmt::format("replica {} is the primary, replica {} the sender\n",
                        primary == nullptr ? "?" : primary->id,
                        sender == nullptr ? "?" : sender->id));
      return std::string();
    }
    if (holder != nullptr && holder->id == from && !holder->stays_primary.empty()) {
      return fmt::format("replica {} stays the primary: {}", from, holder->stays_primary);
    }
    poll(nullptr, 0, kLookMs);
  }
  return fmt::format("replica {} has not become the {} within {} ms", to, role, kSwitchoverMs);
}

}  // namespace

Result<int> show_status(const std::string& run_dir, bool json) {
  auto status = read_unit_status(run_dir);
  FTRUN_TRY(status);
  if (json) {
    print(dump_json(status_json(*status)) + "\n");
  } else {
    print(status_text(*status));
  }
  return protection_exit_code(status->protection);
}

Result<int> show_events(const std::string& run_dir, bool follow) {
  std::ifstream file(run_dir + "/events.jsonl");
  if (!file) {
    return system_error(run_dir + "/events.jsonl", errno);
  }
  for (;;) {
    // ORDER: asked before the file is read to its end: the last events of a unit that ends
    // meanwhile are not missed.
    auto living = lives(run_dir);
    FTRUN_TRY(living);
    for (std::string line; std::getline(file, line);) {
      if (file.eof()) {
        // A line that is being written: read again from its start.
        file.clear();
        file.seekg(-static_cast<std::streamoff>(line.size()), std::ios::cur);
        break;
      }
      print(line + "\n");
    }
    std::fflush(stdout);
    if (!follow || !*living || std::ferror(stdout) != 0) {
      return 0;
    }
    file.clear();
    poll(nullptr, 0, kLookMs);
  }
}

Result<int> show_logs(const std::string& run_dir) {
  auto view = arbiter::Views(run_dir).current();
  FTRUN_TRY(view);
  if (!view->has_value()) {
    return Error{"the unit in " + run_dir + " has not started"};
  }
  const std::string sender = arbiter::replica_name((*view)->sender);
  auto console = find_console(run_dir, sender);
  FTRUN_TRY(console);
  ConsoleReader reader;
  const Result<void> opened = reader.open(console->get());
  if (!opened.ok()) {
    return Error{fmt::format("{}/console.{} {}", run_dir, sender, opened.error().message)};
  }
  int stream = 1;
  std::string bytes;
  uint64_t lost = 0;
  while (reader.next(&stream, &bytes, &lost)) {
    stream == 1 ? print(bytes) : print_error(bytes);
  }
  if (lost > 0) {
    print_error(fmt::format("ftctl: {} bytes are no longer in the spool\n", lost));
  }
  return 0;
}

Result<int> show_reports(const std::string& run_dir, bool all) {
  const std::vector<reports::ReportFile> found = reports::list(run_dir);
  if (found.empty()) {
    print_error("ftctl: no replica has diverged or left another report\n");
    return 1;
  }
  for (const reports::ReportFile& report : found) {
    if (!all && report.epoch != found.back().epoch) {
      continue;
    }
    std::ifstream file(report.path);
    if (!file) {
      return system_error(report.path, errno);
    }
    print(report.path + ":\n");
    for (std::string line; std::getline(file, line);) {
      print(line + "\n");
    }
    print("\n");
  }
  return 0;
}

Result<int> stop_unit(const std::string& run_dir, int wait_ms) {
  auto living = lives(run_dir);
  FTRUN_TRY(living);
  if (!*living) {
    return Error{fmt::format("no supervisor of the unit in {} is running", run_dir)};
  }
  std::vector<std::string> unreached;
  FTRUN_TRY(send_signal(run_dir, SIGTERM, 0, &unreached));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
  while (*living && std::chrono::steady_clock::now() < deadline) {
    poll(nullptr, 0, kLookMs);
    living = lives(run_dir);
    FTRUN_TRY(living);
  }
  if (wait_ms > 0 && *living) {
    print_error(fmt::format("ftctl: the unit has not ended within {} ms\n", wait_ms));
    return 1;
  }
  return 0;
}

Result<int> switch_over(const std::string& run_dir, const std::string& role,
                        const std::string& to) {
  const auto status = read_unit_status(run_dir);
  FTRUN_TRY(status);
  const ReplicaStatus* const holder = find_role(*status, role);
  if (holder == nullptr) {
    return Error{fmt::format("the unit has no {} now: try again", role)};
  }
  ControlRequest request;
  request.command = ControlCommand::kSwitchover;
  request.role = role;
  request.to = to;
  const auto answer = ask(fmt::format("{}/sup.{}.sock", run_dir, holder->id), request);
  if (!answer.ok()) {
    print_error(fmt::format("ftctl: {}\n", answer.error().message));
    return 1;
  }
  const auto refused = await_role(run_dir, role, holder->id, to);
  FTRUN_TRY(refused);
  if (!refused->empty()) {
    print_error(fmt::format("ftctl: {}\n", *refused));
  }
  return refused->empty() ? 0 : 1;
}

}  // namespace ftrun::cli
