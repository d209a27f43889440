// SPDX-License-Identifier: Apache-2.0
// Limits of the unit core. Constants only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ftrun::unit {

// Log that the primary may be ahead of what the slowest secondary has replayed.
inline constexpr uint64_t kLogRunAheadBytesMax = 8 << 20;
// A secondary reports how far it has replayed at least this often (in bytes of log).
inline constexpr uint64_t kProgressReportBytes = 256 << 10;
// The sender reports a connection's written output to the primary at least this often, and at once
// when the primary's application may be waiting for room. Small, for it is what a resend queue may
// keep beyond need; not zero, for every report costs both supervisors.
inline constexpr uint64_t kCreditReportBytes = 4 << 10;
// Output that agrees and that too few members hold: while there is more, no more is read from the
// application, which waits for room in its ring.
inline constexpr size_t kWaitingOutputBytesMax = 16 << 20;
// All output that has not left: that, what one reading of the ring adds, and a turn that has not
// ended. A shim ends turns long before; an application that has more is broken.
inline constexpr size_t kPendingOutputBytesMax = 64 << 20;
// Arrivals collected between two calls of flush(); flush() is forced beyond it.
inline constexpr size_t kArrivalBatchBytes = 256 << 10;
// Whole turns in one frame: at most what the log ring holds.
inline constexpr size_t kTurnsBytesMax = 8u << 20;
// Input that the sender has fed and no turn has: it reads no more beyond that, whatever single
// connections may still send. As much may wait for room in the ring of the primary's application.
// Another member may keep as much, and what it is behind the sender, where turns refer to it.
inline constexpr size_t kInputStoreBytesMax = 32u << 20;
// Operator signals waiting to stand in a logged turn.
inline constexpr size_t kPendingSignalsMax = 64;
inline constexpr uint64_t kSignalMax = 64;
// Distinct socket options remembered for one listener until it is made anew.
inline constexpr size_t kSocketOptionsMax = 32;
// Sockets that an application may have bound, or set options of, at one time.
inline constexpr size_t kSocketsMax = 4096;

}  // namespace ftrun::unit
