// SPDX-License-Identifier: Apache-2.0
// What simulated clients and the toy server say to each other. Test program only.
//
//   request = sequence(4) operation(1) pad_length(3) pad...
//   reply   = sequence(4) length(4) counter(8) chosen(8) filler...
// `sequence` counts a connection's requests from 1. `counter` is the server's count of all requests
// it ever applied: no two replies may carry the same one. `filler` is a function of the header.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace ftrun::sim {

enum class Operation : uint8_t {
  kCount = 1,      // an empty reply
  kChoose = 2,     // the reply carries a value chosen by the primary
  kConfigure = 3,  // opens a second listener, or closes it
  kDownload = 4,   // a reply of 40,000 bytes of filler
  kQuit = 5,       // reply, then the server closes
  kPoison = 6,     // crashes the server
  kLock = 7,       // locks a file outside, or gives it back
};
inline constexpr size_t kRequestBytes = 8;
inline constexpr size_t kReplyBytes = 24;
inline constexpr size_t kDownloadBytes = 40000;
inline constexpr size_t kPadBytesMax = 20000;

inline uint32_t read_u32(const uint8_t* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, 4);
  return value;
}
inline uint64_t read_u64(const uint8_t* bytes) {
  uint64_t value = 0;
  std::memcpy(&value, bytes, 8);
  return value;
}

inline void put_request(std::vector<uint8_t>* out, uint32_t sequence, Operation operation,
                        uint32_t pad) {
  const size_t at = out->size();
  out->resize(at + kRequestBytes + pad, static_cast<uint8_t>(sequence));
  std::memcpy(out->data() + at, &sequence, 4);
  const uint32_t rest = static_cast<uint32_t>(operation) | pad << 8;
  std::memcpy(out->data() + at + 4, &rest, 4);
}

inline uint8_t filler_byte(uint32_t sequence, uint64_t counter, size_t i) {
  return static_cast<uint8_t>(sequence * 31 + counter * 7 + i + (i >> 8));
}

inline void put_reply(std::vector<uint8_t>* out, uint32_t sequence, uint32_t length,
                      uint64_t counter, uint64_t chosen) {
  const size_t at = out->size();
  out->resize(at + kReplyBytes + length);
  uint8_t* reply = out->data() + at;
  std::memcpy(reply, &sequence, 4);
  std::memcpy(reply + 4, &length, 4);
  std::memcpy(reply + 8, &counter, 8);
  std::memcpy(reply + 16, &chosen, 8);
  for (size_t i = 0; i < length; ++i) {
    reply[kReplyBytes + i] = filler_byte(sequence, counter, i);
  }
}

}  // namespace ftrun::sim
