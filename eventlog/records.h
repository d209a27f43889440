// SPDX-License-Identifier: Apache-2.0
// Log records: what the primary's shim writes and a secondary's shim replays. Runs in the shim (any
// thread that holds the token, also inside the SIGSYS handler) and in the supervisor, which only
// reads arrivals out of them. No libc, no allocation. Grammar with a worked example:
// docs/log_format.md.
//
//   record = header fields       header byte = kind | delta << 4
//   delta: intercepted calls of this thread since its last record; 15 = a varint (delta - 15)
//   follows the header byte. Only the token's holder writes records, so no record names its thread.
//
//   start     = version flags now_ns realtime_offset_ns    first record of every log (delta 0)
//   turn ends = (no fields)      at an ingest point, when no thread can run, or cut by time or size
//   arrivals  = now_delta_ns count bytes_total items       see arrivals.h; bytes_total covers items
//   time      = now_delta_ns     a clock that moved on inside a turn
//   choice    = number result(zigzag) length bytes         number: of the system call
//   switch    = thread           the token goes to this thread (index in order of creation)
//   exit      = status           the process ends here
//
// A log is published in whole turns: what is visible always ends with a turn end or an exit. With
// early logging an application's ring shows its records as they are written.
// Version rule: a reader refuses a start record with another version; records of unknown kind are
// an error, never skipped.
#pragma once

#include "eventlog/arrivals.h"

namespace ftrun {

inline constexpr uint32_t kLogVersion = 2;

enum class RecordKind : uint8_t {
  kStart = 1,
  kTurnEndIngest = 2,
  kTurnEndIdle = 3,
  kTurnEndCut = 4,
  kArrivals = 5,
  kTime = 6,
  kChoice = 7,
  kSwitch = 8,
  kExit = 9,
};
// Whether a turn is complete with such a record.
constexpr bool ends_turn(RecordKind kind) {
  return kind == RecordKind::kTurnEndIngest || kind == RecordKind::kTurnEndIdle ||
         kind == RecordKind::kTurnEndCut || kind == RecordKind::kExit;
}

// A decoded record. `items` and `payload` point into the input.
struct Record {
  RecordKind kind = RecordKind::kStart;
  uint64_t delta = 0;
  uint64_t now_delta_ns = 0;  // arrivals, time; start: now_ns
  uint64_t count = 0;         // arrivals: items; switch: thread; start: version; exit: status
  uint64_t number = 0;        // choice; start: flags
  int64_t result = 0;         // choice; start: realtime offset in ns
  const uint8_t* payload = nullptr;  // choice: bytes; arrivals: encoded items
  size_t length = 0;                 // of payload
};

inline constexpr size_t kRecordHeaderBytesMax = 1 + 5 * kVarintBytesMax;
// Longest payload of a choice; longer results are several choices of one call.
inline constexpr size_t kChoicePayloadBytesMax = 64 * 1024;
// Most bytes of items in one arrivals record.
inline constexpr size_t kArrivalsBytesMax = 512 * 1024;

// The header of a record and the varint that may belong to it. REQUIRES: kind < 16.
inline size_t put_record_start(uint8_t* out, uint8_t kind, uint64_t delta) {
  if (delta < 15) {
    out[0] = static_cast<uint8_t>(kind | delta << 4);
    return 1;
  }
  out[0] = static_cast<uint8_t>(kind | 15 << 4);
  return 1 + put_varint(out + 1, delta - 15);
}

// As get_record(), for what put_record_start() encodes.
inline const uint8_t* get_record_start(const uint8_t* cursor, const uint8_t* end, uint8_t* kind,
                                       uint64_t* delta) {
  if (cursor >= end) {
    return nullptr;
  }
  const uint8_t header = *cursor++;
  *kind = header & 15;
  *delta = header >> 4;
  if (*delta == 15) {
    uint64_t more = 0;
    cursor = get_varint(cursor, end, &more);
    if (cursor == nullptr || more > UINT64_MAX - 15) {
      return nullptr;
    }
    *delta += more;
  }
  return cursor;
}

// Encodes everything but the payload, which the caller appends. Returns bytes written.
// REQUIRES: kRecordHeaderBytesMax bytes of room.
inline size_t put_record_header(uint8_t* out, const Record& record) {
  size_t n = put_record_start(out, static_cast<uint8_t>(record.kind), record.delta);
  switch (record.kind) {
    case RecordKind::kStart:
      n += put_varint(out + n, record.count);
      n += put_varint(out + n, record.number);
      n += put_varint(out + n, record.now_delta_ns);
      n += put_varint(out + n, zigzag(record.result));
      break;
    case RecordKind::kTurnEndIngest:
    case RecordKind::kTurnEndIdle:
    case RecordKind::kTurnEndCut:
      break;
    case RecordKind::kArrivals:
      n += put_varint(out + n, record.now_delta_ns);
      n += put_varint(out + n, record.count);
      n += put_varint(out + n, record.length);
      break;
    case RecordKind::kTime:
      n += put_varint(out + n, record.now_delta_ns);
      break;
    case RecordKind::kChoice:
      n += put_varint(out + n, record.number);
      n += put_varint(out + n, zigzag(record.result));
      n += put_varint(out + n, record.length);
      break;
    case RecordKind::kSwitch:
    case RecordKind::kExit:
      n += put_varint(out + n, record.count);
      break;
  }
  return n;
}

// Decodes one record. Returns the byte after it, or nullptr if [cursor, end) does not start with a
// whole valid record. Items of an arrivals record are checked only for their total length here.
inline const uint8_t* get_record(const uint8_t* cursor, const uint8_t* end, Record* record) {
  *record = Record{};
  uint8_t kind = 0;
  if ((cursor = get_record_start(cursor, end, &kind, &record->delta)) == nullptr) {
    return nullptr;
  }
  record->kind = static_cast<RecordKind>(kind);
  uint64_t value = 0;
  switch (record->kind) {
    case RecordKind::kStart:
      if ((cursor = get_varint(cursor, end, &record->count)) == nullptr ||
          (cursor = get_varint(cursor, end, &record->number)) == nullptr ||
          (cursor = get_varint(cursor, end, &record->now_delta_ns)) == nullptr ||
          (cursor = get_varint(cursor, end, &value)) == nullptr) {
        return nullptr;
      }
      record->result = unzigzag(value);
      return cursor;
    case RecordKind::kTurnEndIngest:
    case RecordKind::kTurnEndIdle:
    case RecordKind::kTurnEndCut:
      return cursor;
    case RecordKind::kArrivals:
      if ((cursor = get_varint(cursor, end, &record->now_delta_ns)) == nullptr ||
          (cursor = get_varint(cursor, end, &record->count)) == nullptr ||
          (cursor = get_varint(cursor, end, &value)) == nullptr || value > kArrivalsBytesMax ||
          record->count > value || value > static_cast<uint64_t>(end - cursor)) {
        return nullptr;
      }
      record->payload = cursor;
      record->length = value;
      return cursor + value;
    case RecordKind::kTime:
      return get_varint(cursor, end, &record->now_delta_ns);
    case RecordKind::kChoice:
      if ((cursor = get_varint(cursor, end, &record->number)) == nullptr ||
          (cursor = get_varint(cursor, end, &value)) == nullptr) {
        return nullptr;
      }
      record->result = unzigzag(value);
      if ((cursor = get_varint(cursor, end, &value)) == nullptr || value > kChoicePayloadBytesMax ||
          value > static_cast<uint64_t>(end - cursor)) {
        return nullptr;
      }
      record->payload = cursor;
      record->length = value;
      return cursor + value;
    case RecordKind::kSwitch:
    case RecordKind::kExit:
      return get_varint(cursor, end, &record->count);
  }
  return nullptr;
}

}  // namespace ftrun
