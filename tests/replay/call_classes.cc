// SPDX-License-Identifier: Apache-2.0
// See call_classes.h. The shim's table is compiled in; its handlers are not.
#include "tests/replay/call_classes.h"

#include "eventlog/records.h"

namespace ftrun::shim {
// Weak before the table refers to them: their addresses are null here, and nobody calls them.
#define FTRUN_SYSCALL(name, call_class, handler) \
  __attribute__((weak)) long handler(long number, const long* a);
#include "preload/table.def"
#undef FTRUN_SYSCALL
}  // namespace ftrun::shim

#include "preload/table.cc"

namespace ftrun::replay {

void CallClasses::look_at(std::span<const uint8_t> turns) {
  const uint8_t* const end = turns.data() + turns.size();
  Record record;
  for (const uint8_t* at = turns.data(); (at = get_record(at, end, &record)) != nullptr;) {
    if (record.kind == RecordKind::kChoice) {
      numbers_.insert(static_cast<long>(record.number));
    }
  }
}

std::vector<std::string> CallClasses::wrong() const {
  std::vector<std::string> names;
  for (const long number : numbers_) {
    if (!shim::logs_choices(shim::call_entry(number).call_class)) {
      names.emplace_back(shim::call_name(number));
    }
  }
  return names;
}

}  // namespace ftrun::replay
