// SPDX-License-Identifier: Apache-2.0
// Output entries: effects that the application has on the world, in the order in which it issued
// them. Every replica produces the same bytes; the supervisor of the sender carries them out once
// the turn's digest agrees. Runs in the shim and in the supervisor: no libc.
//
// Grammar (all integers varint):
//   entry    = tag fields        tag = id * 16 + kind
//   mark     = log_position lsn  end of a turn (id = 0): all entries before it belong to it
//   write    = length bytes      id = connection
//   shutdown =                   no more output on this connection (after what was written)
//   close    = consumed          id = connection; input bytes the application took, in all
//   consumed = consumed          id = connection; as above, while it is open (window updates)
//   bind     = flags addr        id = socket; answered by a `bound` arrival
//   listen   = backlog           id = socket
//   unlisten =                   id = socket; the application closed the bound or listening socket
//   option   = level name length bytes   id = connection, or socket | kOptionOfSocket (limits.h); a
//                                        setsockopt for the kernel's
//   console  = length bytes      id = 1 (stdout) or 2 (stderr)
//   exit     = status            the process ends: exit code, or 128 + signal
//   notice   = length bytes      a line for the unit's events (refused calls and the like)
//   urgent   = length bytes      a write whose last byte is TCP urgent data
//   accepted =                   the application has accepted connection id
#pragma once

#include "eventlog/arrivals.h"

namespace ftrun {

enum class OutputKind : uint8_t {
  kMark = 0,
  kWrite = 1,
  kShutdown = 2,
  kClose = 3,
  kConsumed = 4,
  kBind = 5,
  kListen = 6,
  kUnlisten = 7,
  kOption = 8,
  kConsole = 9,
  kExit = 10,
  kNotice = 11,
  kUrgent = 12,
  kAccepted = 13,
};
inline constexpr unsigned kOutputKinds = 14;

// Flags of a bind.
inline constexpr uint32_t kBindReuseAddress = 1;
inline constexpr uint32_t kBindReusePort = 2;
inline constexpr uint32_t kBindV6Only = 4;

struct Output {
  OutputKind kind = OutputKind::kMark;
  uint32_t id = 0;
  uint64_t value = 0;   // mark: log position; close, consumed: bytes; bind: flags; listen: backlog;
                        // exit: status; option: level
  uint64_t value2 = 0;  // mark: lsn; option: name
  const uint8_t* data = nullptr;  // write, urgent, option, console, notice: borrowed
  size_t length = 0;
  Address address;  // bind
};

inline constexpr size_t kOutputHeaderBytesMax = 4 * kVarintBytesMax + 1 + kAddressBytesMax;
// Longest data in one entry; the shim cuts longer writes.
inline constexpr size_t kOutputDataBytesMax = 64 * 1024;

// Encodes all but the data bytes, which the caller appends. Returns bytes written.
// REQUIRES: kOutputHeaderBytesMax bytes of room.
inline size_t put_output_header(uint8_t* out, const Output& entry) {
  size_t n =
      put_varint(out, static_cast<uint64_t>(entry.id) * 16 + static_cast<uint64_t>(entry.kind));
  switch (entry.kind) {
    case OutputKind::kMark:
      n += put_varint(out + n, entry.value);
      n += put_varint(out + n, entry.value2);
      break;
    case OutputKind::kWrite:
    case OutputKind::kConsole:
    case OutputKind::kNotice:
    case OutputKind::kUrgent:
      n += put_varint(out + n, entry.length);
      break;
    case OutputKind::kShutdown:
    case OutputKind::kUnlisten:
    case OutputKind::kAccepted:
      break;
    case OutputKind::kClose:
    case OutputKind::kConsumed:
    case OutputKind::kListen:
    case OutputKind::kExit:
      n += put_varint(out + n, entry.value);
      break;
    case OutputKind::kBind:
      n += put_varint(out + n, entry.value);
      n += put_address(out + n, entry.address);
      break;
    case OutputKind::kOption:
      n += put_varint(out + n, entry.value);
      n += put_varint(out + n, entry.value2);
      n += put_varint(out + n, entry.length);
      break;
  }
  return n;
}

// Decodes one entry; nullptr if [cursor, end) does not start with a whole valid entry.
inline const uint8_t* get_output(const uint8_t* cursor, const uint8_t* end, Output* entry) {
  uint64_t tag = 0;
  cursor = get_varint(cursor, end, &tag);
  if (cursor == nullptr || (tag & 15) >= kOutputKinds || (tag >> 4) > UINT32_MAX) {
    return nullptr;
  }
  *entry = Output{};
  entry->kind = static_cast<OutputKind>(tag & 15);
  entry->id = static_cast<uint32_t>(tag >> 4);
  if (entry->kind == OutputKind::kShutdown || entry->kind == OutputKind::kUnlisten ||
      entry->kind == OutputKind::kAccepted) {
    return cursor;
  }
  cursor = get_varint(cursor, end, &entry->value);
  if (cursor == nullptr) {
    return nullptr;
  }
  bool has_data = false;
  switch (entry->kind) {
    case OutputKind::kMark:
      return get_varint(cursor, end, &entry->value2);
    case OutputKind::kBind:
      return get_address(cursor, end, &entry->address);
    case OutputKind::kOption:
      cursor = get_varint(cursor, end, &entry->value2);
      if (cursor == nullptr) {
        return nullptr;
      }
      {
        uint64_t length = 0;
        cursor = get_varint(cursor, end, &length);
        entry->length = length;
      }
      has_data = true;
      break;
    case OutputKind::kWrite:
    case OutputKind::kConsole:
    case OutputKind::kNotice:
    case OutputKind::kUrgent:
      entry->length = entry->value;
      entry->value = 0;
      has_data = true;
      break;
    default:
      break;
  }
  if (!has_data || cursor == nullptr) {
    return cursor;
  }
  if (entry->length > kOutputDataBytesMax || entry->length > static_cast<size_t>(end - cursor)) {
    return nullptr;
  }
  entry->data = cursor;
  return cursor + entry->length;
}

}  // namespace ftrun
