// SPDX-License-Identifier: Apache-2.0
// Redis protocol, the client's half. Ordinary single-threaded tool processes.
#include "bench/resp.h"

#include <fmt/format.h>

#include <charconv>
#include <iterator>

namespace ftrun::load {

void append_command(std::string* out, std::initializer_list<std::string_view> words) {
  fmt::format_to(std::back_inserter(*out), "*{}\r\n", words.size());
  for (const std::string_view word : words) {
    fmt::format_to(std::back_inserter(*out), "${}\r\n", word.size());
    out->append(word);
    out->append("\r\n");
  }
}

static bool parse_integer(std::string_view text, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

static ReplyExtent skip_bulk(std::string_view input, size_t line_end, ReplyExtent reply) {
  constexpr int64_t bulk_bytes_max = int64_t{512} << 20;
  if (reply.integer < -1 || reply.integer > bulk_bytes_max) {
    reply.state = ReplyState::kMalformed;
    return reply;
  }
  reply.bytes = line_end + (reply.integer < 0 ? 0 : static_cast<size_t>(reply.integer) + 2);
  if (reply.integer >= 0 && input.size() >= reply.bytes &&
      input.substr(reply.bytes - 2, 2) != "\r\n") {
    reply.state = ReplyState::kMalformed;
    return reply;
  }
  reply.state = input.size() >= reply.bytes ? ReplyState::kWhole : ReplyState::kIncomplete;
  return reply;
}

static ReplyExtent skip_array(std::string_view input, size_t line_end, ReplyExtent reply,
                              int depth) {
  constexpr int depth_max = 8;
  reply.bytes = line_end;
  reply.state = depth < depth_max ? ReplyState::kWhole : ReplyState::kMalformed;
  for (int64_t i = 0; i < reply.integer && reply.state == ReplyState::kWhole; ++i) {
    const ReplyExtent item = skip_reply(input.substr(reply.bytes), depth + 1);
    reply.state = item.state;
    reply.bytes += item.bytes;
  }
  return reply;
}

ReplyExtent skip_reply(std::string_view input, int depth) {
  ReplyExtent reply;
  if (input.empty()) {
    return reply;
  }
  reply.type = input[0];
  const size_t end = input.find('\n');
  if (end == std::string_view::npos) {
    return reply;
  }
  if (end < 2 || input[end - 1] != '\r') {
    reply.state = ReplyState::kMalformed;
    return reply;
  }
  reply.bytes = end + 1;
  const bool number = reply.type == ':' || reply.type == '$' || reply.type == '*';
  if (number && !parse_integer(input.substr(1, end - 2), &reply.integer)) {
    reply.state = ReplyState::kMalformed;
    return reply;
  }
  switch (reply.type) {
    case '+':
    case '-':
    case ':':
      reply.state = ReplyState::kWhole;
      return reply;
    case '$':
      return skip_bulk(input, end + 1, reply);
    case '*':
      return skip_array(input, end + 1, reply, depth);
    default:
      reply.state = ReplyState::kMalformed;
      return reply;
  }
}

}  // namespace ftrun::load
