// SPDX-License-Identifier: Apache-2.0
// As decoders.h, for a console spool: a file that is read as a ring while somebody writes it. Runs
// in fuzz targets.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "supervisor/operator/console_spool.h"
#include "tests/fuzz/decoders.h"

namespace ftrun::fuzz {

// The first 8 bytes are the position in a header that passes; the others stand at the start of the
// ring.
inline void console(const uint8_t* data, size_t size) {
  constexpr size_t kPositionBytes = sizeof(uint64_t);
  static const int file = memfd_create("console", MFD_CLOEXEC);
  require(file >= 0 && ftruncate(file, 0) == 0 &&
              ftruncate(file, kConsoleHeaderBytes + kConsoleRingBytes) == 0,
          "an empty spool");
  uint64_t header[3] = {kConsoleMagic, kConsoleRingBytes, 0};
  if (size >= kPositionBytes) {
    memcpy(&header[2], data, kPositionBytes);
    data += kPositionBytes;
    size -= kPositionBytes;
  }
  require(pwrite(file, header, sizeof header, 0) == sizeof header &&
              pwrite(file, data, size, kConsoleHeaderBytes) == static_cast<ssize_t>(size),
          "a spool with content");
  ConsoleReader reader;
  require(reader.open(file).ok(), "a spool that opens");
  int stream = 0;
  std::string bytes;
  uint64_t lost = 0;
  uint64_t before = 0;
  while (reader.next(&stream, &bytes, &lost)) {
    require(stream == 1 || stream == 2, "a stream that there is");
    require(bytes.size() <= kOutputDataBytesMax && lost == 0, "bounded data");
    require(reader.position() == before + kConsoleChunkHeaderBytes + bytes.size(),
            "progress by one chunk");
    before = reader.position();
  }
  require(reader.position() == before + lost && reader.position() <= header[2],
          "it stays within what was written");
}

}  // namespace ftrun::fuzz
