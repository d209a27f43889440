// SPDX-License-Identifier: Apache-2.0
// Call stacks of all threads of another process, with symbols: ptrace and libunwind, in a process
// of their own, so that nothing that takes long or hangs holds up the supervisor's loop. The other
// process stands still only while addresses are collected; names are looked up afterwards.
// Runs in the supervisor, on its one thread (the reader is a copy of it).
//
// Permissions: root, or the same user and the process descends from us or lives in a user namespace
// that we own (Yama's ptrace_scope 1 and 2 allow this).
#pragma once

#include <sys/types.h>

#include <string>

#include "supervisor/base/result.h"
#include "supervisor/process/launch.h"

namespace ftrun::process {

inline constexpr size_t kStackTextBytesMax = 48 * 1024;

class StackReader {
 public:
  StackReader() = default;
  ~StackReader() { stop(); }
  StackReader(const StackReader&) = delete;
  StackReader& operator=(const StackReader&) = delete;
  // Begins to read the stacks of `process`. One at a time.
  Result<void> start(pid_t process);
  // Readable when there is more, or the end.
  int fd() const { return output_.get(); }
  bool running() const { return pid_ > 0; }
  // Takes what there is. Afterwards running() is false when the stacks are complete.
  void read();
  // Ends the reader, which lets the other process go on.
  void stop();
  const std::string& text() const { return text_; }

 private:
  pid_t pid_ = -1;
  Descriptor output_;
  std::string text_;
};

}  // namespace ftrun::process
