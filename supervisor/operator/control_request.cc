// SPDX-License-Identifier: Apache-2.0
#include "supervisor/operator/control_request.h"

#include "supervisor/base/json_fields.h"

namespace ftrun {

Result<ControlRequest> decode_request(std::string_view line) {
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  std::string command;
  if (!json.is_object() || take_field(json, "cmd", &command) != Field::kTaken) {
    return Error{"not an object with a string \"cmd\""};
  }
  ControlRequest request;
  if (command == "status") {
    return request;
  }
  if (command == "stop") {
    request.command = ControlCommand::kStop;
    return request;
  }
  if (command == "signal") {
    request.command = ControlCommand::kSignal;
    if (take_field(json, "number", &request.number) != Field::kTaken || request.number < 1 ||
        request.number > kControlSignalMax) {
      return Error{"signal needs \"number\" 1 to 64"};
    }
    const Field sequence = take_field(json, "seq", &request.sequence);
    if (sequence == Field::kUnfit || (sequence == Field::kTaken && request.sequence < 1)) {
      return Error{"signal takes \"seq\" from 1, or none"};
    }
    return request;
  }
  if (command == "switchover") {
    request.command = ControlCommand::kSwitchover;
    if (take_field(json, "role", &request.role) != Field::kTaken ||
        (request.role != "sender" && request.role != "primary") ||
        take_field(json, "to", &request.to) != Field::kTaken) {
      return Error{"switchover needs \"role\", sender or primary, and \"to\", a replica"};
    }
    return request;
  }
  return Error{"unknown command \"" + command + "\""};
}

std::string encode_request(const ControlRequest& request) {
  switch (request.command) {
    case ControlCommand::kStatus:
      return R"({"cmd":"status"})";
    case ControlCommand::kStop:
      return R"({"cmd":"stop"})";
    case ControlCommand::kSwitchover:
      return dump_json(nlohmann::ordered_json{
          {"cmd", "switchover"}, {"role", request.role}, {"to", request.to}});
    case ControlCommand::kSignal:
      break;
  }
  nlohmann::ordered_json json = {{"cmd", "signal"}, {"number", request.number}};
  if (request.sequence != 0) {
    json["seq"] = request.sequence;
  }
  return json.dump();
}

std::string encode_refusal(const std::string& why) {
  return dump_json(nlohmann::json{{"ok", false}, {"error", why}});
}

}  // namespace ftrun
