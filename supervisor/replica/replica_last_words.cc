// SPDX-License-Identifier: Apache-2.0
// What is done with the words of an application that has died: its report, and the console. See
// replica.h and last_words.h. Runs in the supervisor's event loop.
#include <fmt/format.h>

#include "supervisor/replica/replica.h"

namespace ftrun {

namespace {

std::string readable(std::string text) {
  for (char& letter : text) {  // it goes to an operator's terminal
    const auto code = static_cast<unsigned char>(letter);
    letter = (code < 32 && letter != '\n' && letter != '\t') || code == 127 ? '?' : letter;
  }
  return text;
}

}  // namespace

// What our application has said in the turn that died with it: notices become events now, as if
// the turn had ended; the rest is for the report, and for the console if nobody goes on.
void Replica::keep_last_words() {
  if (!core_->live()) {
    return;  // the primary has said the same, or will
  }
  last_words_ = read_last_words(region_);
  for (const std::string& notice : last_words_.notices) {
    event("notice", notice);
  }
}

// For the survivor, which may never say them (hold_words_of).
void Replica::leave_last_words() {
  const Result<void> left = run_dir_.write(run_dir_.own("last_words"), last_words_.text());
  if (!left.ok()) {
    event("trouble", left.error().message);
  }
}

void Replica::report_crash() {
  if (crash() == 0) {
    return;
  }
  const std::string words = readable(earlier_words_ + last_words_.text());
  const ConnectionId of = crash_suspect(crash());
  keep_report(
      core_->status().view.epoch,
      fmt::format(
          "crashed: {}{}\n\nWhat it wrote last:\n{}\n", app_end_why_,
          of == 0 ? "" : fmt::format(", having read from connection {} in the same turn", of),
          words.empty() ? "(nothing)" : words),
      fmt::format("crashed: {}: ", app_end_why_));
}

// The excluded replica has left its last words, if its application has crashed or was given up:
// this one may be spared the request that made it say them. (What a killed one said will be said
// again.)
void Replica::hold_words_of(unit::ReplicaId replica) {
  const std::string name = arbiter::replica_name(replica);
  const Result<std::string> words = run_dir_.read(run_dir_.file("last_words." + name));
  if (words.ok()) {
    held_words_.hold(name, *words, now_ns_);
  }
}

void Replica::say_held_words() {
  const std::string words = held_words_.take();
  for (size_t done = 0; done < words.size(); done += kOutputDataBytesMax) {
    const std::string part = words.substr(done, kOutputDataBytesMax);
    console_.append(2, {reinterpret_cast<const uint8_t*>(part.data()), part.size()});
  }
}

// The last replica's words are the program's: nobody else will say them.
void Replica::say_last_words() {
  for (const LastWords::Piece& piece : last_words_.pieces) {
    held_words_.heard(piece.text);
  }
  say_held_words();
  for (const LastWords::Piece& piece : last_words_.pieces) {
    console_.append(piece.stream,
                    {reinterpret_cast<const uint8_t*>(piece.text.data()), piece.text.size()});
  }
}

}  // namespace ftrun
