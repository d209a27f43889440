// SPDX-License-Identifier: Apache-2.0
// Tests of varints and zigzag. Runs in the test process only.
#include "eventlog/varint.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/unit/eventlog_samples.h"

namespace ftrun {
namespace {

using samples::Encoded;
using samples::ExactCopy;

Encoded put(uint64_t value) {
  uint8_t out[kVarintBytesMax];
  const size_t length = put_varint(out, value);
  return Encoded(out, out + length);
}

bool refused(const Encoded& encoded) {
  const ExactCopy copy(encoded.data(), encoded.size());
  uint64_t value = 0;
  return get_varint(copy.begin(), copy.end(), &value) == nullptr;
}

TEST(Varint, RoundTripAroundEveryBitLength) {
  std::vector<uint64_t> values = {0, UINT64_MAX};
  for (unsigned bit = 0; bit < 64; ++bit) {
    const uint64_t power = uint64_t{1} << bit;
    values.insert(values.end(), {power - 1, power, power + 1});
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 10'000; ++i) {
    values.push_back(random() >> (random() % 64));
  }
  for (const uint64_t value : values) {
    const Encoded encoded = put(value);
    const ExactCopy copy(encoded.data(), encoded.size());
    uint64_t decoded = ~value;
    ASSERT_EQ(get_varint(copy.begin(), copy.end(), &decoded), copy.end());
    ASSERT_EQ(decoded, value);
  }
}

TEST(Varint, LengthGrowsBySevenBits) {
  EXPECT_EQ(put(0).size(), 1u);
  EXPECT_EQ(put(127).size(), 1u);
  EXPECT_EQ(put(128).size(), 2u);
  EXPECT_EQ(put(16383).size(), 2u);
  EXPECT_EQ(put(16384).size(), 3u);
  EXPECT_EQ(put(UINT64_MAX).size(), kVarintBytesMax);
}

TEST(Varint, TruncationIsRefused) {
  for (const uint64_t value : {uint64_t{0}, uint64_t{300}, UINT64_MAX}) {
    Encoded encoded = put(value);
    while (!encoded.empty()) {
      encoded.pop_back();
      EXPECT_TRUE(refused(encoded));
    }
  }
}

TEST(Varint, OnlyTheShortestFormIsAccepted) {
  EXPECT_TRUE(refused({0x80, 0x00}));        // 0 in two bytes
  EXPECT_TRUE(refused({0x81, 0x80, 0x00}));  // 1 in three bytes
  Encoded encoded = put(UINT64_MAX >> 1);
  encoded.back() |= 0x80;
  encoded.push_back(0x00);
  EXPECT_TRUE(refused(encoded));
}

TEST(Varint, OverflowIsRefused) {
  Encoded encoded(9, 0xff);
  encoded.push_back(0x02);  // bit 64
  EXPECT_TRUE(refused(encoded));
  EXPECT_TRUE(refused(Encoded(11, 0xff)));
  Encoded eleven(10, 0x80);
  eleven.push_back(0x01);
  EXPECT_TRUE(refused(eleven));
}

TEST(Varint, ARefusedValueIsLeftAlone) {
  const uint8_t cut[] = {0x80};
  uint64_t value = 42;
  EXPECT_EQ(get_varint(cut, cut + 1, &value), nullptr);
  EXPECT_EQ(value, 42u);
}

TEST(Zigzag, SmallMagnitudesAreSmall) {
  EXPECT_EQ(zigzag(0), 0u);
  EXPECT_EQ(zigzag(-1), 1u);
  EXPECT_EQ(zigzag(1), 2u);
  EXPECT_EQ(zigzag(-2), 3u);
  EXPECT_EQ(zigzag(INT64_MAX), UINT64_MAX - 1);
  EXPECT_EQ(zigzag(INT64_MIN), UINT64_MAX);
  for (const int64_t value : {int64_t{0}, int64_t{-1}, int64_t{77}, INT64_MIN, INT64_MAX}) {
    EXPECT_EQ(unzigzag(zigzag(value)), value);
  }
}

}  // namespace
}  // namespace ftrun
