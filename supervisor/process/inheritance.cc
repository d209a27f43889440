// SPDX-License-Identifier: Apache-2.0
// The small parts of launch.h: owned descriptors, what a process inherits, wait statuses in words.
// Runs in the supervisor and in ftrun.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "fmt/format.h"
#include "supervisor/process/launch.h"

extern char** environ;

namespace ftrun::process {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset(other.release());
  }
  return *this;
}

Descriptor::~Descriptor() {
  reset();
}

int Descriptor::release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

void Descriptor::reset(int fd) {
  if (fd_ >= 0) {
    close(fd_);
  }
  fd_ = fd;
}

Result<Inheritance> record_inheritance() {
  Inheritance inheritance;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    inheritance.environment.emplace_back(*entry);
  }
  char directory[PATH_MAX];
  if (getcwd(directory, sizeof directory) == nullptr) {
    return system_error("the working directory", errno);
  }
  inheritance.directory = directory;
  for (int resource = 0; resource < static_cast<int>(RLIM_NLIMITS); ++resource) {
    if (getrlimit(static_cast<__rlimit_resource_t>(resource), &inheritance.limits[resource]) != 0) {
      return system_error(fmt::format("getrlimit({})", resource), errno);
    }
  }
  inheritance.mask = umask(0);
  umask(inheritance.mask);
  return inheritance;
}

std::string describe_wait_status(int status) {
  if (WIFEXITED(status)) {
    return fmt::format("exit code {}", WEXITSTATUS(status));
  }
  if (WIFSIGNALED(status)) {
    return fmt::format("signal {} ({}){}", WTERMSIG(status), strsignal(WTERMSIG(status)),
                       WCOREDUMP(status) ? ", core dumped" : "");
  }
  return fmt::format("wait status {:#x}", status);
}

int exit_status_of(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

}  // namespace ftrun::process
