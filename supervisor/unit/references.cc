// SPDX-License-Identifier: Apache-2.0
// Input by reference: see references.h. Pure.
#include "supervisor/unit/references.h"

#include <algorithm>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "eventlog/records.h"
#include "supervisor/base/result.h"
#include "supervisor/unit/limits.h"

namespace ftrun::unit {

namespace {

using Bytes = std::span<const uint8_t>;

constexpr uint8_t kReferredArrivals = 10;  // beside the kinds of RecordKind

// A referred arrivals record; record.payload and .length are the items that it carries itself.
struct ReferredRecord {
  Record record;
  uint64_t input = 0;
  uint32_t digest = 0;
};

void append(std::vector<uint8_t>* out, Bytes bytes) {
  out->insert(out->end(), bytes.begin(), bytes.end());
}

void append_varint(std::vector<uint8_t>* out, uint64_t value) {
  uint8_t bytes[kVarintBytesMax];
  append(out, {bytes, put_varint(bytes, value)});
}

uint32_t digest_of(Bytes bytes) {
  return static_cast<uint32_t>(XXH3_64bits(bytes.data(), bytes.size()));
}

void append_referred(std::vector<uint8_t>* out, const Record& record, size_t older) {
  const Bytes items(record.payload, record.length);
  const Bytes input = items.subspan(older);
  uint8_t start[1 + kVarintBytesMax];
  append(out, {start, put_record_start(start, kReferredArrivals, record.delta)});
  append_varint(out, record.now_delta_ns);
  append_varint(out, record.count);
  append_varint(out, older);
  append(out, items.first(older));
  append_varint(out, input.size());
  const uint32_t digest = digest_of(input);
  uint8_t bytes[sizeof digest];
  std::memcpy(bytes, &digest, sizeof digest);
  append(out, bytes);
}

bool is_referred(Bytes records) {
  uint8_t kind = 0;
  uint64_t delta = 0;
  return get_record_start(records.data(), records.data() + records.size(), &kind, &delta) !=
             nullptr &&
         kind == kReferredArrivals;
}

// As get_record(). REQUIRES: is_referred().
const uint8_t* get_referred(const uint8_t* cursor, const uint8_t* end, ReferredRecord* out) {
  Record& record = out->record;
  record = Record{};
  record.kind = RecordKind::kArrivals;
  uint8_t kind = 0;
  uint64_t length = 0;
  cursor = get_record_start(cursor, end, &kind, &record.delta);
  if ((cursor = get_varint(cursor, end, &record.now_delta_ns)) == nullptr ||
      (cursor = get_varint(cursor, end, &record.count)) == nullptr ||
      (cursor = get_varint(cursor, end, &length)) == nullptr ||
      length > static_cast<uint64_t>(end - cursor)) {
    return nullptr;
  }
  record.payload = cursor;
  record.length = length;
  cursor = get_varint(cursor + length, end, &out->input);
  if (cursor == nullptr || out->input == 0 ||
      static_cast<size_t>(end - cursor) < sizeof out->digest) {
    return nullptr;
  }
  std::memcpy(&out->digest, cursor, sizeof out->digest);
  return cursor + sizeof out->digest;
}

void append_whole(std::vector<uint8_t>* out, const ReferredRecord& referred, Bytes input) {
  Record record = referred.record;
  const Bytes carried(record.payload, record.length);
  record.length += input.size();
  uint8_t header[kRecordHeaderBytesMax];
  append(out, {header, put_record_header(header, record)});
  append(out, carried);
  append(out, input);
}

}  // namespace

void refer(Bytes turns, uint64_t older, uint64_t input, std::vector<uint8_t>* payload) {
  FTRUN_ASSERT(older < input);
  payload->clear();
  append_varint(payload, turns.size());
  append_varint(payload, input - older);
  const uint8_t* const end = turns.data() + turns.size();
  for (const uint8_t* cursor = turns.data(); cursor != end;) {
    Record record;
    const uint8_t* const next = get_record(cursor, end, &record);
    FTRUN_ASSERT(next != nullptr);
    const size_t items = record.kind == RecordKind::kArrivals ? record.length : 0;
    if (items > older) {
      append_referred(payload, record, older);
    } else {
      append(payload, {cursor, next});
    }
    older -= std::min<uint64_t>(older, items);
    cursor = next;
  }
}

bool read_referred(Bytes payload, Referred* referred) {
  const uint8_t* const end = payload.data() + payload.size();
  const uint8_t* cursor = get_varint(payload.data(), end, &referred->whole);
  if (cursor == nullptr || (cursor = get_varint(cursor, end, &referred->input)) == nullptr ||
      referred->whole > kTurnsBytesMax || referred->input >= referred->whole ||
      referred->input == 0) {
    return false;
  }
  referred->records = {cursor, end};
  return true;
}

Restored restore(const Referred& referred, Bytes feed, std::vector<uint8_t>* turns,
                 bool checks_digests) {
  FTRUN_ASSERT(feed.size() == referred.input);
  turns->clear();
  for (Bytes rest = referred.records; !rest.empty();) {
    const uint8_t* const end = rest.data() + rest.size();
    const uint8_t* next = nullptr;
    if (is_referred(rest)) {
      ReferredRecord record;
      next = get_referred(rest.data(), end, &record);
      if (next == nullptr || record.input > feed.size()) {
        return Restored::kInvalid;
      }
      const Bytes input = feed.first(record.input);
      if (checks_digests && digest_of(input) != record.digest) {
        return Restored::kDiffering;
      }
      feed = feed.subspan(record.input);
      append_whole(turns, record, input);
    } else {
      Record record;
      next = get_record(rest.data(), end, &record);
      if (next == nullptr) {
        return Restored::kInvalid;
      }
      append(turns, {rest.data(), next});
    }
    if (turns->size() > referred.whole) {
      return Restored::kInvalid;
    }
    rest = rest.subspan(static_cast<size_t>(next - rest.data()));
  }
  return feed.empty() && turns->size() == referred.whole ? Restored::kWhole : Restored::kInvalid;
}

}  // namespace ftrun::unit
