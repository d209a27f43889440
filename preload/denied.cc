// SPDX-License-Identifier: Apache-2.0
// Calls that are answered without being made, and those that are made as they are.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>

#include "preload/calls.h"
#include "preload/failure.h"
#include "preload/handlers.h"
#include "preload/raw.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

const char* error_name(int error) {
  return error == EPERM ? "EPERM" : error == EINTR ? "EINTR" : "ENOSYS";
}

}  // namespace

long do_denied(long number, const long*) {
  static bool told[kCallNumberMax + 1];  // the last one: all numbers that the table does not have
  const bool is_listed = number >= 0 && number < kCallNumberMax;
  bool* is_told = &told[is_listed ? number : kCallNumberMax];
  const CallEntry& entry = call_entry(number);
  // glibc asks for these all the time and has another way.
  const bool is_usual = number == __NR_clone3 || number == __NR_rseq;
  if (!*is_told && !is_usual) {
    *is_told = true;
    Text text;
    text.add("system call ");
    if (entry.is_known()) {
      text.add(entry.name);
    } else {
      text.add(number);
    }
    text.add(" is not supported: answered ").add(error_name(entry.error));
    text.add(describe_caller()).add(" (").add(entry.why).add(")\n");
    shim_notice(text.c_str());
  }
  return -entry.error;
}

long do_native(long number, const long* a) {
  return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

}  // namespace ftrun::shim
