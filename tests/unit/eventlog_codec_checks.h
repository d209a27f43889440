// SPDX-License-Identifier: Apache-2.0
// What must hold for every decoder of eventlog, written once. Runs in the test process only.
#pragma once

#include <gtest/gtest.h>

#include "tests/unit/eventlog_samples.h"

namespace ftrun::samples {

// Encoding, decoding and encoding again gives the same, and takes exactly its own bytes.
template <typename Item>
void check_round_trip(const Item& item, size_t header_bytes_max, size_t payload) {
  const Encoded encoded = encode(item);
  ASSERT_LE(encoded.size(), header_bytes_max + payload);
  Encoded longer = encoded;
  longer.push_back(0x55);
  const ExactCopy copy(longer.data(), longer.size());
  Item decoded;
  const uint8_t* after = decode(copy.begin(), copy.end(), &decoded);
  ASSERT_EQ(after, copy.begin() + encoded.size());
  EXPECT_TRUE(same(item, decoded));
  EXPECT_EQ(encode(decoded), encoded);
}

// Cut at any byte it is refused, not read beyond its end, and no shorter item is seen in it.
template <typename Item>
void check_truncation(const Item& item) {
  const Encoded encoded = encode(item);
  // Long payloads: the header and the edges are enough, a copy for each byte would be slow.
  for (size_t length = 0; length < encoded.size();
       length += (length > 100 && length + 1000 < encoded.size()) ? 997 : 1) {
    const ExactCopy copy(encoded.data(), length);
    Item decoded;
    EXPECT_EQ(decode(copy.begin(), copy.end(), &decoded), nullptr)
        << "kind " << static_cast<int>(item.kind) << " cut at " << length;
  }
}

// Decodes `encoded`; true if it is refused.
template <typename Item>
bool refuses(const Encoded& encoded) {
  const ExactCopy copy(encoded.data(), encoded.size());
  Item decoded;
  return decode(copy.begin(), copy.end(), &decoded) == nullptr;
}

}  // namespace ftrun::samples
