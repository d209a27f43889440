// SPDX-License-Identifier: Apache-2.0
// The exchange that every change of view begins with: each member tells all others what it holds,
// once per epoch, after everybody who left is gone; and by telling promises to take nothing older.
// All compute the same from the same answers: who is the primary, where the log of the dead ends,
// and who has what another lacks (claims 11, 12). Runs in the unit core; pure.
#pragma once

#include <array>
#include <cstdint>

#include "eventlog/arrivals.h"
#include "supervisor/unit/routes.h"
#include "supervisor/unit/view.h"

namespace ftrun::unit {

// What the last complete exchange has come to. Clients may have seen output of turns up to `seen`,
// although only one member has them until they are sent again.
struct Settled {
  uint64_t epoch = 0;
  uint64_t seen = 0;
  uint64_t members = 0;  // of that view: bit 0 is "a"
};

// What a member holds, as it says itself.
struct Position {
  uint64_t end = 0;      // of the log that it has received
  uint64_t lsn = 0;      // records up to there
  uint64_t created = 0;  // epoch of the last turn
  uint64_t replayed = 0;
  bool live = false;          // it is the primary already, or was made so
  bool stepped_down = false;  // it was, and the operator wants the view's first to be so
  ConnectionId suspect = 0;   // whose input crashed the dead primary, as far as it has heard
  Settled settled;            // the last exchange that was complete there
  uint64_t ahead = 0;         // early logging: bytes of the next turn that it was fed ahead of it,
  uint64_t points = 0;        // and the last point that it was told of
};

// What follows from all positions.
struct Settlement {
  ReplicaId primary = kNoReplica;
  bool primary_lives = false;  // it goes on; else it is to be promoted
  uint64_t end = 0;            // the log up to here has happened; beyond, only the primary adds
  ReplicaId donor =
      kNoReplica;  // has what the one to be promoted lacks; kNoReplica: it lacks nothing
  // Of the turn that the dead primary was in: what the member that was fed most has replayed of it.
  // So it has happened, and the one to be promoted begins with it.
  uint64_t ahead = 0;
  uint64_t points = 0;
  ReplicaId knows_input = kNoReplica;  // says what has come in and stands in no turn
  ConnectionId suspect = 0;
  ReplicaId liar =
      kNoReplica;     // says what cannot be beside what the others say; kNoReplica: nobody
  Settled last;       // of all, the latest
  unsigned lost = 0;  // its members that have left since
  Settled now;        // this one
};

class Exchange {
 public:
  void begin(const View& view) {
    view_ = view;
    heard_.fill(false);
  }
  void note(ReplicaId member, const Position& position) {
    heard_[member] = true;
    positions_[member] = position;
  }
  bool heard(ReplicaId member) const { return heard_[member]; }
  bool complete() const;
  const Position& of(ReplicaId member) const { return positions_[member]; }
  // REQUIRES: complete().
  Settlement settle(Topology topology, Promotion promotion, unsigned tolerance) const;

 private:
  ReplicaId most_advanced() const;
  void note_last(Settlement* settlement, unsigned tolerance) const;
  View view_;
  std::array<bool, kMembersMax> heard_{};
  std::array<Position, kMembersMax> positions_{};
};

}  // namespace ftrun::unit
