// SPDX-License-Identifier: Apache-2.0
// Variable-length integers (LEB128) and zigzag, the alphabet of every ftrun format.
// Runs in the application (shim, signal handlers) and in the supervisor: no libc, no allocation,
// no exceptions. SIGNAL-SAFE: everything here. Grammar: docs/log_format.md.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ftrun {

inline constexpr size_t kVarintBytesMax = 10;

// Writes `value` at `out` (REQUIRES: kVarintBytesMax bytes of room); returns the bytes written.
inline size_t put_varint(uint8_t* out, uint64_t value) {
  size_t length = 0;
  while (value >= 0x80) {
    out[length++] = static_cast<uint8_t>(value) | 0x80;
    value >>= 7;
  }
  out[length++] = static_cast<uint8_t>(value);
  return length;
}

// Reads a varint from [cursor, end). Returns the byte after it, or nullptr when the input ends too
// early, is longer than ten bytes, overflows 64 bits, or is not the shortest form of its value.
inline const uint8_t* get_varint(const uint8_t* cursor, const uint8_t* end, uint64_t* value) {
  uint64_t result = 0;
  for (unsigned shift = 0; shift < 70 && cursor < end; shift += 7) {
    const uint8_t byte = *cursor++;
    if (shift == 63 && byte > 1) {
      return nullptr;
    }
    result |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) {
      if (byte == 0 && shift != 0) {
        return nullptr;
      }
      *value = result;
      return cursor;
    }
  }
  return nullptr;
}

// Signed values travel as zigzag: 0, -1, 1, -2, … become 0, 1, 2, 3, …
inline uint64_t zigzag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t unzigzag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

}  // namespace ftrun
