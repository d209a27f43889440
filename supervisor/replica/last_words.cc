// SPDX-License-Identifier: Apache-2.0
// See last_words.h.
#include "supervisor/replica/last_words.h"

#include <algorithm>
#include <sstream>
#include <unordered_set>

#include "eventlog/output.h"

namespace ftrun {

std::string LastWords::text() const {
  std::string all;
  for (const Piece& piece : pieces) {
    all += piece.text;
  }
  return all;
}

void append_bounded(std::string* text, std::string_view more, size_t bytes_max) {
  text->append(more.substr(more.size() - std::min(more.size(), bytes_max)));
  if (text->size() > 2 * bytes_max) {  // not at every line
    text->erase(0, text->size() - bytes_max);
  }
}

LastWords read_last_words(const Region& region) {
  LastWords words;
  const RingControl& ring = region.control()->rings[kRingOutput];
  const uint64_t head = ring.head.load(std::memory_order_acquire);
  const uint64_t bytes = region.control()->said_end.load(std::memory_order_acquire) - head;
  if (bytes > kRingBytes[kRingOutput]) {
    return words;  // nothing was said since the last turn's end
  }
  const uint8_t* const start = region.ring_data(kRingOutput) + head % kRingBytes[kRingOutput];
  const std::vector<uint8_t> copy(start, start + bytes);
  const uint8_t* cursor = copy.data();
  size_t total = 0;
  for (Output entry; (cursor = get_output(cursor, copy.data() + bytes, &entry)) != nullptr;) {
    std::string text(reinterpret_cast<const char*>(entry.data), entry.length);
    if (entry.kind == OutputKind::kNotice) {
      words.notices.push_back(std::move(text));
    } else if (entry.kind == OutputKind::kConsole) {
      total += text.size();
      words.pieces.push_back({entry.id == 2 ? 2 : 1, std::move(text)});
    }
  }
  while (total > kLastWordsBytesMax) {
    std::string& first = words.pieces.front().text;
    const size_t excess = std::min(total - kLastWordsBytesMax, first.size());
    first.erase(0, excess);
    total -= excess;
    if (first.empty()) {
      words.pieces.erase(words.pieces.begin());
    }
  }
  return words;
}

void HeldWords::hold(std::string_view replica, std::string_view text, int64_t now_ns) {
  replica_ = replica;
  text_ = text;
  heard_.clear();
  due_ns_ = now_ns + kHeldWordsNs;
}

void HeldWords::heard(std::string_view text) {
  if (!text_.empty() && heard_.size() < 2 * kLastWordsBytesMax) {
    heard_ += text;
  }
}

std::string HeldWords::take() {
  std::unordered_set<std::string> said;
  std::istringstream repeated(heard_);
  for (std::string line; std::getline(repeated, line);) {
    said.insert(line);
  }
  std::string rest;
  std::istringstream lines(text_);
  for (std::string line; std::getline(lines, line);) {
    rest += said.contains(line) ? "" : line + "\n";
  }
  text_.clear();
  heard_.clear();
  return rest.empty() ? "" : "ftrun: replica " + replica_ + " ended when it had written:\n" + rest;
}

}  // namespace ftrun
