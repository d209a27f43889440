// SPDX-License-Identifier: Apache-2.0
// Appending to events.jsonl: see event_log.h. Supervisor only.
#include "supervisor/operator/event_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace ftrun {

namespace {

std::string now_text() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char text[32];
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:06}Z", text, now.tv_nsec / 1000);
}

void copy(int from, int to) {
  char buffer[4096];
  ssize_t got = 0;
  for (off_t at = 0; (got = pread(from, buffer, sizeof(buffer), at)) > 0; at += got) {
    if (::write(to, buffer, static_cast<size_t>(got)) != got) {
      return;
    }
  }
}

}  // namespace

void EventLog::open() {
  constexpr int kFlags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC;
  process::Descriptor file(::open(path_.c_str(), kFlags | O_EXCL, 0600));
  if (file.valid() && file_.valid()) {
    copy(file_.get(), file.get());  // whoever makes a removed file anew; the others append
  } else if (!file.valid()) {
    file.reset(::open(path_.c_str(), kFlags, 0600));
  }
  file_ = std::move(file);
  torn_ = false;
  if (file_.valid()) {
    // A file system that cannot do it has no room to promise: the lines wait then.
    [[maybe_unused]] const int reserved =
        fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(kEventBytesReserved));
  }
}

std::string EventLog::line(std::string_view kind, std::string_view text, uint64_t epoch) const {
  const nlohmann::json line = {{"time", now_text()},
                               {"replica", replica_},
                               {"epoch", epoch},
                               {"kind", std::string(kind)},
                               {"text", std::string(text)}};
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// ORDER: one write a line, so that lines of several supervisors do not mix (O_APPEND).
bool EventLog::put(const std::string& line) {
  if (!file_.valid()) {
    open();
  }
  const std::string bytes = torn_ ? "\n" + line : line;
  const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
  const bool whole = written == static_cast<ssize_t>(bytes.size());
  torn_ = !whole && (torn_ || written > 0);
  return whole;
}

void EventLog::write(std::string_view kind, std::string_view text, uint64_t epoch) {
  std::string text_line = line(kind, text, epoch);
  retry();
  if (waiting_.empty() && put(text_line)) {
    return;
  }
  if (waiting_.size() == kEventsKeptMax) {
    ++dropped_;
    return;
  }
  waiting_.push_back(std::move(text_line));
}

void EventLog::retry() {
  while (!waiting_.empty() && put(waiting_.front())) {
    waiting_.pop_front();
  }
  if (waiting_.empty() && dropped_ != 0 &&
      put(line("limit", fmt::format("{} events were lost: the file could not be written", dropped_),
               0))) {
    dropped_ = 0;
  }
}

}  // namespace ftrun
