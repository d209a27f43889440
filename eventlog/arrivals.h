// SPDX-License-Identifier: Apache-2.0
// Arrivals: everything that happens *to* the process (DESIGN door 1). One encoding serves three
// places: the input ring (supervisor to primary), the arrivals record of the log, and the link
// frames from the edge to the primary. Runs in the shim and in the supervisor: no libc.
//
// Grammar (all integers varint):
//   item  = tag fields          tag = id * 8 + kind, where id is the connection or socket
//   open  = listener addr addr  addresses: local, then peer; addr = length byte, sockaddr bytes
//   data  = length bytes
//   fin   =                     the peer will send no more
//   reset = errno               the connection is gone; errno as read() reports it
//   credit = position           output of this connection written to the world so far, in bytes
//   signal = number             id is the signal's sequence number in the unit, from 1
//   bound = errno addr          the answer to a bind or listen; id is the socket; addr as
//   getsockname urgent = position byte      TCP urgent data: the input byte at this position is
//   urgent, and is
//                               `byte`; it comes before the data that it stands in
#pragma once

#include "eventlog/varint.h"

namespace ftrun {

// A connection's name in the unit, given by the edge that accepted it; never used twice. Sockets
// that the application makes (listeners) have ids of their own, given by the shim in order.
using ConnectionId = uint32_t;

enum class ArrivalKind : uint8_t {
  kOpen = 0,
  kData = 1,
  kFin = 2,
  kReset = 3,
  kCredit = 4,
  kSignal = 5,
  kBound = 6,
  kUrgent = 7,
};
inline constexpr unsigned kArrivalKinds = 8;    // as many as a tag can name
inline constexpr size_t kAddressBytesMax = 28;  // sockaddr_in6

struct Address {
  uint8_t length = 0;  // bytes used of `bytes`; a sockaddr_in or sockaddr_in6, padding zeroed
  uint8_t bytes[kAddressBytesMax] = {};
};

// The errno of a reset by the unit itself (ECONNABORTED): the application sees ECONNRESET, and
// nothing of the input that it has not read.
inline constexpr int kResetAndDiscard = 103;

struct Arrival {
  ArrivalKind kind = ArrivalKind::kOpen;
  uint32_t id = 0;                // connection; signal sequence number; socket of a bound
  uint32_t listener = 0;          // open
  uint64_t value = 0;             // credit, urgent: position; reset, bound: errno; signal: number
  uint8_t urgent_byte = 0;        // urgent
  const uint8_t* data = nullptr;  // data: borrowed from the buffer that was decoded
  size_t length = 0;              // data
  Address local;                  // open, bound
  Address peer;                   // open
};

// Upper bound of an encoded item, without the bytes of data.
inline constexpr size_t kArrivalHeaderBytesMax = 3 * kVarintBytesMax + 2 * (1 + kAddressBytesMax);
// Longest data item; edges and supervisors cut longer input into several.
inline constexpr size_t kArrivalDataBytesMax = 64 * 1024;

inline size_t put_address(uint8_t* out, const Address& address) {
  out[0] = address.length;
  for (size_t i = 0; i < address.length; ++i) {
    out[1 + i] = address.bytes[i];
  }
  return 1u + address.length;
}

inline const uint8_t* get_address(const uint8_t* cursor, const uint8_t* end, Address* address) {
  if (cursor >= end || *cursor > kAddressBytesMax || end - cursor < 1 + *cursor) {
    return nullptr;
  }
  address->length = *cursor++;
  for (size_t i = 0; i < address->length; ++i) {
    address->bytes[i] = cursor[i];
  }
  return cursor + address->length;
}

// Encodes `item` (but for the bytes of data, which the caller appends). Returns bytes written.
// REQUIRES: kArrivalHeaderBytesMax bytes of room.
inline size_t put_arrival_header(uint8_t* out, const Arrival& item) {
  size_t n = put_varint(out, static_cast<uint64_t>(item.id) * 8 + static_cast<uint64_t>(item.kind));
  switch (item.kind) {
    case ArrivalKind::kOpen:
      n += put_varint(out + n, item.listener);
      n += put_address(out + n, item.local);
      n += put_address(out + n, item.peer);
      break;
    case ArrivalKind::kData:
      n += put_varint(out + n, item.length);
      break;
    case ArrivalKind::kFin:
      break;
    case ArrivalKind::kReset:
    case ArrivalKind::kCredit:
    case ArrivalKind::kSignal:
      n += put_varint(out + n, item.value);
      break;
    case ArrivalKind::kBound:
      n += put_varint(out + n, item.value);
      n += put_address(out + n, item.local);
      break;
    case ArrivalKind::kUrgent:
      n += put_varint(out + n, item.value);
      out[n++] = item.urgent_byte;
      break;
  }
  return n;
}

// Decodes one item. Returns the byte after it (after the bytes of data), or nullptr if [cursor,
// end) does not start with a whole valid item. `item->data` points into the input.
inline const uint8_t* get_arrival(const uint8_t* cursor, const uint8_t* end, Arrival* item) {
  uint64_t tag = 0;
  uint64_t value = 0;
  cursor = get_varint(cursor, end, &tag);
  if (cursor == nullptr || (tag >> 3) > UINT32_MAX) {
    return nullptr;
  }
  *item = Arrival{};
  item->kind = static_cast<ArrivalKind>(tag & 7);
  item->id = static_cast<uint32_t>(tag >> 3);
  if (item->kind == ArrivalKind::kFin) {
    return cursor;
  }
  cursor = get_varint(cursor, end, &value);
  if (cursor == nullptr) {
    return nullptr;
  }
  item->value = value;
  switch (item->kind) {
    case ArrivalKind::kOpen:
      if (value > UINT32_MAX) {
        return nullptr;
      }
      item->listener = static_cast<uint32_t>(value);
      cursor = get_address(cursor, end, &item->local);
      return cursor == nullptr ? nullptr : get_address(cursor, end, &item->peer);
    case ArrivalKind::kData:
      if (value == 0 || value > kArrivalDataBytesMax ||
          value > static_cast<uint64_t>(end - cursor)) {
        return nullptr;
      }
      item->data = cursor;
      item->length = value;
      return cursor + value;
    case ArrivalKind::kReset:
    case ArrivalKind::kBound:
      if (value > 4095) {
        return nullptr;
      }
      return item->kind == ArrivalKind::kReset ? cursor : get_address(cursor, end, &item->local);
    case ArrivalKind::kSignal:
      return value >= 1 && value <= 64 ? cursor : nullptr;
    case ArrivalKind::kUrgent:
      if (cursor == end) {
        return nullptr;
      }
      item->urgent_byte = *cursor++;
      return cursor;
    case ArrivalKind::kCredit:
    case ArrivalKind::kFin:
      return cursor;
  }
  return nullptr;
}

}  // namespace ftrun
