// SPDX-License-Identifier: Apache-2.0
// Input by reference (claim 4). The sender feeds every member; the primary's application logs what
// it was fed in the order in which it was fed it, byte for byte. So turns that travel need not
// carry input: an arrivals record says how many bytes of the feed stand there, which is the
// primary's word that they count, and its receiver, which has them, puts them back.
//
//   payload = whole:varint referred:varint record*
//             whole: bytes of the turns with their input; referred: bytes of the feed in them
//   record  = as in the log (eventlog/records.h), but an arrivals record with referred items is
//             header(kind 10) now_delta_ns count n:varint bytes[n] m:varint digest:4 bytes, m >= 1
//             n bytes of items that were fed in an older epoch, then the next m bytes of the feed,
//             whose XXH3 begins with `digest` (little endian)
//
// Pure functions, in the supervisor's unit core. What arrives is not trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ftrun::unit {

// A decoded payload's beginning. `records` points into it.
struct Referred {
  uint64_t whole = 0;
  uint64_t input = 0;
  std::span<const uint8_t> records;
};

// `payload` becomes what `turns` are on their way. Of the `input` bytes of arrivals in them the
// first `older` were fed before this epoch. REQUIRES: whole turns whose records decode,
// older < input.
void refer(std::span<const uint8_t> turns, uint64_t older, uint64_t input,
           std::vector<uint8_t>* payload);

// False: it does not decode, or is of turns longer than kTurnsBytesMax.
bool read_referred(std::span<const uint8_t> payload, Referred* referred);

enum class Restored : uint8_t {
  kWhole,
  kInvalid,    // the records do not decode, or do not have what the payload's beginning says
  kDiffering,  // the feed here is not what the primary's application was fed
};
// `turns` becomes what they were. `feed`: the oldest referred.input bytes of the feed here.
Restored restore(const Referred& referred, std::span<const uint8_t> feed,
                 std::vector<uint8_t>* turns, bool checks_digests);

}  // namespace ftrun::unit
