// SPDX-License-Identifier: Apache-2.0
// Memory files: see memory_file.h. Runs in supervisors and ftrun.
#include "supervisor/base/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace ftrun {

namespace {

// 0 or an errno. The limit counts memory files too.
int size_and_seal(int fd, size_t bytes, Allocated allocated) {
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit raised{before.rlim_max, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &raised);
  const auto size = static_cast<off_t>(bytes);
  const bool made = ftruncate(fd, size) == 0 &&
                    (allocated == Allocated::kNo || fallocate(fd, 0, 0, size) == 0) &&
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
  const int error = made ? 0 : errno;
  setrlimit(RLIMIT_FSIZE, &before);
  return error;
}

}  // namespace

Result<int> make_memory_file(const char* name, size_t bytes, Allocated allocated,
                             const char* what) {
  const int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const int error = fd < 0 ? errno : size_and_seal(fd, bytes, allocated);
  if (error != 0) {
    if (fd >= 0) {
      close(fd);
    }
    return system_error(
        std::string(what) + ": a memory file of " + std::to_string(bytes / 1024) + " KiB", error);
  }
  return fd;
}

}  // namespace ftrun
