// SPDX-License-Identifier: Apache-2.0
#include "cli/unit_files.h"

#include <algorithm>
#include <charconv>

#include "supervisor/base/json_fields.h"

namespace ftrun::cli {
namespace {

Result<nlohmann::json> decode_object(std::string_view text) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return Error{"is damaged: not a JSON object"};
  }
  return json;
}

// False if the field is there and is none.
template <typename T>
bool fits(const nlohmann::json& json, const char* name, T* into) {
  return take_field(json, name, into) != Field::kUnfit;
}

// One decimal number as it is written, without zeros in front, and a newline.
template <typename Number>
std::optional<Number> decode_number(std::string_view text) {
  Number number = 0;
  const char* const end = text.data() + text.size();
  const std::errc error = std::from_chars(text.data(), end, number).ec;
  const bool whole = error == std::errc() && std::to_string(number) + "\n" == text;
  return whole ? std::optional<Number>(number) : std::nullopt;
}

}  // namespace

std::string encode_unit_file(const UnitFile& unit) {
  return dump_json(nlohmann::ordered_json{{"unit", unit.unit},
                                          {"replicas", unit.replicas},
                                          {"program", unit.program},
                                          {"ftrun", unit.ftrun}}) +
         "\n";
}

Result<UnitFile> decode_unit_file(std::string_view text) {
  auto json = decode_object(text);
  FTRUN_TRY(json);
  UnitFile unit;
  if (!fits(*json, "unit", &unit.unit) || !fits(*json, "replicas", &unit.replicas) ||
      !fits(*json, "program", &unit.program) || !fits(*json, "ftrun", &unit.ftrun)) {
    return Error{"is damaged: a field has the wrong type"};
  }
  return unit;
}

std::optional<std::string> replica_of_file(std::string_view name) {
  constexpr std::string_view kPrefix = "sup.";
  constexpr std::string_view kSuffix = ".json";
  if (name.size() <= kPrefix.size() + kSuffix.size() || !name.starts_with(kPrefix) ||
      !name.ends_with(kSuffix)) {
    return std::nullopt;
  }
  return std::string(name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size()));
}

Result<ReplicaFile> decode_replica_file(const std::string& id, std::string_view text) {
  auto json = decode_object(text);
  FTRUN_TRY(json);
  ReplicaFile replica;
  replica.id = id;
  if (!fits(*json, "supervisor", &replica.supervisor) || !fits(*json, "keeper", &replica.keeper) ||
      !fits(*json, "init", &replica.init) || !fits(*json, "application", &replica.application)) {
    return Error{"is damaged: a field is no process id"};
  }
  return replica;
}

std::optional<int> decode_exit_status(std::string_view text) {
  return decode_number<int>(text);
}

std::string last_event_in(std::string_view lines, const std::vector<std::string>& kinds) {
  std::string found;
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const nlohmann::json event = nlohmann::json::parse(lines.substr(0, end), nullptr, false);
    if (event.is_object() && std::find(kinds.begin(), kinds.end(),
                                       field_or(event, "kind", std::string())) != kinds.end()) {
      found = field_or(event, "text", std::string());
    }
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
  return found;
}

}  // namespace ftrun::cli
