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

// A choice whose payload is as many bytes at `out` as the result says.
long choose_counted(long number, const long* a, long out, long size) {
  struct Context {
    long number;
    const long* a;
  } context{number, a};
  size_t length = 0;
  const auto capacity = static_cast<size_t>(size);
  return doors_choose(
      number,
      [](void* c, uint8_t*, size_t cap, size_t* out_length) -> long {
        const auto* ctx = static_cast<const Context*>(c);
        const long* b = ctx->a;
        const long r = raw(ctx->number, b[0], b[1], b[2], b[3], b[4], b[5]);
        *out_length = r > 0 && cap != 0 ? static_cast<size_t>(r) : 0;
        return r;
      },
      &context, static_cast<uint8_t*>(pointer(out)),
      capacity < kChoicePayloadBytesMax ? capacity : kChoicePayloadBytesMax, &length);
}

}  // namespace ftrun::shim
