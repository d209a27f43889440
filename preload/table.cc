// SPDX-License-Identifier: Apache-2.0
// See table.h. The array is built by the compiler: a number that occurs twice, or a class without
// a handler, does not compile.
#include "preload/table.h"

#include <asm/unistd_64.h>

#include "preload/calls.h"

namespace ftrun::shim {
namespace {

struct Table {
  CallEntry entries[kCallNumberMax];
  constexpr Table() : entries{} {
    for (CallEntry& entry : entries) {
      entry = {"unknown", CallClass::kRefused, &do_refused};
    }
#define FTRUN_SYSCALL(name, call_class, handler) \
  entries[__NR_##name] = {#name, CallClass::k##call_class, &handler};
#include "preload/table.def"
#undef FTRUN_SYSCALL
  }
};
constinit const Table table;

}  // namespace

const CallEntry& call_entry(long number) {
  static constexpr CallEntry kUnknown = {"unknown", CallClass::kRefused, &do_refused};
  return number >= 0 && number < kCallNumberMax ? table.entries[number] : kUnknown;
}

const char* call_name(long number) {
  return call_entry(number).name;
}

}  // namespace ftrun::shim
