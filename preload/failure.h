// SPDX-License-Identifier: Apache-2.0
// How the shim stops its process: what is wrong goes into the shared region, then the process
// stands still for a moment, so that the supervisor can look at its threads' stacks from outside
// (an unwinder in here would take locks and memory of the application's). Runs in the application,
// by the token's holder; no libc.
#pragma once

#include "eventlog/records.h"
#include "eventlog/shared_region.h"

namespace ftrun::shim {

// Stops the process, leaving kind and text (lines, the first a summary) in the region.
[[noreturn]] void doors_fail(ShimFailure kind, const char* text);
// The replay does `here` where the log has `logged` as its record number `lsn`.
[[noreturn]] void fail_diverged(uint64_t lsn, const Record& logged, const Record& here);

}  // namespace ftrun::shim
