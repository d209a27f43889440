// SPDX-License-Identifier: Apache-2.0
// As decoders.h, for the control socket's two directions: what a supervisor is asked, and what the
// tools are answered. Runs in fuzz targets.
#pragma once

#include <string>
#include <string_view>

#include "cli/unit_status.h"
#include "supervisor/base/json_fields.h"
#include "supervisor/operator/control_request.h"
#include "tests/fuzz/decoders.h"

namespace ftrun::fuzz {

inline void control_request(const uint8_t* data, size_t size) {
  const Result<ControlRequest> decoded =
      decode_request({reinterpret_cast<const char*>(data), size});
  if (!decoded.ok()) {
    const std::string refusal = encode_refusal(decoded.error().message);
    require(refusal.find('\n') == std::string::npos, "one line");
    require(nlohmann::json::accept(refusal), "JSON");
    return;
  }
  const Result<ControlRequest> again = decode_request(encode_request(*decoded));
  require(again.ok() && *again == *decoded, "the same request when encoded and decoded again");
  if (decoded->command == ControlCommand::kSignal) {
    require(decoded->number >= 1 && decoded->number <= kControlSignalMax,
            "a signal that the core takes");
  }
}

inline void control_answer(const uint8_t* data, size_t size) {
  const Result<nlohmann::json> answer =
      cli::decode_answer({reinterpret_cast<const char*>(data), size});
  if (!answer.ok()) {
    require(!answer.error().message.empty(), "a reason");
    return;
  }
  require(answer->is_object(), "an object");
  const std::vector<cli::ReplicaFile> files = {{"a", 1, 2, 3, 4}, {"b", 5, 6, 7, 8}};
  const cli::UnitStatus status =
      cli::combine_status("u", files, {{"a", *answer}, {"b", *answer}}, {"a", "b"}, "b", 1);
  require(status.replicas.size() == 2, "a line for each replica");
  require(nlohmann::json::accept(dump_json(cli::status_json(status))), "JSON");
  const std::string text = cli::status_text(status);
  require(text.starts_with(cli::protection_name(status.protection)), "the protection first");
}

}  // namespace ftrun::fuzz
