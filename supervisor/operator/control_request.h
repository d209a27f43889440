// SPDX-License-Identifier: Apache-2.0
// What can be asked of a supervisor through its control socket (control.h): one line to one
// request, without any I/O. Runs in the supervisor.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "supervisor/base/result.h"

namespace ftrun {

enum class ControlCommand { kStatus, kSignal, kStop, kSwitchover };

struct ControlRequest {
  ControlCommand command = ControlCommand::kStatus;
  // Of kSignal, else 0.
  int number = 0;         // 1 to kControlSignalMax
  uint32_t sequence = 0;  // 0: the supervisor is to give it the unit's next one
  // Of kSwitchover: which part is handed over, "sender" or "primary", and to whom.
  std::string role;
  std::string to;
  bool operator==(const ControlRequest&) const = default;
};
inline constexpr int kControlSignalMax = 64;

// An Error's message is what the client is told.
Result<ControlRequest> decode_request(std::string_view line);

// Both without the newline.
std::string encode_request(const ControlRequest& request);
std::string encode_refusal(const std::string& why);

}  // namespace ftrun
