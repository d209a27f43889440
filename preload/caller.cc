// SPDX-License-Identifier: Apache-2.0
// Names the object from which a denied call came: see start.h. Runs in the application
// with the token held; no libc. What it says may go into the output, so it depends only on what all
// replicas have alike: of /proc/self/maps, the addresses and the names.
#include <fcntl.h>

#include "preload/raw.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

constexpr size_t kLineBytesMax = 512;

// One line of /proc/self/maps, as far as it fits.
struct MapsLine {
  char text[kLineBytesMax];
  size_t length;

  // "begin-end permissions ..."
  bool contains(uint64_t address) const {
    uint64_t bounds[2] = {0, 0};
    size_t cursor = 0;
    for (uint64_t& bound : bounds) {
      for (; cursor < length && text[cursor] != '-' && text[cursor] != ' '; ++cursor) {
        const char c = text[cursor];
        bound = bound * 16 + static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
      }
      ++cursor;
    }
    return address >= bounds[0] && address < bounds[1];
  }
  // The last word; empty for anonymous memory.
  const char* name() {
    text[length] = '\0';
    size_t at = length;
    while (at > 0 && text[at - 1] != ' ') {
      --at;
    }
    return text + at;
  }
};

// The mapping that contains `address` into `line`.
bool find_mapping(uint64_t address, MapsLine* line) {
  // Static: 4 KiB are much on a stack of 64, and only the token's holder is here.
  static char chunk[4096];
  const long fd = raw(__NR_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY);
  bool found = false;
  line->length = 0;
  for (long n = 1; n > 0 && !found;) {
    n = raw(__NR_read, fd, chunk, sizeof(chunk));
    for (long i = 0; i < n && !found; ++i) {
      if (chunk[i] != '\n') {
        line->text[line->length] = chunk[i];
        // A longer line loses its end, which is the name's: what is said is then shorter, in all
        // replicas alike.
        line->length += line->length + 1 < kLineBytesMax ? 1 : 0;
      } else if (line->contains(address)) {
        found = true;
      } else {
        line->length = 0;
      }
    }
  }
  raw(__NR_close, fd);
  return found;
}

}  // namespace

const char* describe_caller() {
  static Text text;
  static MapsLine line;
  text = Text();
  const uint64_t address = self()->caller_address;
  if (find_mapping(address, &line)) {
    const char* name = line.name();
    text.add(", called from ").add(name[0] != '\0' ? name : "anonymous memory");
    text.add(" at ").hex(address);
  }
  return text.c_str();
}

const char* describe_caller_of_wrapper() {
  static Text text;
  static MapsLine line;
  text = Text();
  // The wrapper has no frame: what it returns to is on top of the stack.
  const auto* top = reinterpret_cast<const uint64_t*>(self()->caller_stack);
  if (find_mapping(reinterpret_cast<uint64_t>(top), &line) && find_mapping(*top, &line)) {
    const char* name = line.name();
    text.add(", called from ").add(name[0] != '\0' ? name : "anonymous memory");
  }
  return text.c_str();
}

}  // namespace ftrun::shim
