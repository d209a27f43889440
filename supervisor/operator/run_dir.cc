// SPDX-License-Identifier: Apache-2.0
// Files of the run directory: see run_dir.h. Runs in the supervisor.
#include "supervisor/operator/run_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

namespace ftrun {

namespace {

constexpr size_t kFileBytesMax = 64 * 1024;

Result<void> write_new(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    return system_error(path, errno);
  }
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int error = written < 0 ? errno : ENOSPC;
  close(fd);
  if (written != static_cast<ssize_t>(text.size())) {
    unlink(path.c_str());
    return system_error(path, error);
  }
  return {};
}

}  // namespace

std::string RunDir::own(std::string_view prefix, std::string_view suffix) const {
  return fmt::format("{}/{}.{}{}", path_, prefix, replica_, suffix);
}

Result<void> RunDir::write(const std::string& path, std::string_view text) const {
  const std::string temporary = fmt::format("{}.{}.tmp", path, replica_);
  FTRUN_TRY(write_new(temporary, text));
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return system_error(path, errno);
  }
  return {};
}

Result<std::string> RunDir::read(const std::string& path) const {
  const int fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    return system_error(path, errno);
  }
  std::string text(kFileBytesMax, '\0');
  const ssize_t got = ::read(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (got < 0) {
    return system_error(path, error);
  }
  text.resize(static_cast<size_t>(got));
  return text;
}

}  // namespace ftrun
