// SPDX-License-Identifier: Apache-2.0
// The client's half of the Redis protocol (RESP2): writing commands, and finding where a reply
// ends. For ordinary single-threaded tool processes; the input comes from the server and is not
// trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace ftrun::load {

// Appends a command as an array of bulk strings.
void append_command(std::string* out, std::initializer_list<std::string_view> words);

// What skip_reply() found at the start of the input.
enum class ReplyState : uint8_t { kWhole, kIncomplete, kMalformed };

struct ReplyExtent {
  ReplyState state = ReplyState::kIncomplete;
  size_t bytes = 0;     // kWhole: length of the reply
  char type = 0;        // first byte: + - : $ *
  int64_t integer = 0;  // of a : reply
};

// Finds the extent of the reply at the start of `input`. Nesting deeper than 8 is malformed.
ReplyExtent skip_reply(std::string_view input, int depth = 0);

}  // namespace ftrun::load
