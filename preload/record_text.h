// SPDX-License-Identifier: Apache-2.0
// Log records in words, for reports of divergence. Runs in the application; no libc.
#pragma once

#include "eventlog/records.h"
#include "preload/text.h"

namespace ftrun::shim {

// Whose record it is. What a replica asks for has no result
// yet, and may be a call that needs no record.
enum class RecordOrigin { kLog, kReplica };
// Appends one line: whose record, what it is and where it applies.
void describe_record(Text& text, const Record& record, RecordOrigin origin);

}  // namespace ftrun::shim
