// SPDX-License-Identifier: Apache-2.0
// Unit core: the standby sender that lags. Whoever is to follow the sender replays what the
// sender's replica has replayed, and no more. Runs in the supervisor; pure.
#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

bool UnitCore::Impl::is_standby() const {
  return config_.standby_lags && settled_ && routes_.standby() == config_.self;
}

// The standby waits for the sender's replica; it holds, counts and passes on what it is not fed
// yet. In a change of view nobody feeds: who is the standby then is not known.
void UnitCore::Impl::feed_app(Bytes turns) {
  if (!config_.standby_lags) {
    return host_->feed_log(turns);
  }
  lagging_.push(turns.data(), turns.size());
  lagging_ends_.push(log_.end());
  feed_lagging();
}

void UnitCore::Impl::feed_lagging() {
  const uint64_t limit =
      is_standby() && !mutated(Mutation::kFeedStandby) ? sender_replayed_ : UINT64_MAX;
  while (settled_ && !lagging_ends_.empty() && lagging_ends_.front() <= limit) {
    const uint64_t begin = log_.end() - lagging_.size();
    const size_t bytes = lagging_ends_.front() - begin;
    host_->feed_log({lagging_.data(), bytes});
    lagging_.pop(bytes);
    lagging_ends_.pop();
  }
}

void UnitCore::Impl::tell_standby() {
  if (!config_.standby_lags || !is_sender()) {
    return;
  }
  const ReplicaId standby = routes_.standby();
  Frame frame;
  frame.kind = FrameKind::kHeld;
  fill_held(&frame);
  if (standby != kNoReplica && frame.number > standby_told_) {
    standby_told_ = frame.number;
    send(standby, frame);
  }
}

}  // namespace ftrun::unit
