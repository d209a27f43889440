// SPDX-License-Identifier: Apache-2.0
// See memory_compare.h. The exceptions are these and no others:
//   the shim's memory     its arena, its data and its word of thread-local storage; the region
//   dead stack            below the stack pointer that a thread had when it called the shim
//   ld.so's start time    one variable of the loader, a TSC reading from before the shim, and what
//                         the loader's frames left of such readings in slots of main's stack frames
//                         that nobody has written since
#include "tests/replay/memory_compare.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "preload/layout.h"
#include "preload/thread.h"

namespace ftrun::replay {
namespace {

constexpr uint64_t kPageBytes = 4096;

bool is_shims(const Mapping& mapping) {
  return mapping.begin == FTRUN_GATE_ADDRESS ||
         (mapping.begin >= FTRUN_ARENA_ADDRESS &&
          mapping.begin < FTRUN_ARENA_ADDRESS + FTRUN_ARENA_BYTES) ||
         (mapping.begin >= kRegionAddress && mapping.begin < kRegionAddress + region_map_bytes());
}

bool is_loader(const Mapping& mapping) {
  return mapping.name.find("ld-linux") != std::string::npos;
}

// A TSC reading, or a difference of two, taken while the loader ran.
bool is_reading(const MemoryImage& image, uint64_t word) {
  return (word >= image.loader_begin && word <= image.loader_end) ||
         word <= image.loader_end - image.loader_begin;
}

bool is_dead_stack(const MemoryImage& image, const Mapping& mapping, uint64_t address) {
  return std::any_of(image.live_stacks.begin(), image.live_stacks.end(), [&](uint64_t stack) {
    return stack >= mapping.begin && stack <= mapping.end && address < stack &&
           stack - address < (8u << 20);
  });
}

template <typename T>
bool read_at(int memory, uint64_t address, T* value) {
  return pread(memory, value, sizeof(T), static_cast<off_t>(address)) == sizeof(T);
}

// Where the library that is mapped from `base` on ends, to the page: its .bss is anonymous memory,
// and the kernel may have joined that to somebody else's behind it. 0: there is no library.
uint64_t end_of_library(int memory, uint64_t base) {
  Elf64_Ehdr header;
  uint64_t end = 0;
  if (!read_at(memory, base, &header)) {
    return 0;
  }
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part;
    if (read_at(memory, base + header.e_phoff + i * sizeof(part), &part) &&
        part.p_type == PT_LOAD) {
      end = std::max(end, base + part.p_vaddr + part.p_memsz);
    }
  }
  return (end + kPageBytes - 1) / kPageBytes * kPageBytes;
}

std::vector<uint64_t> live_stacks(int memory, const Control* control) {
  std::vector<uint64_t> stacks;
  const uint64_t table = control->thread_table.load();
  for (uint64_t slot = 0; slot < control->thread_table_slots.load(); ++slot) {
    uint64_t thread = 0;
    uint64_t stack = 0;
    if (read_at(memory, table + slot * 8, &thread) && thread != 0 &&
        read_at(memory, thread + FTRUN_THREAD_CALLER_STACK, &stack)) {
      stacks.push_back(stack);
    }
  }
  return stacks;
}

std::string name_word(const Mapping& mapping, uint64_t address, uint64_t a, uint64_t b) {
  char line[256];
  std::snprintf(line, sizeof(line), "%" PRIx64 " in %s (+%" PRIx64 "): %016" PRIx64 " %016" PRIx64,
                address, mapping.name.empty() ? "anonymous memory" : mapping.name.c_str(),
                address - mapping.begin, a, b);
  return line;
}

void compare_mapping(const Mapping& a, const Mapping& b, const MemoryImage& image,
                     const MemoryImage& other, Comparison* result) {
  for (size_t i = 0; i + 8 <= a.bytes.size(); i += 8) {
    if (std::memcmp(&a.bytes[i], &b.bytes[i], 8) == 0) {
      continue;
    }
    uint64_t words[2];
    std::memcpy(&words[0], &a.bytes[i], 8);
    std::memcpy(&words[1], &b.bytes[i], 8);
    const uint64_t address = a.begin + i;
    if (is_dead_stack(image, a, address)) {
      result->excepted["dead stack"]++;
    } else if ((is_loader(a) || a.name == "[stack]") && is_reading(image, words[0]) &&
               is_reading(other, words[1])) {
      result->excepted["ld.so's start time: " + name_word(a, address, words[0], words[1])]++;
    } else {
      result->differing_words++;
      if (result->differences.size() < 100) {
        result->differences.push_back(name_word(a, address, words[0], words[1]));
      }
    }
  }
  result->bytes_compared += a.bytes.size();
}

}  // namespace

MemoryImage read_memory(pid_t pid, const Control* control) {
  MemoryImage image;
  const std::string directory = "/proc/" + std::to_string(pid);
  const int memory = open((directory + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  std::ifstream maps(directory + "/maps");
  uint64_t shim_begin = 0;  // of the library, which is mapped in one piece
  uint64_t shim_end = 0;
  for (std::string line; std::getline(maps, line);) {
    Mapping mapping;
    char permissions[5] = {};
    int name_at = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %n", &mapping.begin,
                    &mapping.end, permissions, &name_at) != 3) {
      continue;
    }
    mapping.writable = permissions[1] == 'w';
    mapping.shared = permissions[3] == 's';
    mapping.name = line.substr(static_cast<size_t>(name_at));
    if (shim_end == 0 && mapping.name.find("libftpreload.so") != std::string::npos) {
      shim_end = end_of_library(memory, mapping.begin);
      shim_begin = mapping.begin;
    }
    if (mapping.begin >= shim_begin && mapping.begin < shim_end) {
      mapping.begin = std::min(mapping.end, shim_end);
    }
    if (!mapping.writable || mapping.begin == mapping.end || is_shims(mapping)) {
      continue;
    }
    mapping.bytes.resize(mapping.end - mapping.begin);
    if (pread(memory, mapping.bytes.data(), mapping.bytes.size(),
              static_cast<off_t>(mapping.begin)) != static_cast<ssize_t>(mapping.bytes.size())) {
      mapping.bytes.clear();
    }
    image.mappings.push_back(std::move(mapping));
  }
  image.live_stacks = live_stacks(memory, control);
  close(memory);
  return image;
}

Comparison compare(const MemoryImage& primary, const MemoryImage& secondary) {
  Comparison result;
  const size_t count = std::min(primary.mappings.size(), secondary.mappings.size());
  if (primary.mappings.size() != secondary.mappings.size()) {
    result.differences.push_back("the processes have different numbers of writable mappings");
    result.differing_words++;
  }
  for (size_t i = 0; i < count; ++i) {
    const Mapping& a = primary.mappings[i];
    const Mapping& b = secondary.mappings[i];
    if (a.begin != b.begin || a.end != b.end || a.bytes.size() != b.bytes.size()) {
      result.differences.push_back("the mappings differ at " + name_word(a, a.begin, a.end, b.end));
      result.differing_words++;
      return result;
    }
    compare_mapping(a, b, primary, secondary, &result);
  }
  return result;
}

void print_differences(const Comparison& comparison) {
  for (const std::string& line : comparison.differences) {
    std::printf("differs: %s\n", line.c_str());
  }
}

}  // namespace ftrun::replay
