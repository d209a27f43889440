// SPDX-License-Identifier: Apache-2.0
// See record_text.h. Runs in the application; no libc.
#include "preload/record_text.h"

#include "preload/table.h"

namespace ftrun::shim {
namespace {

// By number, as docs/log_format.md has them.
const char* kind_name(RecordKind kind) {
  static const char* const kNames[] = {"invalid",
                                       "start",
                                       "turn end (ingest)",
                                       "turn end (idle)",
                                       "turn end (cut)",
                                       "arrivals",
                                       "time",
                                       "choice",
                                       "switch",
                                       "exit"};
  const auto index = static_cast<unsigned>(kind);
  return index < 10 ? kNames[index] : "invalid";
}

}  // namespace

void describe_record(Text& text, const Record& record, RecordOrigin origin) {
  const bool choice = record.kind == RecordKind::kChoice;
  const bool logged = origin == RecordOrigin::kLog;
  text.add(logged ? "  the log has:     " : "  this replica has: ");
  // Where the log has a choice that this replica does not come to, what it has is no record: it is
  // the call at which it noticed (doors_enter_call).
  text.add(choice && !logged ? "call" : kind_name(record.kind)).add(" after ");
  text.add(static_cast<int64_t>(record.delta)).add(" calls");
  if (choice) {
    text.add(", ").add(call_name(static_cast<long>(record.number)));
  }
  if (choice && logged) {
    text.add(" = ").add(record.result);
    text.add(", ").add(static_cast<int64_t>(record.length)).add(" bytes");
  } else if (record.kind == RecordKind::kSwitch || record.kind == RecordKind::kExit) {
    text.add(", ").add(static_cast<int64_t>(record.count));
  }
  text.add("\n");
}

}  // namespace ftrun::shim
