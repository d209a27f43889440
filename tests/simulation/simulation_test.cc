// SPDX-License-Identifier: Apache-2.0
// The unit core under thousands of seeded schedules with at most one fault each: every client sees
// every reply exactly once and in order, nobody is reset, the unit ends cleanly in the state that
// the world has seen. As many seeds as fit in FTRUN_SIMULATION_SECONDS (120) from
// FTRUN_SIMULATION_SEED (1) on; campaign.py runs millions.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
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

// Of the known transitions, those that the first thousand seeds go through at least.
constexpr double kShareOfAThousand = 0.5;

TEST(Simulation, InvariantsHoldThroughFaults) {
  const uint64_t first = from_environment("FTRUN_SIMULATION_SEED", 1);
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::seconds(from_environment("FTRUN_SIMULATION_SECONDS", 120));
  Coverage coverage;
  Outcome all;
  uint64_t seeds = 0;
  while (std::chrono::steady_clock::now() < end) {
    Options options;
    options.seed = first + seeds;
    options.coverage = &coverage;
    const Outcome outcome = simulate(options);
    ASSERT_EQ(outcome.failure, "") << "reproduce: simulate --trace --seed " << options.seed;
    all.add(outcome);
    ++seeds;
  }
  const std::set<std::string> known = known_transitions();
  fmt::print("{} seeds: {}\n", seeds, coverage.summary(known));
  if (seeds >= 1000) {  // the simulation does what it is for
    EXPECT_GT(all.takeovers, seeds / 3);
    EXPECT_GT(all.requests, seeds * 10);
    EXPECT_GT(static_cast<double>(coverage.covered(known)),
              kShareOfAThousand * static_cast<double>(known.size()));
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
