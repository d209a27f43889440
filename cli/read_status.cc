// SPDX-License-Identifier: Apache-2.0
// Collects what unit_status.cc puts together: asks supervisors, reads files and the view. Runs in
// the tools.
#include <map>

#include "cli/control_client.h"
#include "cli/unit_dir.h"
#include "cli/unit_status.h"
#include "fmt/format.h"
#include "supervisor/arbiter/views.h"
#include "supervisor/base/json_fields.h"

namespace ftrun::cli {

Result<UnitStatus> read_unit_status(const std::string& run_dir) {
  auto files = read_replica_files(run_dir);
  FTRUN_TRY(files);
  const auto unit = read_unit_file(run_dir);
  std::map<std::string, nlohmann::json> answers;
  bool lives = false;
  for (const ReplicaFile& file : *files) {
    const bool known = belongs_to(file.supervisor, run_dir);
    if (!known && file.damage.empty()) {
      continue;
    }
    auto answer = ask(fmt::format("{}/sup.{}.sock", run_dir, file.id), {ControlCommand::kStatus});
    lives = lives || known || answer.ok();
    if (answer.ok()) {
      answers[file.id] = std::move(*answer);
    }
  }
  if (!lives) {
    return Error{fmt::format("no supervisor of the unit in {} is running", run_dir)};
  }
  auto view = arbiter::Views(run_dir).current();
  FTRUN_TRY(view);
  // A file comes late where there is no room for it.
  for (const auto& [id, answer] : answers) {
    const auto told = arbiter::decode_view(field_or(answer, "view", std::string()));
    if (told.ok() && (!view->has_value() || told->epoch > (*view)->epoch)) {
      view = std::optional<unit::View>(*told);
    }
  }
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

}  // namespace ftrun::cli
