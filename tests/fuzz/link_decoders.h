// SPDX-License-Identifier: Apache-2.0
// As decoders.h, for what comes from another supervisor: frames, their turns, and hellos. Runs in
// fuzz targets.
#pragma once

#include <string>
#include <vector>

#include "supervisor/link/frame.h"
#include "supervisor/unit/references.h"
#include "tests/fuzz/decoders.h"

namespace ftrun::fuzz {

inline void frames(const uint8_t* data, size_t size) {
  unit::Bytes left(data, size);
  for (;;) {
    unit::Frame frame;
    const link::FrameResult result = link::get_frame(left, &frame);
    if (result.state != link::FrameState::kWhole) {
      require(result.state != link::FrameState::kInvalid || *result.why != '\0', "a reason");
      return;
    }
    require(
        result.bytes <= left.size() && result.bytes == link::kFrameHeaderBytes + frame.bytes.size(),
        "a frame lies in the input");
    uint8_t header[link::kFrameHeaderBytes];
    link::put_frame_header(header, frame);
    require(memcmp(header, left.data(), sizeof(header)) == 0, "the same bytes when encoded again");
    left = left.subspan(result.bytes);
  }
}

// Turns that refer to input, which is all zeros here.
inline void referred(const uint8_t* data, size_t size) {
  unit::Referred referred;
  if (!unit::read_referred({data, size}, &referred)) {
    return;
  }
  const std::vector<uint8_t> feed(referred.input);
  std::vector<uint8_t> turns;
  const unit::Restored restored = unit::restore(referred, feed, &turns, false);
  require(restored != unit::Restored::kDiffering, "no digest is compared");
  require(restored == unit::Restored::kInvalid || turns.size() == referred.whole,
          "turns are as long as was said");
  require(turns.size() <= referred.whole + size + feed.size(), "bounded turns");
}

inline void hello(const uint8_t* data, size_t size) {
  const Result<link::Hello> decoded = link::decode_hello({data, size});
  if (!decoded.ok()) {
    require(!decoded.error().message.empty(), "a reason");
    return;
  }
  require(decoded->unit.size() <= link::kUnitNameBytesMax, "bounded name");
  const std::string again = link::encode_hello(*decoded);
  require(again.size() == size && memcmp(again.data(), data, size) == 0,
          "the same bytes when encoded again");
}

}  // namespace ftrun::fuzz
