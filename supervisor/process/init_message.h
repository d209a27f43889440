// SPDX-License-Identifier: Apache-2.0
// Messages of the init (init.h) as the supervisor takes them in: bytes to a message whose kind,
// step and signal are known, and to a status event. No I/O. Runs in the supervisor.
#pragma once

#include <cstdint>
#include <span>

#include "supervisor/base/result.h"
#include "supervisor/process/init.h"
#include "supervisor/process/launch.h"

namespace ftrun::process {

// Only a whole message of our version passes.
Result<InitMessage> decode_init_message(std::span<const uint8_t> bytes);
// An Error for what is no status of an application that runs.
Result<StatusEvent> status_event(const InitMessage& message);

}  // namespace ftrun::process
