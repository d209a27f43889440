// SPDX-License-Identifier: Apache-2.0
// The log of one member: see log.h. Pure.
#include "supervisor/unit/log.h"

#include "supervisor/base/result.h"

namespace ftrun::unit {

void Log::append(const Turns& turns) {
  FTRUN_ASSERT(turns.begin == end_ && !turns.bytes.empty());
  FTRUN_ASSERT(turns.lsn > lsn_ && turns.created >= created_);
  end_ = turns.end();
  lsn_ = turns.lsn;
  created_ = turns.created;
  if (!keeps_) {
    start_ = end_;
    return;
  }
  batches_.push({turns.begin, turns.lsn, turns.digest, turns.created, turns.bytes.size()});
  bytes_.push(turns.bytes.data(), turns.bytes.size());
}

const Log::Batch* Log::find(uint64_t position) const {
  const Batch* const last = batches_.data() + batches_.size();
  const Batch* const batch =
      std::lower_bound(batches_.data(), last, position,
                       [](const Batch& each, uint64_t at) { return each.begin < at; });
  return batch != last && batch->begin == position ? batch : nullptr;
}

Turns Log::batch_at(uint64_t position) const {
  const Batch* const batch = find(position);
  FTRUN_ASSERT(batch != nullptr);
  return {batch->begin,
          batch->lsn,
          batch->digest,
          batch->created,
          {bytes_.data() + (position - start_), batch->length},
          {}};
}

void Log::trim(uint64_t position) {
  while (!batches_.empty() && batches_.front().begin + batches_.front().length <= position) {
    const uint64_t length = batches_.front().length;
    bytes_.pop(length);
    start_ += length;
    batches_.pop();
  }
}

void Log::note_received(ReplicaId member, uint64_t position) {
  members_[member].received = std::max(members_[member].received, position);
}

void Log::note_replayed(ReplicaId member, uint64_t position) {
  members_[member].replayed = std::max(members_[member].replayed, position);
}

void Log::restart_member(ReplicaId member, uint64_t received, uint64_t replayed) {
  members_[member] = {received, replayed};
}

uint64_t Log::held_by(size_t count) const {
  FTRUN_ASSERT(count >= 1 && count <= view_.replicas.size());
  std::array<uint64_t, kMembersMax> positions{};
  size_t members = 0;
  for (const ReplicaId member : view_.replicas) {
    positions[members++] = received(member);
  }
  std::sort(positions.begin(), positions.begin() + static_cast<long>(members), std::greater<>());
  return positions[count - 1];
}

uint64_t Log::replayed_by_slowest(ReplicaId* who) const {
  uint64_t slowest = end_;
  ReplicaId slow = kNoReplica;
  for (const ReplicaId member : view_.replicas) {
    if (member != self_ && members_[member].replayed <= slowest) {
      slowest = members_[member].replayed;
      slow = member;
    }
  }
  if (who != nullptr) {
    *who = slow;
  }
  return slowest;
}

uint64_t Log::replayed_by_fastest() const {
  uint64_t fastest = view_.replicas.size() == 1 ? end_ : 0;
  for (const ReplicaId member : view_.replicas) {
    fastest = member == self_ ? fastest : std::max(fastest, members_[member].replayed);
  }
  return fastest;
}

}  // namespace ftrun::unit
