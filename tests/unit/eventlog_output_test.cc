// SPDX-License-Identifier: Apache-2.0
// Tests of the encoding of output entries. Runs in the test process only.
#include "eventlog/output.h"

#include <gtest/gtest.h>

#include "tests/unit/eventlog_codec_checks.h"

namespace ftrun {
namespace {

using samples::Encoded;

bool refuses(const Encoded& encoded) {
  return samples::refuses<Output>(encoded);
}

TEST(OutputEntries, RoundTrip) {
  for (const Output& entry : samples::outputs()) {
    samples::check_round_trip(entry, kOutputHeaderBytesMax, entry.length);
  }
}

TEST(OutputEntries, TruncationAtEveryByteIsRefused) {
  for (const Output& entry : samples::outputs()) {
    samples::check_truncation(entry);
  }
}

TEST(OutputEntries, EveryKindHasASample) {
  bool seen[kOutputKinds] = {};
  for (const Output& entry : samples::outputs()) {
    seen[static_cast<size_t>(entry.kind)] = true;
  }
  for (const bool kind : seen) {
    EXPECT_TRUE(kind);
  }
}

TEST(OutputEntries, UnknownKindsAreRefused) {
  for (uint8_t kind = kOutputKinds; kind < 16; ++kind) {
    EXPECT_TRUE(refuses({static_cast<uint8_t>(16 + kind), 0, 0, 0, 0})) << int{kind};
  }
}

TEST(OutputEntries, IdBeyond32BitsIsRefused) {
  uint8_t out[kVarintBytesMax];
  const size_t length =
      put_varint(out, (uint64_t{1} << 36) | static_cast<uint64_t>(OutputKind::kShutdown));
  EXPECT_TRUE(refuses(Encoded(out, out + length)));
}

TEST(OutputEntries, OverlongDataIsRefused) {
  for (const OutputKind kind :
       {OutputKind::kWrite, OutputKind::kConsole, OutputKind::kNotice, OutputKind::kUrgent}) {
    Encoded encoded = {static_cast<uint8_t>(16 + static_cast<uint8_t>(kind)), 0x81, 0x80, 0x04};
    encoded.resize(encoded.size() + kOutputDataBytesMax + 1);
    EXPECT_TRUE(refuses(encoded));
  }
}

TEST(OutputEntries, ALengthNearTheEndOfTheAddressSpaceIsRefused) {
  Encoded encoded = {16 + static_cast<uint8_t>(OutputKind::kWrite)};
  encoded.insert(encoded.end(), 9, 0xff);
  encoded.push_back(0x01);
  EXPECT_TRUE(refuses(encoded));
}

TEST(OutputEntries, NonCanonicalVarintsAreRefused) {
  EXPECT_TRUE(refuses({0x80 | (16 & 0x7f) | 2, 0x00}));
  EXPECT_TRUE(refuses({16 + 4, 0x85, 0x00}));
  EXPECT_TRUE(refuses({16 + 1, 0x81, 0x00, 'x'}));
}

}  // namespace
}  // namespace ftrun
