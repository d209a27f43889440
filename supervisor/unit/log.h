// SPDX-License-Identifier: Apache-2.0
// The unit's log as one member knows it: how far it goes, the turns that others may still need (the
// log resend queue, claims 6, 10, 13), and how far every member has received and replayed it. Runs
// in the supervisor, inside the unit core; pure. Bounded by its owner: a primary does not read on
// while the slowest secondary is too far behind.
//
// Turns are kept as they were shipped: a batch of whole turns with one digest at its end. Members
// stand at the ends of batches only.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "supervisor/unit/fifo.h"
#include "supervisor/unit/view.h"

namespace ftrun::unit {

// A batch of whole turns. Borrowed bytes.
struct Turns {
  uint64_t begin = 0;    // log position of the first byte
  uint64_t lsn = 0;      // records up to the end
  uint64_t digest = 0;   // running digest of the output up to the end
  uint64_t created = 0;  // epoch in which the primary made them
  std::span<const uint8_t> bytes;
  std::span<const uint8_t> referred;  // as they travel (references.h); empty: as they are
  uint64_t end() const { return begin + bytes.size(); }
};

class Log {
 public:
  // `keeps`: others may ask for turns that were shipped once.
  Log(ReplicaId self, bool keeps) : self_(self), keeps_(keeps) {}

  uint64_t end() const { return end_; }
  uint64_t lsn() const { return lsn_; }
  uint64_t created() const { return created_; }  // of the last turn; 0: there is none
  size_t kept_bytes() const { return bytes_.size(); }

  // REQUIRES: turns.begin == end().
  void append(const Turns& turns);
  // Whether somebody who stands there can be sent what follows: it is kept, and begins a batch.
  bool goes_on_from(uint64_t position) const {
    return position >= end_ || find(position) != nullptr;
  }
  // The kept batch that begins there. REQUIRES: goes_on_from(position), position < end().
  Turns batch_at(uint64_t position) const;
  // Forgets what is before `position`, in whole batches.
  void trim(uint64_t position);

  // --- the members ---
  void set_members(const View& view) { view_ = view; }
  void note_received(ReplicaId member, uint64_t position);
  void note_replayed(ReplicaId member, uint64_t position);
  // A new epoch: only what a member says in it counts.
  void restart_member(ReplicaId member, uint64_t received, uint64_t replayed);
  uint64_t received(ReplicaId member) const {
    return member == self_ ? end_ : members_[member].received;
  }
  // The log up to here is held by `count` members. REQUIRES: 1 <= count <= members of the view.
  uint64_t held_by(size_t count) const;
  // What every member has received.
  uint64_t received_by_all() const { return held_by(view_.replicas.size()); }
  // Of the members but this one; end() if there is no other. kNoReplica in `who` then.
  uint64_t replayed_by_slowest(ReplicaId* who = nullptr) const;
  uint64_t replayed_by_fastest() const;

 private:
  struct Batch {
    uint64_t begin;
    uint64_t lsn;
    uint64_t digest;
    uint64_t created;
    uint64_t length;
  };
  struct Member {
    uint64_t received = 0;
    uint64_t replayed = 0;
  };

  const Batch* find(uint64_t position) const;  // nullptr: no kept batch begins there

  const ReplicaId self_;
  const bool keeps_;
  View view_;
  uint64_t end_ = 0;
  uint64_t lsn_ = 0;
  uint64_t created_ = 0;
  uint64_t start_ = 0;
  Fifo<Batch> batches_;
  Fifo<uint8_t> bytes_;
  std::array<Member, kMembersMax> members_{};
};

}  // namespace ftrun::unit
