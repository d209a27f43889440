// SPDX-License-Identifier: Apache-2.0
// Tests of the encoding of arrivals. Runs in the test process only.
#include "eventlog/arrivals.h"

#include <gtest/gtest.h>

#include "tests/unit/eventlog_codec_checks.h"

namespace ftrun {
namespace {

using samples::Encoded;

bool refuses(const Encoded& encoded) {
  return samples::refuses<Arrival>(encoded);
}

TEST(Arrivals, RoundTrip) {
  for (const Arrival& item : samples::arrivals()) {
    samples::check_round_trip(item, kArrivalHeaderBytesMax, item.length);
  }
}

TEST(Arrivals, TruncationAtEveryByteIsRefused) {
  for (const Arrival& item : samples::arrivals()) {
    samples::check_truncation(item);
  }
}

TEST(Arrivals, EveryKindHasASample) {
  bool seen[kArrivalKinds] = {};
  for (const Arrival& item : samples::arrivals()) {
    seen[static_cast<size_t>(item.kind)] = true;
  }
  for (const bool kind : seen) {
    EXPECT_TRUE(kind);
  }
}

TEST(Arrivals, DataIsBorrowedFromTheInput) {
  const Encoded encoded = samples::encode(samples::arrivals()[2]);
  Arrival decoded;
  ASSERT_NE(get_arrival(encoded.data(), encoded.data() + encoded.size(), &decoded), nullptr);
  EXPECT_EQ(decoded.data, encoded.data() + encoded.size() - decoded.length);
}

TEST(Arrivals, IdBeyond32BitsIsRefused) {
  uint8_t out[kVarintBytesMax];
  const size_t length =
      put_varint(out, (uint64_t{1} << 35) | static_cast<uint64_t>(ArrivalKind::kFin));
  EXPECT_TRUE(refuses(Encoded(out, out + length)));
}

TEST(Arrivals, EmptyAndOverlongDataAreRefused) {
  const uint8_t tag = 1 * 8 + static_cast<uint8_t>(ArrivalKind::kData);
  EXPECT_TRUE(refuses({tag, 0}));
  Encoded encoded = {tag, 0x81, 0x80, 0x04};  // 65,537
  encoded.resize(encoded.size() + kArrivalDataBytesMax + 1);
  EXPECT_TRUE(refuses(encoded));
  encoded[1] = 0x80;  // 65,536: the longest
  encoded.pop_back();
  EXPECT_FALSE(refuses(encoded));
}

TEST(Arrivals, ValuesOutOfBoundsAreRefused) {
  Arrival signal{.kind = ArrivalKind::kSignal, .id = 1, .value = 64};
  EXPECT_FALSE(refuses(samples::encode(signal)));
  for (const uint64_t value : {0, 65}) {
    signal.value = value;
    EXPECT_TRUE(refuses(samples::encode(signal))) << value;
  }
  Arrival reset{.kind = ArrivalKind::kReset, .id = 1, .value = 4095};
  EXPECT_FALSE(refuses(samples::encode(reset)));
  reset.value = 4096;
  EXPECT_TRUE(refuses(samples::encode(reset)));
}

TEST(Arrivals, OverlongAddressIsRefused) {
  Encoded encoded = samples::encode(
      Arrival{.kind = ArrivalKind::kBound, .id = 1, .value = 0, .local = samples::ipv6(1)});
  encoded[2] = kAddressBytesMax + 1;
  encoded.push_back(0);
  EXPECT_TRUE(refuses(encoded));
}

TEST(Arrivals, NonCanonicalVarintsAreRefused) {
  EXPECT_TRUE(refuses({0x80 | (1 * 8 + 2), 0x00}));    // the tag of a fin
  EXPECT_TRUE(refuses({1 * 8 + 4, 0x85, 0x00}));       // a credit of 5
  EXPECT_TRUE(refuses({1 * 8 + 1, 0x81, 0x00, 'x'}));  // data of 1
}

}  // namespace
}  // namespace ftrun
