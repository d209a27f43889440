// SPDX-License-Identifier: Apache-2.0
// The memory shared with one application (eventlog/shared_region.h): a sealed memfd, mapped with
// each ring's data twice in a row. The supervisor creates it before the application is started.
// Runs in the supervisor (and in test programs that play the shim's part).
#pragma once

#include <array>
#include <cstdint>

#include "eventlog/shared_region.h"
#include "supervisor/base/result.h"

namespace ftrun {

class Region {
 public:
  // A new region, sealed against every change of size, control page filled in.
  static Result<Region> create(Role role, const std::array<uint8_t, 16>& at_random);
  // Maps an existing one; checks size, magic, version and layout. Takes over `fd`.
  static Result<Region> attach(int fd);
  Region() = default;
  Region(Region&& other) noexcept;
  Region& operator=(Region&& other) noexcept;
  ~Region();

  int fd() const { return fd_; }
  Control* control() const { return reinterpret_cast<Control*>(base_); }
  uint8_t* ring_data(RingId ring) const { return base_ + ring_map_offset(ring); }
  RingProducer producer(RingId ring) const;
  RingConsumer consumer(RingId ring) const;
  RingConsumer trailing_consumer(RingId ring) const;

 private:
  Result<void> map();
  int fd_ = -1;
  uint8_t* base_ = nullptr;
};

}  // namespace ftrun
