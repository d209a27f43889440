// SPDX-License-Identifier: Apache-2.0
// Compares all writable memory of two stopped processes that should be equal, word by word, and
// sorts what differs into the named exceptions and the rest.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "eventlog/shared_region.h"

namespace ftrun::replay {

struct Mapping {
  uint64_t begin = 0, end = 0;
  bool writable = false, shared = false;
  std::string name;
  std::vector<uint8_t> bytes;
};

// All of one process that may be compared.
struct MemoryImage {
  std::vector<Mapping> mappings;
  std::vector<uint64_t> live_stacks;  // of each thread: its stack pointer in the application
  // TSC readings between which the loader ran, before the shim.
  uint64_t loader_begin = 0, loader_end = 0;
};
MemoryImage read_memory(pid_t pid, const Control* control);

struct Comparison {
  uint64_t bytes_compared = 0;
  std::map<std::string, uint64_t> excepted;  // exception -> differing words
  std::vector<std::string> differences;      // one line for each other differing word (bounded)
  uint64_t differing_words = 0;
};
Comparison compare(const MemoryImage& primary, const MemoryImage& secondary);
void print_differences(const Comparison& comparison);

}  // namespace ftrun::replay
