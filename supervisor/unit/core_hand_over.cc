// SPDX-License-Identifier: Apache-2.0
// Unit core: planned changes. The operator gives the sender's part or the primary's to another
// member; what the unit does about it is a change of view like any other (core_change.cc). Runs in
// the supervisor; pure.
#include <fmt/format.h>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

// A planned change of sender. No suspicion, no retry: the operator may ask again.
std::string UnitCore::Impl::on_hand_over(ReplicaId to) {
  if (state_ != State::kRunning || !streams_.has_edge() || proposed_ || exit_issued_ ||
      app_ended_) {
    return "the unit is changing its view or ending: try again";
  }
  if (to == config_.self || to == routes_.primary || !contains(view(), to)) {
    return to == config_.self      ? "it is the sender already"
           : to == routes_.primary ? "it is the primary, whose output nobody has replayed"
                                   : "it is not in the unit";
  }
  View next = view();
  ++next.epoch;
  next.sender = to;
  proposed_ = true;
  host_->propose_view(next);
  return "";
}

// A planned change of primary. Its application steps down first, and may take long to come to the
// end of a turn, or never do: until then nothing has changed. From then on nobody is the primary:
// the view is proposed until there is another one.
std::string UnitCore::Impl::on_hand_over_primary(ReplicaId to) {
  // Whoever is the sender may have to let its sockets go: it must have them.
  const bool sender_begun = feeding_heard_ || streams_.has_edge() || view() == config_.view ||
                            mutated(Mutation::kHandOverEarly);
  if (state_ != State::kRunning || !is_live() || proposed_ || stepping_down_ || exit_issued_ ||
      app_ended_ || !suspects_.empty() || !sender_begun) {
    return "the unit is changing its view or ending: try again";
  }
  if (to == config_.self || !contains(view(), to)) {
    return to == config_.self ? "it is the primary already" : "it is not in the unit";
  }
  if (config_.sender_serves_primary) {
    return "the primary of a unit of two that shares its rings stays: --transport=unix or tcp";
  }
  if (logs_early()) {
    return "with early logging the primary stays: others have begun its turns with it";
  }
  successor_ = to;
  stepping_down_ = true;
  host_->step_down();
  return "";
}

void UnitCore::Impl::on_stepped_down(bool done) {
  stepping_down_ = false;
  if (done) {
    live_ = false;
    stepped_down_ = true;
    streams_.set_live(false);
    event("stepped_down", fmt::format("at log position {}", log_.end()));
  } else {
    event("switchover", "given up: the application stays the primary");
  }
  state_ == State::kTakingOver ? go_on() : propose();
}

}  // namespace ftrun::unit
