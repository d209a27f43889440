// SPDX-License-Identifier: Apache-2.0
// What supervisors say to each other. Encoded by supervisor/link/frame.h. Every frame carries the
// epoch of its sender's view: one of an older epoch is dropped, one of a newer epoch waits until
// its receiver has that view. Plain values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

namespace ftrun::unit {

using Bytes = std::span<const uint8_t>;

inline bool begins_with(Bytes whole, Bytes begin) {
  return begin.size() <= whole.size() && std::equal(begin.begin(), begin.end(), whole.begin());
}

enum class FrameKind : uint8_t {
  kHello = 1,      // version, unit name, replica (link layer; the core never sees it)
  kHeartbeat = 2,  // number = tick (link layer; the core ignores it)
  kTurns = 3,      // whole turns of the log: number = log position of the first byte, lsn = records
                   // up to the end, digest = running digest of the output up to the end, created =
                   // epoch in which they were made, trim = log that all members hold; bytes
  kInput = 4,      // encoded arrivals from the edge (credit and bound included). To the primary:
                   // number, lsn, trim as in kHeld, and the first one of an epoch is sent even if
                   // empty. To the others, where turns refer to input: the same bytes
  kClosed = 5,     // number = connection: the edge has closed it; its output queue can go
  kAppFailed = 6,  // bytes = why: the sender of this frame has lost its application; number = the
                   // suspect connection, 0 if none (only from the primary)
  kHeld = 7,       // number, lsn = log that the application of this frame's sender has replayed;
                   // trim = log that it has received
  kExited = 8,     // number = status: the unit's application has exited and all its output is out
  kSignal = 9,     // to the sender: number = sequence, lsn = number of an operator's signal
  kPosition = 10,  // the exchange (exchange.h): number = end of the log received, lsn = records,
                   // created = epoch of the last turn, trim = log replayed, digest = 1 if live, 2
                   // if it has stepped down, and 4 x the suspect connection; bytes: three varints,
                   // what was settled last (epoch, log that clients may have seen, members); two
                   // more, with early logging (else 0): of the next turn, the bytes that its
                   // application was fed ahead, and the last point that it was told of; then, to
                   // the sender, the arrivals that its application has and its log has not yet
  kReferred = 11,  // as kTurns; bytes: turns that refer to input (references.h)
  kPart = 12,      // early logging: number = log position of a turn, lsn = position in it of bytes,
                   // digest = the log has all records up to this point with them; bytes: records
                   // of the turn, without its end
  kWanted = 13,    // to the primary: number = the point that the application of this frame's sender
                   // waits to hear of
};
inline constexpr uint8_t kFrameKindMax = 13;

struct Frame {
  FrameKind kind = FrameKind::kHeartbeat;
  uint64_t epoch = 0;
  uint64_t number = 0;
  uint64_t lsn = 0;
  uint64_t digest = 0;
  uint64_t created = 0;
  uint64_t trim = 0;
  Bytes bytes;  // borrowed
};

}  // namespace ftrun::unit
