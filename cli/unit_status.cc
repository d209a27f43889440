// SPDX-License-Identifier: Apache-2.0
#include "cli/unit_status.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>

#include "cli/control_client.h"
#include "fmt/format.h"
#include "supervisor/arbiter/views.h"

namespace ftrun::cli {
namespace {

std::string own_host() {
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

ReplicaStatus from_answer(const std::string& id, const nlohmann::json& answer) {
  ReplicaStatus replica;
  replica.id = id;
  replica.role = answer.value("role", "none");
  replica.sender = answer.value("sender", false);
  replica.state = answer.value("state", "failed");
  replica.app_pid = answer.value("app_pid", 0);
  replica.supervisor_pid = answer.value("supervisor_pid", 0);
  replica.keeper_pid = answer.value("keeper_pid", 0);
  replica.host = answer.value("host", "");
  replica.lsn = answer.value("lsn", uint64_t{0});
  replica.lag_records = answer.value("lag_records", uint64_t{0});
  replica.log_bytes = answer.value("log_bytes", uint64_t{0});
  replica.input_bytes = answer.value("input_bytes", uint64_t{0});
  replica.kernel_calls = answer.value("kernel_calls", uint64_t{0});
  replica.wake_calls = answer.value("wake_calls", uint64_t{0});
  return replica;
}

Protection protection_of(const std::vector<ReplicaStatus>& replicas) {
  const auto count = [&replicas](std::string_view state) {
    return std::count_if(replicas.begin(), replicas.end(), [state](const ReplicaStatus& replica) {
      return replica.state == state && replica.role != "none";
    });
  };
  if (count("joining") > 0) {
    return Protection::kRepairing;
  }
  return count("live") + count("replaying") >= 2 ? Protection::kProtected
                                                 : Protection::kUnprotected;
}

}  // namespace

const char* protection_name(Protection protection) {
  switch (protection) {
    case Protection::kProtected:
      return "protected";
    case Protection::kUnprotected:
      return "unprotected";
    case Protection::kRepairing:
      return "repairing";
  }
  return "unprotected";
}

int protection_exit_code(Protection protection) {
  return static_cast<int>(protection);
}

UnitStatus combine_status(const std::string& unit, const std::vector<ReplicaFile>& files,
                          const std::map<std::string, nlohmann::json>& answers,
                          const std::vector<std::string>& view, const std::string& sender,
                          uint64_t epoch) {
  UnitStatus status;
  status.unit = unit;
  status.epoch = epoch;
  std::vector<std::string> order = view;
  for (const ReplicaFile& file : files) {
    if (std::find(order.begin(), order.end(), file.id) == order.end()) {
      order.push_back(file.id);
    }
  }
  for (size_t i = 0; i < order.size(); ++i) {
    const std::string& id = order[i];
    const auto answer = answers.find(id);
    ReplicaStatus replica;
    if (answer != answers.end()) {
      replica = from_answer(id, answer->second);
    } else {
      replica.id = id;
      replica.state = "failed";
      replica.host = own_host();
      for (const ReplicaFile& file : files) {
        if (file.id == id) {
          replica.app_pid = file.application;
          replica.supervisor_pid = file.supervisor;
          replica.keeper_pid = file.keeper;
        }
      }
    }
    // The published view decides; a supervisor that has not seen it yet speaks of an older one.
    replica.role = i >= view.size() ? "none" : i == 0 ? "primary" : "secondary";
    replica.sender = i < view.size() && id == sender;
    if (i >= view.size()) {
      replica.state = "failed";
    }
    status.replicas.push_back(std::move(replica));
  }
  status.protection = protection_of(status.replicas);
  return status;
}

Result<UnitStatus> read_unit_status(const std::string& run_dir) {
  auto files = read_replica_files(run_dir);
  FTRUN_TRY(files);
  const auto unit = read_unit_file(run_dir);
  std::map<std::string, nlohmann::json> answers;
  bool lives = false;
  for (const ReplicaFile& file : *files) {
    if (!belongs_to(file.supervisor, run_dir)) {
      continue;
    }
    lives = true;
    const auto answer = ask(fmt::format("{}/sup.{}.sock", run_dir, file.id), {{"cmd", "status"}});
    if (answer.ok()) {
      answers[file.id] = *answer;
    }
  }
  if (!lives) {
    return Error{fmt::format("no supervisor of the unit in {} is running", run_dir)};
  }
  auto view = arbiter::Views(run_dir).current();
  FTRUN_TRY(view);
  std::vector<std::string> names;
  std::string sender;
  uint64_t epoch = 0;
  if (view->has_value()) {
    epoch = (*view)->epoch;
    sender = arbiter::replica_name((*view)->sender);
    for (const unit::ReplicaId replica : (*view)->replicas) {
      names.push_back(arbiter::replica_name(replica));
    }
  }
  const std::string name = unit.ok() ? unit->unit : run_dir.substr(run_dir.rfind('/') + 1);
  return combine_status(name, *files, answers, names, sender, epoch);
}

nlohmann::ordered_json status_json(const UnitStatus& status) {
  nlohmann::ordered_json replicas = nlohmann::ordered_json::array();
  for (const ReplicaStatus& replica : status.replicas) {
    replicas.push_back({{"id", replica.id},
                        {"role", replica.role},
                        {"sender", replica.sender},
                        {"state", replica.state},
                        {"app_pid", replica.app_pid},
                        {"supervisor_pid", replica.supervisor_pid},
                        {"keeper_pid", replica.keeper_pid},
                        {"host", replica.host},
                        {"lsn", replica.lsn},
                        {"lag_records", replica.lag_records},
                        {"log_bytes", replica.log_bytes},
                        {"input_bytes", replica.input_bytes},
                        {"kernel_calls", replica.kernel_calls},
                        {"wake_calls", replica.wake_calls}});
  }
  return {{"unit", status.unit},
          {"epoch", status.epoch},
          {"protection", protection_name(status.protection)},
          {"replicas", std::move(replicas)}};
}

std::string status_text(const UnitStatus& status) {
  std::string text = fmt::format("{}: unit {}, view {}\n", protection_name(status.protection),
                                 status.unit, status.epoch);
  text += fmt::format("{:<8}{:<11}{:<8}{:<11}{:>12}{:>8}{:>13}{:>12}  {}\n", "replica", "role",
                      "sender", "state", "record", "lag", "application", "supervisor", "host");
  for (const ReplicaStatus& replica : status.replicas) {
    text += fmt::format("{:<8}{:<11}{:<8}{:<11}{:>12}{:>8}{:>13}{:>12}  {}\n", replica.id,
                        replica.role, replica.sender ? "yes" : "no", replica.state, replica.lsn,
                        replica.lag_records, replica.app_pid, replica.supervisor_pid, replica.host);
  }
  return text;
}

}  // namespace ftrun::cli
