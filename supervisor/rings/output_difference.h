// SPDX-License-Identifier: Apache-2.0
// Where the output of two replicas differs, for a report: both output rings hold the same stream of
// entries from the start, so that equal positions can be compared byte by byte, as long as neither
// ring has been overwritten there. Pure; trusts nothing in either ring. Runs in the supervisor.
#pragma once

#include <cstdint>
#include <string>

#include "supervisor/rings/region.h"

namespace ftrun {

// The first entry after `begin` and before `end` (positions in both output rings, entry bounds of
// ours) that is not equal, with what both have there; or why none can be shown. One line.
std::string describe_output_difference(const Region& ours, const Region& theirs, uint64_t begin,
                                       uint64_t end);

}  // namespace ftrun
