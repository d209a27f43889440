// SPDX-License-Identifier: Apache-2.0
// See output_writer.h. Runs in the application by the token's holder; no libc.
#include "preload/output_writer.h"

#include "preload/guarded.h"
#include "preload/room.h"

namespace ftrun::shim {

size_t OutputWriter::emit(const Output& entry, Control* control, Sleeper& sleeper) {
  Output part = entry;
  size_t left = entry.length;
  do {
    part.length = left < kOutputDataBytesMax ? left : kOutputDataBytesMax;
    uint8_t* room =
        reserve(ring_, kOutputHeaderBytesMax + part.length, WhenFull::kPublish, sleeper);
    const size_t header = put_output_header(room, part);
    // ORDER: the ring moves on after the copy: what could not be read is not in it.
    if (part.length != 0 && copy_in(room + header, part.data, part.length) != part.length) {
      break;
    }
    part.data += part.length;
    ring_.advance(header + part.length);
    left -= part.length;
  } while (left != 0);
  if (entry.kind == OutputKind::kConsole || entry.kind == OutputKind::kNotice) {
    // ORDER: the entry first; whoever reads this word looks there.
    control->said_end.store(ring_.written(), std::memory_order_release);
  }
  return entry.length - left;
}

}  // namespace ftrun::shim
