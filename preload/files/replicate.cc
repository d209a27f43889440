// SPDX-License-Identifier: Apache-2.0
// See replicate.h. Runs in the application with the token held; no libc.
#include "preload/files/replicate.h"

#include "eventlog/records.h"
#include "preload/table.h"
#include "preload/text.h"

namespace ftrun::shim {

[[noreturn]] void replica_differs(const char* what, long number, long here, long there) {
  Text text;
  text.add(what).add(": ").add(call_name(number)).add(" gave ").add(here);
  text.add(" here and ").add(there).add(" in the primary\n");
  doors_fail(ShimFailure::kDiverged, text.c_str());
}

long choose_out(long number, const long* a, long out, size_t size) {
  return choose(number, pointer(out), size,
                [&] { return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]); });
}

long choose_counted(long number, const long* a, long out, long size) {
  const auto capacity = static_cast<size_t>(size);
  return choose_counted(number, pointer(out),
                        capacity < kChoicePayloadBytesMax ? capacity : kChoicePayloadBytesMax,
                        [&] { return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]); });
}

}  // namespace ftrun::shim
