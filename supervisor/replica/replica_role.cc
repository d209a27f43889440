// SPDX-License-Identifier: Apache-2.0
// The primary's part is handed over: the application is asked to step down, and watched until it
// has, or until it has taken too long. Runs in the supervisor's event loop.
#include <fmt/format.h>

#include "supervisor/replica/replica.h"

namespace ftrun {

namespace {
// A long computation comes to the end of no turn. Its unit serves on meanwhile, but takes no input.
constexpr int kStepDownMs = 500;
}  // namespace

void Replica::step_down() {
  stays_why_.clear();
  step_down_until_ns_ = now_ns_ + int64_t{kStepDownMs} * 1'000'000;
  port_->ask_to_step_down();
}

void Replica::stay() {
  step_down_until_ns_ = 0;
  stays_why_ = "the unit has changed its view meanwhile";
}

// ORDER: behind drain_application(), which hands over what it had to say before.
void Replica::check_step_down() {
  if (!port_->is_asked_to_step_down() || done_) {
    return;
  }
  if (port_->has_stepped_down()) {
    stays_why_.clear();
    core_->on_stepped_down(true);
  } else if (now_ns_ >= step_down_until_ns_ && !port_->answers_step_down() && port_->stay()) {
    if (stays_why_.empty()) {
      stays_why_ =
          fmt::format("its program has not come to the end of a turn for {} ms", kStepDownMs);
    }
    core_->on_stepped_down(false);
  }
}

}  // namespace ftrun
