// SPDX-License-Identifier: Apache-2.0
// One function per decoder of eventlog: feeds it arbitrary bytes and aborts when a promise is
// broken (it stays within its input, what it accepts encodes to the very same bytes, lengths are
// bounded). Shared by the fuzz targets and by a unit test; runs in those processes only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "eventlog/arrivals.h"
#include "eventlog/output.h"
#include "eventlog/records.h"

namespace ftrun::fuzz {

inline void require(bool condition, const char* promise) {
  if (!condition) {
    fprintf(stderr, "broken promise: %s\n", promise);
    abort();
  }
}

// The bytes before the payload must be what the encoder writes for the decoded item.
inline void require_same_header(const uint8_t* cursor, const uint8_t* next, const uint8_t* header,
                                size_t header_length, size_t payload_length) {
  require(static_cast<size_t>(next - cursor) == header_length + payload_length, "same length");
  require(memcmp(cursor, header, header_length) == 0, "the same bytes when encoded again");
}

inline void varint(const uint8_t* data, size_t size) {
  const uint8_t* const end = data + size;
  while (data < end) {
    uint64_t value = 0;
    const uint8_t* next = get_varint(data, end, &value);
    if (next == nullptr) {
      return;
    }
    require(next > data && next <= end, "progress within the input");
    uint8_t out[kVarintBytesMax];
    require_same_header(data, next, out, put_varint(out, value), 0);
    data = next;
  }
}

inline void arrivals(const uint8_t* data, size_t size) {
  const uint8_t* const end = data + size;
  while (data < end) {
    Arrival item;
    const uint8_t* next = get_arrival(data, end, &item);
    if (next == nullptr) {
      return;
    }
    require(next > data && next <= end, "progress within the input");
    require(item.length <= kArrivalDataBytesMax, "bounded data");
    require(item.length == 0 || (item.data >= data && item.data + item.length == next),
            "data lies in the input");
    uint8_t header[kArrivalHeaderBytesMax];
    require_same_header(data, next, header, put_arrival_header(header, item), item.length);
    data = next;
  }
}

inline void output(const uint8_t* data, size_t size) {
  const uint8_t* const end = data + size;
  while (data < end) {
    Output entry;
    const uint8_t* next = get_output(data, end, &entry);
    if (next == nullptr) {
      return;
    }
    require(next > data && next <= end, "progress within the input");
    require(entry.length <= kOutputDataBytesMax, "bounded data");
    uint8_t header[kOutputHeaderBytesMax];
    require_same_header(data, next, header, put_output_header(header, entry), entry.length);
    data = next;
  }
}

inline void records(const uint8_t* data, size_t size) {
  const uint8_t* const end = data + size;
  while (data < end) {
    Record record;
    const uint8_t* next = get_record(data, end, &record);
    if (next == nullptr) {
      return;
    }
    require(next > data && next <= end, "progress within the input");
    require(record.length <= kArrivalsBytesMax, "bounded payload");
    uint8_t header[kRecordHeaderBytesMax];
    require_same_header(data, next, header, put_record_header(header, record), record.length);
    if (record.kind == RecordKind::kArrivals) {
      arrivals(record.payload, record.length);
    }
    data = next;
  }
}

}  // namespace ftrun::fuzz
