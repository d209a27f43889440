// SPDX-License-Identifier: Apache-2.0
// The flow-control windows of a connection, which the shim's socket layer and the unit core must
// agree on. Constants only; used in the shim and in the supervisor.
#pragma once

#include <stddef.h>

namespace ftrun {

// Input that may be given to the application beyond what it has read: the edge stops reading there.
inline constexpr size_t kReceiveWindowBytes = 256 * 1024;
// Output that the application may have written beyond the last credit it was given.
inline constexpr size_t kSendWindowBytes = 256 * 1024;

}  // namespace ftrun
