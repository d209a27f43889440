// SPDX-License-Identifier: Apache-2.0
// The simulator's only source of chance: one seed gives one run. Test program only.
#pragma once

#include <cstdint>

namespace ftrun::sim {

class Random {
 public:
  // Mixed: else each seed would draw what the one before it draws, one draw later.
  explicit Random(uint64_t seed) : state_(mix(seed + 0x1234567)) {}
  uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15u); }  // splitmix64
  // Uniform in [0, bound). REQUIRES: bound > 0.
  uint64_t below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  bool one_in(uint64_t n) { return below(n) == 0; }
  // Spread over orders of magnitude: 1 … bound.
  uint64_t sized(uint64_t bound) {
    uint64_t top = 1;
    while (top < bound && !one_in(4)) {
      top *= 4;
    }
    return 1 + below(top < bound ? top : bound);
  }

 private:
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

}  // namespace ftrun::sim
