// SPDX-License-Identifier: Apache-2.0
// The seeded stream of commands. Keys carry their type in their name, so no command meets a wrong
// type. Runs in ftrun-mixed-load, one thread.
#include "tests/servers/mixed_commands.h"

#include <fmt/format.h>

#include "bench/resp.h"

namespace ftrun::servers {

using load::append_command;

std::string MixedCommands::key(const char* type, uint64_t count) {
  return fmt::format("{}:{}", type, pick(count));
}
std::string MixedCommands::number(uint64_t below) {
  return std::to_string(pick(below));
}

std::string MixedCommands::value() {
  const uint64_t dice = pick(1000);
  const size_t bytes = dice < 900   ? 5 + pick(100)
                       : dice < 990 ? pick(5'000)
                       : dice < 999 ? pick(100'000)
                                    : pick(1'500'000);
  std::string text(bytes, static_cast<char>('a' + pick(26)));
  for (size_t i = 0; i < bytes; i += 97) {
    text[i] = static_cast<char>('A' + pick(26));
  }
  return text;
}

int MixedCommands::strings(std::string* out) {
  switch (pick(7)) {
    case 0:
    case 1:
      append_command(out, {"SET", key("s", 20'000), value()});
      return 1;
    case 2:
      append_command(out, {"GET", key("s", 20'000)});
      return 1;
    case 3:
      append_command(out, {"MGET", key("s", 20'000), key("s", 20'000), key("s", 20'000)});
      return 1;
    case 4:
      append_command(out, {"INCRBY", key("n", 1'000), number(100)});
      return 1;
    case 5:
      append_command(out, {"SETRANGE", key("r", 500), number(2'000), value()});
      return 1;
    default:
      append_command(out, {"DEL", key("s", 20'000), key("r", 500)});
      return 1;
  }
}

int MixedCommands::expiry(std::string* out) {
  switch (pick(4)) {
    case 0:
      append_command(out, {"SET", key("e", 2'000), value(), "PX", std::to_string(1 + pick(300))});
      return 1;
    case 1:
      append_command(out, {"PEXPIRE", key("s", 20'000), std::to_string(1 + pick(500))});
      return 1;
    case 2:
      append_command(out, {"PTTL", key("e", 2'000)});
      return 1;
    default:
      append_command(out, {"GET", key("e", 2'000)});
      return 1;
  }
}

int MixedCommands::lists(std::string* out) {
  switch (pick(4)) {
    case 0:
      append_command(out, {"RPUSH", key("l", 200), number(1'000), number(1'000)});
      return 1;
    case 1:
      append_command(out, {"LPOP", key("l", 200)});
      return 1;
    case 2:
      append_command(out, {"LRANGE", key("l", 200), "0", "20"});
      return 1;
    default:
      append_command(out, {"LTRIM", key("l", 200), "0", "200"});
      return 1;
  }
}

int MixedCommands::hashes(std::string* out) {
  switch (pick(4)) {
    case 0:
      append_command(out, {"HSET", key("h", 500), number(300), value()});
      return 1;
    case 1:
      append_command(out, {"HGET", key("h", 500), number(300)});
      return 1;
    case 2:
      append_command(out, {"SADD", key("set", 300), number(500), number(500)});
      return 1;
    default:
      append_command(out, {pick(2) == 0 ? "SPOP" : "SRANDMEMBER", key("set", 300)});
      return 1;
  }
}

int MixedCommands::sorted_sets(std::string* out) {
  if (pick(2) == 0) {
    append_command(out, {"ZADD", key("z", 200), number(100'000), number(2'000)});
  } else {
    append_command(out, {"ZRANGEBYSCORE", key("z", 200), number(50'000), "+inf", "WITHSCORES",
                         "LIMIT", "0", "10"});
  }
  return 1;
}

int MixedCommands::streams(std::string* out) {
  switch (pick(3)) {
    case 0:
      append_command(out,
                     {"XADD", key("x", 50), "MAXLEN", "~", "500", "*", "field", number(10'000)});
      return 1;
    case 1:
      append_command(out, {"XRANGE", key("x", 50), "-", "+", "COUNT", "5"});
      return 1;
    default:
      append_command(out, {"XTRIM", key("x", 50), "MAXLEN", number(300)});
      return 1;
  }
}

int MixedCommands::scan(std::string* out) {
  switch (pick(3)) {
    case 0:
      append_command(out, {"SCAN", number(1 << 15), "COUNT", "20"});
      return 1;
    case 1:
      append_command(out, {"HSCAN", key("h", 500), "0", "COUNT", "10"});
      return 1;
    default:
      append_command(out, {"RANDOMKEY"});
      return 1;
  }
}

int MixedCommands::sort(std::string* out) {
  append_command(out, {"SORT", key("l", 200), "LIMIT", "0", "10", pick(2) == 0 ? "ASC" : "DESC"});
  return 1;
}

int MixedCommands::script(std::string* out) {
  append_command(out, {"EVAL",
                       "local t = redis.call('TIME') "
                       "local r = math.random(1000) "
                       "redis.call('SET', KEYS[1], t[1] .. ':' .. t[2] .. ':' .. r) "
                       "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i % 7 end "
                       "return {t[2], r, n, redis.call('INCR', KEYS[2])}",
                       "2", key("t", 1'000), key("n", 1'000), number(2'000)});
  return 1;
}

int MixedCommands::transaction(std::string* out) {
  const bool watch = pick(3) == 0;
  if (watch) {
    append_command(out, {"WATCH", key("n", 1'000)});
  }
  append_command(out, {"MULTI"});
  append_command(out, {"INCR", key("n", 1'000)});
  append_command(out, {"SET", key("s", 20'000), value()});
  append_command(out, {"LPUSH", key("l", 200), number(1'000)});
  append_command(out, {pick(10) == 0 ? "DISCARD" : "EXEC"});
  return watch ? 6 : 5;
}

int MixedCommands::publish(std::string* out) {
  append_command(out, {"PUBLISH", key("channel", 10), value().substr(0, 2'000)});
  return 1;
}

int MixedCommands::information(std::string* out) {
  switch (pick(4)) {
    case 0:
      append_command(out, {"TIME"});
      return 1;
    case 1:
      append_command(out, {"INFO", "all"});
      return 1;
    case 2:
      append_command(out, {"CLIENT", "LIST"});
      return 1;
    default:
      append_command(out, {"OBJECT", "ENCODING", "s:0"});
      return 1;
  }
}

int MixedCommands::next(std::string* out) {
  struct Choice {
    uint64_t per_mille;
    int (MixedCommands::*action)(std::string*);
  };
  static constexpr Choice kChoices[] = {
      {400, &MixedCommands::strings}, {120, &MixedCommands::expiry},
      {100, &MixedCommands::lists},   {100, &MixedCommands::hashes},
      {80, &MixedCommands::streams},  {60, &MixedCommands::sorted_sets},
      {30, &MixedCommands::scan},     {20, &MixedCommands::sort},
      {30, &MixedCommands::script},   {30, &MixedCommands::transaction},
      {25, &MixedCommands::publish},  {5, &MixedCommands::information},
  };
  uint64_t dice = pick(1000);
  for (const Choice& choice : kChoices) {
    if (dice < choice.per_mille) {
      return (this->*choice.action)(out);
    }
    dice -= choice.per_mille;
  }
  return strings(out);
}

void MixedCommands::next_blocking(std::string* out) {
  switch (pick(3)) {
    case 0:
      append_command(out, {"BLPOP", key("l", 200), key("l", 200), "0.05"});
      return;
    case 1:
      append_command(out, {"BLMOVE", key("l", 200), key("l", 200), "LEFT", "RIGHT", "0.05"});
      return;
    default:
      append_command(out, {"XREAD", "BLOCK", "30", "STREAMS", key("x", 50), "$"});
      return;
  }
}

}  // namespace ftrun::servers
