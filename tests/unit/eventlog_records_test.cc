// SPDX-License-Identifier: Apache-2.0
// Tests of the encoding of log records. Runs in the test process only.
#include "eventlog/records.h"

#include <gtest/gtest.h>

#include "tests/unit/eventlog_codec_checks.h"

namespace ftrun {
namespace {

using samples::Encoded;

bool refuses(const Encoded& encoded) {
  return samples::refuses<Record>(encoded);
}

TEST(Records, RoundTrip) {
  for (const Record& record : samples::records()) {
    samples::check_round_trip(record, kRecordHeaderBytesMax, record.length);
  }
}

TEST(Records, TruncationAtEveryByteIsRefused) {
  for (const Record& record : samples::records()) {
    samples::check_truncation(record);
  }
}

TEST(Records, EveryKindHasASample) {
  bool seen[16] = {};
  for (const Record& record : samples::records()) {
    seen[static_cast<size_t>(record.kind)] = true;
  }
  for (size_t kind = 1; kind <= static_cast<size_t>(RecordKind::kExit); ++kind) {
    EXPECT_TRUE(seen[kind]) << kind;
  }
}

TEST(Records, CommonOnesAreSmall) {
  EXPECT_EQ(samples::encode(Record{.kind = RecordKind::kTurnEndIngest, .delta = 14}).size(), 1u);
  EXPECT_EQ(
      samples::encode(Record{.kind = RecordKind::kTime, .delta = 1, .now_delta_ns = 9'000}).size(),
      3u);
}

TEST(Records, UnknownKindsAreRefused) {
  for (const uint8_t kind : {0, 10, 11, 12, 13, 14, 15}) {
    EXPECT_TRUE(refuses({kind, 0, 0, 0, 0, 0, 0})) << int{kind};
  }
}

TEST(Records, ACallDeltaThatOverflowsIsRefused) {
  Encoded encoded = {static_cast<uint8_t>(0xf0 | static_cast<uint8_t>(RecordKind::kTurnEndIdle))};
  uint8_t out[kVarintBytesMax];
  size_t length = put_varint(out, UINT64_MAX - 15);
  Encoded fits = encoded;
  fits.insert(fits.end(), out, out + length);
  EXPECT_FALSE(refuses(fits));
  length = put_varint(out, UINT64_MAX - 14);
  encoded.insert(encoded.end(), out, out + length);
  EXPECT_TRUE(refuses(encoded));
}

TEST(Records, MoreItemsThanBytesAreRefused) {
  const Encoded item = samples::encode(samples::arrivals()[2]);
  Record record{.kind = RecordKind::kArrivals,
                .now_delta_ns = 1,
                .count = item.size(),
                .payload = item.data(),
                .length = item.size()};
  EXPECT_FALSE(refuses(samples::encode(record)));
  record.count = item.size() + 1;
  EXPECT_TRUE(refuses(samples::encode(record)));
}

TEST(Records, OverlongPayloadsAreRefused) {
  const Encoded longest(kArrivalsBytesMax + 1);
  Record record{
      .kind = RecordKind::kArrivals, .payload = longest.data(), .length = kArrivalsBytesMax};
  EXPECT_FALSE(refuses(samples::encode(record)));
  ++record.length;
  EXPECT_TRUE(refuses(samples::encode(record)));
  record = {
      .kind = RecordKind::kChoice, .payload = longest.data(), .length = kChoicePayloadBytesMax + 1};
  EXPECT_TRUE(refuses(samples::encode(record)));
}

TEST(Records, NonCanonicalVarintsAreRefused) {
  EXPECT_TRUE(refuses({static_cast<uint8_t>(RecordKind::kTime), 0x85, 0x00}));
  EXPECT_TRUE(refuses({static_cast<uint8_t>(RecordKind::kSwitch), 0x80, 0x00}));
  EXPECT_TRUE(refuses(
      {static_cast<uint8_t>(0xf0 | static_cast<uint8_t>(RecordKind::kTurnEndCut)), 0x81, 0x00}));
}

}  // namespace
}  // namespace ftrun
