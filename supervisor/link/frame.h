// SPDX-License-Identifier: Apache-2.0
// The wire format between supervisors. A frame is a fixed header and a payload:
//
//   offset  bytes  field (little endian)
//        0      2  magic 0x4654 ("TF")
//        2      1  version (kFrameVersion)
//        3      1  kind (unit::FrameKind)
//        4      4  payload length, at most kFramePayloadBytesMax
//        8     48  epoch, number, lsn, digest, created, trim: eight bytes each (unit/frames.h)
//       56      n  payload
//
// Version rule: any other magic, version or kind is refused; nothing is skipped. Runs in the
// supervisor; pure functions, no system calls. What arrives is not trusted.
#pragma once

#include <cstdint>
#include <string>

#include "supervisor/base/result.h"
#include "supervisor/unit/core.h"

namespace ftrun::link {

inline constexpr uint16_t kFrameMagic = 0x4654;
inline constexpr uint8_t kFrameVersion = 7;
inline constexpr size_t kFrameHeaderBytes = 56;
// Input batches are smaller than turns.
inline constexpr size_t kFramePayloadBytesMax = unit::kTurnsBytesMax;

// Encodes the header of `frame`; the payload is frame.bytes as it is.
// REQUIRES: frame.bytes.size() <= kFramePayloadBytesMax.
void put_frame_header(uint8_t (&out)[kFrameHeaderBytes], const unit::Frame& frame);

enum class FrameState { kWhole, kIncomplete, kInvalid };
struct FrameResult {
  FrameState state = FrameState::kIncomplete;
  size_t bytes = 0;      // kWhole: consumed from the input; kIncomplete: needed in all, or 0
  const char* why = "";  // kInvalid
};
// Decodes one frame from the start of `input`. `frame->bytes` points into the input.
FrameResult get_frame(unit::Bytes input, unit::Frame* frame);

// The first frame in each direction. The pids name processes of the sending replica, so that the
// other side can hold pidfds to them; start times guard against a pid that was used anew.
struct ProcessName {
  int32_t pid = 0;
  uint64_t start_time = 0;  // field 22 of /proc/<pid>/stat
  bool operator==(const ProcessName&) const = default;
};
inline constexpr size_t kUnitNameBytesMax = 200;
struct Hello {
  unit::ReplicaId replica = unit::kNoReplica;
  std::string unit;
  ProcessName supervisor, keeper, init;
  // Descriptors of the supervisor: the memory that it shares with its application, and the eventfd
  // by which that wakes whoever serves its rings.
  uint32_t region_fd = 0;
  uint32_t doorbell_fd = 0;
};
std::string encode_hello(const Hello& hello);
Result<Hello> decode_hello(unit::Bytes payload);

}  // namespace ftrun::link
