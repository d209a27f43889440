// SPDX-License-Identifier: Apache-2.0
// As decoders.h, for what comes from the application's init. Runs in fuzz targets.
#pragma once

#include "supervisor/process/init_message.h"
#include "supervisor/process/launch_error.h"
#include "tests/fuzz/decoders.h"

namespace ftrun::fuzz {

inline void init_message(const uint8_t* data, size_t size) {
  const Result<process::InitMessage> decoded = process::decode_init_message({data, size});
  if (!decoded.ok()) {
    require(!decoded.error().message.empty(), "a reason");
    return;
  }
  require(size == sizeof *decoded && memcmp(data, &*decoded, size) == 0, "the same bytes");
  process::LaunchPlan plan;
  plan.mounts.push_back({"copy", "original"});
  require(!process::launch_error(plan, *decoded).message.empty(), "words for every step");
  const Result<process::StatusEvent> event = process::status_event(*decoded);
  if (!event.ok()) {
    require(!event.error().message.empty(), "a reason");
    return;
  }
  require(!process::describe_wait_status(event->value).empty(), "words for every status");
  const int status = process::exit_status_of(event->value);
  require(status >= 0 && status <= 255, "an exit status");
}

}  // namespace ftrun::fuzz
