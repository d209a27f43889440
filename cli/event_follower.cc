// SPDX-License-Identifier: Apache-2.0
// See event_follower.h.
#include "cli/event_follower.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "fmt/format.h"
#include "supervisor/base/json_fields.h"

namespace ftrun::cli {
namespace {

// Read at once; more waits for the next round.
constexpr size_t kReadBytesMax = 256 * 1024;

// Kinds of events that are said, all of them.
constexpr std::array<std::string_view, 5> kLoud = {"no_calls", "calls_again", "trouble",
                                                   "quarantine", "listener_lost"};

// It goes to an operator's terminal, and names of files may hold anything.
std::string readable(std::string text) {
  for (char& letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    letter = code < 32 || code == 127 ? '?' : letter;
  }
  return text;
}

}  // namespace

std::string kind_of_notice(std::string_view text) {
  // "socket(AF_UNIX, SOCK_STREAM) is refused: ...", "write to /var/x is refused: ...".
  const std::string_view call = text.substr(0, text.find(": "));
  const size_t object = call.find(" /");
  return std::string(call.substr(0, object));
}

std::string EventTeller::tell(std::string_view line) {
  const nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
  if (!event.is_object() || said_.size() >= kEventsSaidMax) {
    return "";
  }
  const std::string kind = field_or(event, "kind", std::string());
  const std::string text = field_or(event, "text", std::string());
  const bool notice = kind == "notice";
  if (!notice && std::find(kLoud.begin(), kLoud.end(), kind) == kLoud.end()) {
    return "";
  }
  const std::string what = readable(text.substr(0, text.find('\n')));
  if (!said_.insert(kind + " " + (notice ? kind_of_notice(what) : what)).second) {
    return "";
  }
  const std::string replica = field_or(event, "replica", std::string("?"));
  const std::string more =
      said_.size() == kEventsSaidMax ? " (more is in ftctl events)" : std::string();
  return notice ? what + more : fmt::format("WARNING: replica {}: {}{}", replica, what, more);
}

std::vector<std::string> EventFollower::next() {
  std::vector<std::string> lines;
  std::ifstream file(path_, std::ios::binary | std::ios::ate);
  if (!file || static_cast<uint64_t>(file.tellg()) <= position_) {
    return lines;
  }
  file.seekg(static_cast<std::streamoff>(position_));
  std::string bytes(kReadBytesMax, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(file.gcount()));
  // A line without its end is still being written.
  for (size_t begin = 0, end; (end = bytes.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    std::string text = teller_.tell(std::string_view(bytes).substr(begin, end - begin));
    if (!text.empty()) {
      lines.push_back(std::move(text));
    }
    position_ += end + 1 - begin;
  }
  return lines;
}

}  // namespace ftrun::cli
