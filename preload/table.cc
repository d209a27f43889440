// SPDX-License-Identifier: Apache-2.0
// See table.h. The array is built by the compiler: a number that occurs twice or lies beyond the
// table, or a class that does not exist, does not compile.
#include "preload/table.h"

#include <errno.h>

#include "preload/calls.h"
#include "preload/newer_calls.h"

namespace ftrun::shim {

// Never defined and not constexpr: where the compiler would have to call it, the build ends.
void number_occurs_twice();

namespace {

constexpr char kUnknownName[] = "";
constexpr CallEntry kUnknown = {kUnknownName, CallClass::kDenied, &do_denied, ENOSYS,
                                "not known to this version"};

struct Table {
  CallEntry entries[kCallNumberMax];

  constexpr void put(long number, CallEntry entry) {
    if (entries[number].name != kUnknownName) {
      number_occurs_twice();
    }
    entries[number] = entry;
  }
  constexpr Table() : entries{} {
    for (CallEntry& entry : entries) {
      entry = kUnknown;
    }
#define FTRUN_SYSCALL(name, call_class, handler) \
  put(__NR_##name, {#name, CallClass::k##call_class, &handler, 0, ""});
#define FTRUN_DENIED(name, error, why) \
  put(__NR_##name, {#name, CallClass::kDenied, &do_denied, error, why});
#include "preload/table.def"
#undef FTRUN_SYSCALL
  }
};
constinit const Table table;

}  // namespace

const CallEntry& call_entry(long number) {
  return number >= 0 && number < kCallNumberMax ? table.entries[number] : kUnknown;
}

const char* call_name(long number) {
  return call_entry(number).name;
}

}  // namespace ftrun::shim
