// SPDX-License-Identifier: Apache-2.0
// See call_stacks.h. StackReader runs in the supervisor; what it starts is in stack_unwinder.cc.
#include "supervisor/process/call_stacks.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "supervisor/process/stack_unwinder.h"

namespace ftrun::process {

Result<void> StackReader::start(pid_t process) {
  FTRUN_ASSERT(!running());
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return system_error("pipe for call stacks", errno);
  }
  output_.reset(ends[0]);
  Descriptor input(ends[1]);
  fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  // No less than everything at once: the reader must never wait for us while the other stands
  // still.
  fcntl(output_.get(), F_SETPIPE_SZ, static_cast<int>(kStackTextBytesMax + 4096));
  text_.clear();
  pid_ = fork();
  if (pid_ == 0) {
    run_stack_unwinder(process, input.get());
  }
  return pid_ > 0 ? Result<void>() : system_error("fork for call stacks", errno);
}

void StackReader::read() {
  char buffer[4096];
  while (running()) {
    const ssize_t got = ::read(output_.get(), buffer, sizeof buffer);
    if (got > 0) {
      text_.append(buffer, static_cast<size_t>(got));
    } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
      stop();
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

void StackReader::stop() {
  if (!running()) {
    return;
  }
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  output_.reset();
}

}  // namespace ftrun::process
