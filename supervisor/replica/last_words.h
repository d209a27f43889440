// SPDX-License-Identifier: Apache-2.0
// What an application has said in the turn that it died in. No turn takes that any more, and a
// survivor may do the turn otherwise; but operators look for it first ("assertion failed"). Runs in
// the supervisor; no I/O and no clock.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/rings/region.h"

namespace ftrun {

// Of what a replica has said last, so much is kept.
inline constexpr size_t kLastWordsBytesMax = 32 * 1024;
// Of what it said in turns before that, so much stands in its report.
inline constexpr size_t kEarlierWordsBytesMax = 4 * 1024;
// Long enough for a survivor to do the dead replica's turn again, and say the same.
inline constexpr int64_t kHeldWordsNs = 1'000'000'000;

struct LastWords {
  struct Piece {
    int stream = 1;  // 1 or 2
    std::string text;
  };
  std::vector<Piece> pieces;  // the last kLastWordsBytesMax bytes
  std::vector<std::string> notices;
  std::string text() const;
};

// Appends to a text of which the end matters.
void append_bounded(std::string* text, std::string_view more, size_t bytes_max);

// From the output ring of an application that is gone. What it has damaged there ends the words.
LastWords read_last_words(const Region& region);

// A dead replica's words, until it is known which of them the survivor says itself.
class HeldWords {
 public:
  void hold(std::string_view replica, std::string_view text, int64_t now_ns);
  // What the survivor writes meanwhile.
  void heard(std::string_view text);
  bool is_due(int64_t now_ns) const { return !text_.empty() && now_ns >= due_ns_; }
  // The lines that the survivor has not said, below one that tells whose they are; empty if there
  // are none. Holds nothing afterwards.
  std::string take();

 private:
  std::string replica_;
  std::string text_;
  std::string heard_;
  int64_t due_ns_ = 0;
};

}  // namespace ftrun
