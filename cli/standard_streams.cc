// SPDX-License-Identifier: Apache-2.0
// See standard_streams.h.
#include "cli/standard_streams.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace ftrun::cli {

void fill_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) {
      // The lowest free number is this one.
      [[maybe_unused]] const int null = open("/dev/null", O_RDWR);
    }
  }
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void print_error(std::string_view text) {
  std::fflush(stdout);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

bool flush_output(const char* tool) {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) {
    return true;
  }
  const std::string why = errno == 0 ? "" : std::string(": ") + std::strerror(errno);
  print_error(std::string(tool) + ": standard output could not be written" + why + "\n");
  return false;
}

}  // namespace ftrun::cli
