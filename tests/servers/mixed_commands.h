// SPDX-License-Identifier: Apache-2.0
// A seeded stream of Redis commands of all kinds: expiry, eviction, Lua, SCAN, SORT, transactions,
// pub/sub, blocking pops, streams, sorted sets, big values. Runs in ftrun-mixed-load, one thread.
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace ftrun::servers {

class MixedCommands {
 public:
  explicit MixedCommands(uint64_t seed) : random_(seed) {}
  // Appends a command, or a transaction, to `out`; returns how many replies it will have.
  int next(std::string* out);
  // Appends a command that blocks for a short while; one reply.
  void next_blocking(std::string* out);
  uint64_t pick(uint64_t below) { return random_() % below; }

 private:
  std::string key(const char* type, uint64_t count);
  std::string number(uint64_t below);
  std::string value();
  int strings(std::string* out);
  int expiry(std::string* out);
  int lists(std::string* out);
  int hashes(std::string* out);
  int sorted_sets(std::string* out);
  int streams(std::string* out);
  int scan(std::string* out);
  int sort(std::string* out);
  int script(std::string* out);
  int transaction(std::string* out);
  int publish(std::string* out);
  int information(std::string* out);

  std::minstd_rand random_;
};

}  // namespace ftrun::servers
