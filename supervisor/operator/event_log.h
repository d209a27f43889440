// SPDX-License-Identifier: Apache-2.0
// events.jsonl of a unit's run directory, as one supervisor appends to it: one JSON object a line.
// Nothing is lost for want of room or of descriptors: the file stays open, some room in it is
// reserved, and lines that cannot be written wait, a bounded number, until they can. Supervisor
// only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "supervisor/process/launch.h"

namespace ftrun {

inline constexpr size_t kEventsKeptMax = 256;              // lines that wait for room
inline constexpr size_t kEventBytesReserved = 256u << 10;  // of the file, allocated at its opening

class EventLog {
 public:
  EventLog(std::string path, std::string replica)
      : path_(std::move(path)), replica_(std::move(replica)) {}

  // Opens the file (anew), making it where it is not: with what the old one had. Without, the first
  // line does.
  void open();
  // Appends a line; time and replica are added.
  void write(std::string_view kind, std::string_view text, uint64_t epoch);
  // Tries again to write what waits. Call it now and then.
  void retry();
  size_t waiting() const { return waiting_.size(); }

 private:
  std::string line(std::string_view kind, std::string_view text, uint64_t epoch) const;
  bool put(const std::string& line);

  std::string path_;
  std::string replica_;
  process::Descriptor file_;
  std::deque<std::string> waiting_;
  uint64_t dropped_ = 0;  // more than could wait
  bool torn_ = false;     // the file ends with a part of a line of ours
};

}  // namespace ftrun
