// SPDX-License-Identifier: Apache-2.0
// Comparing two output rings: see output_difference.h. Runs in the supervisor.
#include "supervisor/rings/output_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "eventlog/output.h"
#include "supervisor/unit/core.h"

namespace ftrun {

namespace {

constexpr size_t kBytesShown = 16;
constexpr size_t kCapacity = kRingBytes[kRingOutput];

const char* name_of(OutputKind kind) {
  constexpr const char* kNames[kOutputKinds] = {"mark", "write",  "shutdown", "close",   "consumed",
                                                "bind", "listen", "unlisten", "option",  "console",
                                                "exit", "notice", "urgent",   "accepted"};
  return kNames[static_cast<size_t>(kind)];
}

const uint8_t* at(const Region& region, uint64_t position) {
  return region.ring_data(kRingOutput) + (position & (kCapacity - 1));
}

// Published bytes from `position` on; more than half a ring: they may have been overwritten, since
// the producer writes ahead of what it publishes.
uint64_t published_after(const Region& region, uint64_t position) {
  return region.control()->rings[kRingOutput].head.load(std::memory_order_acquire) - position;
}

std::string target_of(const Output& entry) {
  switch (entry.kind) {
    case OutputKind::kWrite:
    case OutputKind::kShutdown:
    case OutputKind::kClose:
    case OutputKind::kConsumed:
    case OutputKind::kUrgent:
    case OutputKind::kAccepted:
      return fmt::format(" for connection {}", entry.id);
    default:
      return "";
  }
}

std::string describe_entry(const Output& entry) {
  const std::string length = entry.length == 0 ? "" : fmt::format(" of {} bytes", entry.length);
  return name_of(entry.kind) + length + target_of(entry);
}

std::string show(const Output& entry, size_t offset) {
  std::string hex;
  std::string text;
  for (size_t i = offset; i < std::min(entry.length, offset + kBytesShown); ++i) {
    hex += fmt::format("{:02x} ", entry.data[i]);
    text += std::isprint(entry.data[i]) != 0 ? static_cast<char>(entry.data[i]) : '.';
  }
  return hex.empty() ? "nothing" : fmt::format("{}\"{}\"", hex, text);
}

// Two entries of one kind for one connection.
std::string compare_data(const Output& here, const Output& there) {
  const size_t common = std::min(here.length, there.length);
  const auto differs = std::mismatch(here.data, here.data + common, there.data);
  const auto offset = static_cast<size_t>(differs.first - here.data);
  return fmt::format("{} here, of {} there, byte {}: {} here, {} there", describe_entry(here),
                     there.length, offset, show(here, offset), show(there, offset));
}

}  // namespace

std::string describe_output_difference(const Region& ours, const Region& theirs, uint64_t begin,
                                       uint64_t end) {
  for (uint64_t position = begin; position < end;) {
    if (published_after(ours, position) > kCapacity / 2 ||
        published_after(theirs, position) > kCapacity / 2) {
      return "the first difference cannot be shown: a ring has gone on too far";
    }
    const uint8_t* const here = at(ours, position);
    const uint8_t* const there = at(theirs, position);
    Output our_entry;
    Output their_entry;
    const uint8_t* const next = get_output(here, here + (end - position), &our_entry);
    if (next == nullptr) {
      return "the first difference cannot be shown: an entry does not decode";
    }
    const auto length = static_cast<size_t>(next - here);
    if (std::memcmp(here, there, length) == 0) {
      position += length;
      continue;
    }
    const size_t published = published_after(theirs, position);
    if (get_output(there, there + published, &their_entry) == nullptr) {
      return fmt::format("first difference: {} here, nothing there", describe_entry(our_entry));
    }
    const bool comparable = our_entry.kind == their_entry.kind && our_entry.id == their_entry.id &&
                            our_entry.length != 0 && their_entry.length != 0;
    return "first difference: " + (comparable
                                       ? compare_data(our_entry, their_entry)
                                       : fmt::format("{} here, {} there", describe_entry(our_entry),
                                                     describe_entry(their_entry)));
  }
  return "the first difference cannot be shown: the rings are equal by now";
}

}  // namespace ftrun
