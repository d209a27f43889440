// SPDX-License-Identifier: Apache-2.0
// How much of the input ring one turn takes. Runs in the application, by the token's holder of the
// primary. No libc.
#pragma once

#include "eventlog/arrivals.h"
#include "eventlog/ring.h"
#include "preload/failure.h"

namespace ftrun::shim {

// Most arrivals in one turn. Smaller turns let the secondary, and the world, start on the first
// requests while the primary is at the next ones: on two cores 30 % more when pipelined.
inline constexpr uint64_t kArrivalsItemsMax = 16;

// How many bytes and items of the input ring to take: whole items, kArrivalsBytesMax at most.
inline size_t measure_input(const RingConsumer& input, uint64_t* count) {
  const size_t available = input.available();
  if (available == kRingCorrupt) {
    doors_fail(ShimFailure::kCorruptInput, "the input ring's head is out of bounds\n");
  }
  const uint8_t* begin = input.data();
  const uint8_t* end = begin + available;
  const uint8_t* cursor = begin;
  Arrival item;
  while (cursor < end) {
    const uint8_t* after = get_arrival(cursor, end, &item);
    if (after == nullptr) {
      doors_fail(ShimFailure::kCorruptInput, "an item in the input ring does not decode\n");
    }
    if (static_cast<size_t>(after - begin) > kArrivalsBytesMax || *count == kArrivalsItemsMax) {
      break;
    }
    cursor = after;
    ++*count;
  }
  return static_cast<size_t>(cursor - begin);
}

}  // namespace ftrun::shim
