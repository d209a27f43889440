// SPDX-License-Identifier: Apache-2.0
// Files of the run directory: see run_dir.h. Runs in the supervisor.
#include "supervisor/run_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ftrun {

namespace {

constexpr size_t kFileBytesMax = 64 * 1024;

std::string now_text() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char text[32];
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:06}Z", text, now.tv_nsec / 1000);
}

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
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
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

Result<link::Secret> RunDir::secret() const {
  const std::string path = file("secret");
  link::Secret secret;
  if (getrandom(secret.data(), secret.size(), 0) != static_cast<ssize_t>(secret.size())) {
    return system_error("getrandom", errno);
  }
  const std::string temporary = fmt::format("{}.{}.tmp", path, replica_);
  FTRUN_TRY(write_new(temporary, {reinterpret_cast<const char*>(secret.data()), secret.size()}));
  const int linked = ::link(temporary.c_str(), path.c_str());
  const int error = errno;
  unlink(temporary.c_str());
  if (linked != 0 && error != EEXIST) {
    return system_error(path, error);
  }
  Result<std::string> text = read(path);
  if (!text.ok()) {
    return text.error();
  }
  if (text->size() != secret.size()) {
    return Error{path + ": is not a secret of this version"};
  }
  std::memcpy(secret.data(), text->data(), secret.size());
  return secret;
}

void RunDir::event(std::string_view kind, std::string_view text, uint64_t epoch) const {
  const nlohmann::json line = {{"time", now_text()},
                               {"replica", replica_},
                               {"epoch", epoch},
                               {"kind", std::string(kind)},
                               {"text", std::string(text)}};
  const std::string bytes =
      line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::string path = file("events.jsonl");
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) {
    return;
  }
  // ORDER: one write, so that lines of several supervisors do not mix (O_APPEND).
  [[maybe_unused]] const ssize_t ignored = ::write(fd, bytes.data(), bytes.size());
  close(fd);
}

}  // namespace ftrun
