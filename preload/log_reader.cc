// SPDX-License-Identifier: Apache-2.0
// See log_reader.h. Runs in the application by the token's holder; no libc.
#include "preload/log_reader.h"

#include "preload/failure.h"
#include "preload/text.h"

namespace ftrun::shim {

bool LogReader::decode() {
  const size_t available = ring_.available();
  if (available == 0) {
    return false;
  }
  if (available == kRingCorrupt) {
    doors_fail(ShimFailure::kCorruptInput, "the log ring's head is out of bounds\n");
  }
  const uint8_t* begin = ring_.data();
  const uint8_t* end = get_record(begin, begin + available, &next_);
  if (end == nullptr) {
    Text text;
    text.add("the log does not decode at position ");
    text.add(static_cast<int64_t>(ring_.position())).add("\n");
    doors_fail(ShimFailure::kCorruptInput, text.c_str());
  }
  next_bytes_ = static_cast<size_t>(end - begin);
  return true;
}

}  // namespace ftrun::shim
