// SPDX-License-Identifier: Apache-2.0
// What the application wrote to stdout and stderr, kept in bounded memory that is used as a ring.
// Every replica produces the same stream of chunks, so a position in it means the same in each
// spool: a reader that changes from one replica's to another's loses and doubles nothing, unless it
// fell behind by more than the ring. Written by the supervisor, read by ftrun and ftctl.
//
// It is a sealed memory file that ftrun makes and the supervisor inherits: a mapped file of the run
// directory would kill the supervisor as soon as somebody cuts it off. Once the unit has ended, a
// plain file of the same bytes is left (console.<id> in the run directory).
//
//   offset  bytes  field (little endian)
//        0      8  magic "FTCONS01"
//        8      8  capacity in bytes (of the ring)
//       16      8  position: bytes of the stream written so far
//     4096      n  ring: byte p of the stream stands at 4096 + p % capacity
//
//   stream = chunk*;  chunk = stream number (1 byte: 1 or 2), length (4 bytes), bytes
//
// ORDER: bytes first, then position (release): a reader never sees bytes that are not there. It
// reads position again after it has copied: what is older than `capacity` was overwritten.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "supervisor/base/result.h"
#include "supervisor/unit/core.h"

namespace ftrun {

inline constexpr uint64_t kConsoleMagic = 0x3130534e4f435446;
inline constexpr size_t kConsoleRingBytes = 1u << 20;
inline constexpr size_t kConsoleHeaderBytes = 4096;
inline constexpr size_t kConsoleChunkHeaderBytes = 5;

struct ConsoleHeader {
  uint64_t magic;
  uint64_t capacity;
  std::atomic<uint64_t> position;
};
static_assert(sizeof(ConsoleHeader) == 24);

class ConsoleSpool {
 public:
  static Result<ConsoleSpool> create();
  static Result<ConsoleSpool> attach(int fd);  // takes over `fd`, also on failure
  ConsoleSpool() = default;
  ConsoleSpool(ConsoleSpool&& other) noexcept;
  ConsoleSpool& operator=(ConsoleSpool&& other) noexcept;
  ~ConsoleSpool();
  int fd() const { return fd_; }
  void append(int stream, unit::Bytes data);
  // The whole of it, for the file that is left. REQUIRES: its writer has ended, or asks.
  std::string_view contents() const;

 private:
  Result<void> map();
  void put(uint64_t position, const void* data, size_t bytes);
  int fd_ = -1;
  uint8_t* memory_ = nullptr;
};

// Follows the spools of a unit's replicas in turn: one stream position for all of them.
class ConsoleReader {
 public:
  // Goes on in this replica's spool; the position stays. Of a file that others can cut off a copy
  // is read, as it is now. Unchanged on failure; `fd` stays the caller's.
  Result<void> open(int fd);
  ConsoleReader() = default;
  ConsoleReader(const ConsoleReader&) = delete;
  ConsoleReader& operator=(const ConsoleReader&) = delete;
  ~ConsoleReader();
  // The next chunk, or false when there is none now. `lost` is set to the number of stream bytes
  // that were overwritten before they could be read (0 normally).
  bool next(int* stream, std::string* data, uint64_t* lost);
  uint64_t position() const { return position_; }

 private:
  void get(uint64_t position, void* data, size_t bytes) const;
  const uint8_t* memory_ = nullptr;
  uint64_t position_ = 0;
};

}  // namespace ftrun
