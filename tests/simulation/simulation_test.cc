// SPDX-License-Identifier: Apache-2.0
// The unit core under thousands of seeded schedules with at most one fault each: every client sees
// every reply exactly once and in order, nobody is reset, the unit ends cleanly in the state that
// the world has seen. FTRUN_SIMULATION_SEEDS and FTRUN_SIMULATION_SEED choose other runs.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>

#include "tests/simulation/world.h"

namespace ftrun::sim {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(Simulation, InvariantsHoldThroughOneFault) {
  const uint64_t first = from_environment("FTRUN_SIMULATION_SEED", 1);
  const uint64_t seeds = from_environment("FTRUN_SIMULATION_SEEDS", 10000);
  uint64_t takeovers = 0;
  uint64_t requests = 0;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    Options options;
    options.seed = seed;
    const Outcome outcome = simulate(options);
    ASSERT_EQ(outcome.failure, "") << "reproduce: simulate --trace --seed " << seed;
    takeovers += outcome.takeovers;
    requests += outcome.requests;
  }
  if (seeds >= 1000) {  // the simulation does what it is for
    EXPECT_GT(takeovers, seeds / 3);
    EXPECT_GT(requests, seeds * 10);
  }
}

TEST(Simulation, SameSeedSameRun) {
  std::set<uint64_t> fingerprints;
  constexpr uint64_t kSeeds = 200;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Options options;
    options.seed = seed;
    const Outcome once = simulate(options);
    const Outcome again = simulate(options);
    EXPECT_EQ(once.steps, again.steps) << seed;
    EXPECT_EQ(once.fingerprint, again.fingerprint) << seed;
    fingerprints.insert(once.fingerprint);
  }
  EXPECT_EQ(fingerprints.size(), kSeeds);
}

}  // namespace
}  // namespace ftrun::sim
