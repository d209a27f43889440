// SPDX-License-Identifier: Apache-2.0
// Limits that the shim's socket layer and the supervisor must agree on. Constants only.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ftrun {

// Input of one connection that may be handed to the application beyond what it has consumed (as it
// last reported: see kReceiveReportBytes). More is a broken supervisor: the shim stops.
inline constexpr size_t kReceiveWindowBytes = 256 * 1024;
// The shim reports consumption (a `consumed` output entry) at the latest after this many bytes.
inline constexpr size_t kReceiveReportBytes = kReceiveWindowBytes / 4;
// Output of one connection that the application may have written beyond the last credit.
inline constexpr size_t kSendWindowBytes = 256 * 1024;

// Connections and the application's own sockets are numbered separately. An `option` output entry
// is the only one that may name either: a socket is marked by this bit, a connection has it clear.
// Ids of both kinds are therefore below it.
inline constexpr uint32_t kOptionOfSocket = 0x80000000;

}  // namespace ftrun
