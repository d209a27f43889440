// SPDX-License-Identifier: Apache-2.0
// Room in a ring that the application writes, waited for where need be. Whoever reads the ring is
// slower then, which no replica can observe: the caller keeps the token.
// Runs in the application by the token's holder; no libc.
#pragma once

#include "eventlog/ring.h"
#include "preload/env.h"
#include "preload/sleep.h"

namespace ftrun::shim {

// What a full ring does with the bytes that nobody has been shown yet.
enum class WhenFull : uint8_t {
  kPublish,  // they may be seen before the turn ends: the reader can make room
  kKeep,     // the turn must fit
};

[[gnu::noinline]] inline uint8_t* wait_for_room(RingProducer& ring, size_t bytes,
                                                WhenFull when_full, Sleeper& sleeper) {
  // Nobody rings when the reader has made room; and it may be asleep although the ring is full.
  constexpr int64_t kNapNs = 500'000;
  uint8_t* room = nullptr;
  while (room == nullptr) {
    if (when_full == WhenFull::kPublish) {
      ring.publish();
    } else if (ring.unpublished() + bytes > ring.capacity()) {
      shim_fail("a turn is larger than the log ring", static_cast<int64_t>(ring.unpublished()),
                static_cast<int64_t>(bytes));
    }
    sleeper.wake_supervisor();
    sleeper.until([&] { return (room = ring.reserve(bytes)) != nullptr; }, kNapNs);
    room = ring.reserve(bytes);
  }
  return room;
}

inline uint8_t* reserve(RingProducer& ring, size_t bytes, WhenFull when_full, Sleeper& sleeper) {
  uint8_t* room = ring.reserve(bytes);
  return room != nullptr ? room : wait_for_room(ring, bytes, when_full, sleeper);
}

}  // namespace ftrun::shim
