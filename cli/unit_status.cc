// SPDX-License-Identifier: Apache-2.0
#include "cli/unit_status.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>

#include "fmt/format.h"
#include "supervisor/base/json_fields.h"

namespace ftrun::cli {
namespace {

std::string own_host() {
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

// What a supervisor says of itself, under the names of its answer and of --json, in that order.
template <typename Replica, typename Visit>
void for_each_field(Replica& replica, const Visit& visit) {
  visit("state", replica.state);
  visit("app_pid", replica.app_pid);
  visit("supervisor_pid", replica.supervisor_pid);
  visit("keeper_pid", replica.keeper_pid);
  visit("host", replica.host);
  visit("lsn", replica.lsn);
  visit("lag_records", replica.lag_records);
  visit("received", replica.received);
  visit("replayed", replica.replayed);
  visit("kept_bytes", replica.kept_bytes);
  visit("turn_bytes_sent", replica.turn_bytes_sent);
  visit("input_bytes_sent", replica.input_bytes_sent);
  visit("log_bytes", replica.log_bytes);
  visit("input_bytes", replica.input_bytes);
  visit("kernel_calls", replica.kernel_calls);
  visit("wake_calls", replica.wake_calls);
  visit("spin_calls", replica.spin_calls);
  visit("no_calls_ms", replica.no_calls_ms);
  visit("no_calls_in", replica.no_calls_in);
  visit("stays_primary", replica.stays_primary);
}

// What a supervisor of another version leaves out, or says otherwise, stays as it is here.
ReplicaStatus from_answer(const std::string& id, const nlohmann::json& answer) {
  ReplicaStatus replica;
  replica.id = id;
  replica.state = "failed";
  for_each_field(replica,
                 [&answer](const char* name, auto& field) { take_field(answer, name, &field); });
  return replica;
}

bool is_settled(const std::map<std::string, nlohmann::json>& answers,
                const std::vector<std::string>& view, uint64_t epoch) {
  return std::all_of(view.begin(), view.end(), [&](const std::string& id) {
    const auto answer = answers.find(id);
    return answer != answers.end() && field_or(answer->second, "epoch", uint64_t{0}) == epoch &&
           field_or(answer->second, "settled", false);
  });
}

// Who is the primary, and what only that knows. The newest epoch's word counts; who has not settled
// who is the primary says nothing. Nobody has said anything: the first of the view.
std::string take_roles(const std::map<std::string, nlohmann::json>& answers,
                       const std::vector<std::string>& view, UnitStatus* status) {
  std::string primary = view.empty() ? "" : view.front();
  uint64_t newest = 0;
  for (const auto& [id, answer] : answers) {
    const std::string named = field_or(answer, "primary", std::string());
    const uint64_t epoch = field_or(answer, "epoch", uint64_t{0});
    if (epoch > newest && std::find(view.begin(), view.end(), named) != view.end()) {
      newest = epoch;
      primary = named;
    }
    take_field(answer, "topology", &status->topology);
    take_field(answer, "tolerance", &status->may_die);
  }
  if (const auto answer = answers.find(primary); answer != answers.end()) {
    take_field(answer->second, "slowest", &status->slowest);
    take_field(answer->second, "slowest_lag_bytes", &status->slowest_lag);
    take_field(answer->second, "waits", &status->primary_waits);
  }
  return primary;
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

Result<nlohmann::json> decode_answer(std::string_view line) {
  nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) {
    return Error{"answered what is no JSON object"};
  }
  if (json.contains("ok") && !field_or(json, "ok", false)) {
    return Error{"refused: " + field_or(json, "error", std::string("no reason given"))};
  }
  return json;
}

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
  status.settled = is_settled(answers, view, epoch);
  const std::string primary = take_roles(answers, view, &status);
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
    replica.role = i >= view.size() ? "none" : id == primary ? "primary" : "secondary";
    replica.sender = i < view.size() && id == sender;
    if (i >= view.size()) {
      replica.state = "failed";
    }
    status.replicas.push_back(std::move(replica));
  }
  const auto alive =
      std::count_if(status.replicas.begin(), status.replicas.end(),
                    [](const ReplicaStatus& replica) { return replica.state != "failed"; });
  status.may_die = std::clamp(static_cast<int>(alive) - 1, 0, status.may_die);
  status.protection = protection_of(status.replicas);
  return status;
}

nlohmann::ordered_json status_json(const UnitStatus& status) {
  nlohmann::ordered_json replicas = nlohmann::ordered_json::array();
  for (const ReplicaStatus& replica : status.replicas) {
    nlohmann::ordered_json entry = {
        {"id", replica.id}, {"role", replica.role}, {"sender", replica.sender}};
    for_each_field(replica, [&entry](const char* name, const auto& field) { entry[name] = field; });
    replicas.push_back(std::move(entry));
  }
  return {{"unit", status.unit},
          {"epoch", status.epoch},
          {"protection", protection_name(status.protection)},
          {"topology", status.topology},
          {"settled", status.settled},
          {"may_die", status.may_die},
          {"slowest", status.slowest},
          {"slowest_lag_bytes", status.slowest_lag},
          {"primary_waits", status.primary_waits},
          {"replicas", std::move(replicas)}};
}

std::string status_text(const UnitStatus& status) {
  std::string text = fmt::format("{}: unit {}, view {}", protection_name(status.protection),
                                 status.unit, status.epoch);
  if (!status.topology.empty()) {
    text += fmt::format("{}, {}, {} more may die", status.settled ? "" : " (being settled)",
                        status.topology, status.may_die);
  }
  text += '\n';
  if (status.primary_waits) {
    text +=
        fmt::format("SLOWED: the primary waits for replica {}, which is {} bytes of log behind\n",
                    status.slowest, status.slowest_lag);
  }
  for (const ReplicaStatus& replica : status.replicas) {
    if (!replica.no_calls_in.empty()) {
      text +=
          fmt::format("STANDS STILL: replica {} has made no call for {:.1f} s, in {}\n", replica.id,
                      static_cast<double>(replica.no_calls_ms) / 1000, replica.no_calls_in);
    }
  }
  text += fmt::format("{:<8}{:<11}{:<8}{:<11}{:>12}{:>8}{:>14}{:>14}{:>12}{:>13}{:>12}  {}\n",
                      "replica", "role", "sender", "state", "record", "lag", "received", "replayed",
                      "kept", "application", "supervisor", "host");
  for (const ReplicaStatus& replica : status.replicas) {
    text += fmt::format("{:<8}{:<11}{:<8}{:<11}{:>12}{:>8}{:>14}{:>14}{:>12}{:>13}{:>12}  {}\n",
                        replica.id, replica.role, replica.sender ? "yes" : "no", replica.state,
                        replica.lsn, replica.lag_records, replica.received, replica.replayed,
                        replica.kept_bytes, replica.app_pid, replica.supervisor_pid, replica.host);
  }
  return text;
}

}  // namespace ftrun::cli
