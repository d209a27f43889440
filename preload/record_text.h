// SPDX-License-Identifier: Apache-2.0
// Log records in words, for reports of divergence. Runs in the application; no libc.
#pragma once

#include "eventlog/records.h"
#include "preload/text.h"

namespace ftrun::shim {

// Appends one line: `who`, then what the record is and where it applies.
void describe_record(Text& text, const Record& record, const char* who);

}  // namespace ftrun::shim
