// SPDX-License-Identifier: Apache-2.0
// Unit core: the standby sender that lags. Whoever is to follow the sender replays what the
// sender's replica has replayed, and no more. Runs in the supervisor; pure.
#include <algorithm>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

bool UnitCore::Impl::is_standby() const {
  return config_.standby_lags && settled_ && config_.topology == Topology::kFanout &&
         routes_.standby() == config_.self;
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
  const ReplicaId standby = routes_.standby();
  const uint64_t replayed = std::min(outbox_.marked(), log_.end());
  if (!config_.standby_lags || !is_sender() || config_.topology != Topology::kFanout ||
      standby == kNoReplica || replayed <= standby_told_) {
    return;
  }
  standby_told_ = replayed;
  Frame frame;
  frame.kind = FrameKind::kHeld;
  frame.number = replayed;
  frame.lsn = outbox_.marked_lsn();
  frame.trim = received();
  send(standby, frame);
}

}  // namespace ftrun::unit
