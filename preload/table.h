// SPDX-License-Identifier: Apache-2.0
// The table of system calls (table.def) as data: one class and one handler for each number.
// Runs in the application; constant data. No libc.
#pragma once

#include <stdint.h>

namespace ftrun::shim {

// A class says what of a call stands in the log: tests/replay/call_classes.h checks each log.
enum class CallClass : uint8_t {
  kVirtual,     // computed by the shim from arrivals and the application's own calls; no record
  kChoice,      // asked of the kernel by the primary; result and bytes logged
  kMixed,       // virtual for what the shim has made itself; for files, CPU clocks and what the
                // kernel allows a choice, or replicated
  kReplicated,  // carried out in every replica as the primary's result says, which is logged
  kMemory,      // carried out in every replica, at the address that the log says
  kNative,      // carried out in every replica; the result is the same by construction; no record
  kInternal,    // threads and signals: handled where registers are at hand (start.cc)
  kDenied,      // answered with an error, as by a kernel without it; the unit's events say so
};

// Whether a call of this class has choices in the log.
constexpr bool logs_choices(CallClass call_class) {
  return call_class == CallClass::kChoice || call_class == CallClass::kMixed ||
         call_class == CallClass::kReplicated || call_class == CallClass::kMemory;
}

// One system call: its number and six arguments; the result as the kernel's (-errno).
using CallHandler = long (*)(long number, const long* arguments);

struct CallEntry {
  const char* name;
  CallClass call_class;
  CallHandler handler;
  int error;        // of denied calls: what is answered
  const char* why;  // and the reason, for people
  bool is_known() const { return name[0] != '\0'; }
};

inline constexpr long kCallNumberMax = 512;
// The entry of `number`. What the table does not know (a newer kernel's) is denied with ENOSYS.
const CallEntry& call_entry(long number);
const char* call_name(long number);

}  // namespace ftrun::shim
