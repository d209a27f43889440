// SPDX-License-Identifier: Apache-2.0
// Where a busy supervisor moves itself, and when it stays where it is.
#include "supervisor/replica/placement.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>
#include <vector>

namespace ftrun {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr uint64_t kReads = 1000;

std::vector<int> allowed_cores() {
  cpu_set_t set;
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) {
        cores.push_back(core);
      }
    }
  }
  return cores;
}

void run_on(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) {
    CPU_SET(core, &set);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
}

// Each case in a thread of its own, on two cores, of which it is on the first.
class PlacementTest : public testing::Test {
 protected:
  void SetUp() override {
    if (allowed_cores().size() < 2) {
      GTEST_SKIP() << "with one core there is nowhere to move to";
    }
  }

  // Whether choose() takes it from `from` to `wanted`. The scheduler may move it too, but not in
  // every one of some tries.
  static bool gets_to(int wanted, int from, unsigned replicas, const edge::Edge::Traffic& traffic,
                      bool together) {
    const std::vector<int> all = allowed_cores();
    bool there = false;
    std::thread([&] {
      for (int i = 0; i < 20 && !there; ++i) {
        run_on({from});
        run_on({all[0], all[1]});
        Placement placement(replicas);
        placement.choose(traffic, together, i * kMs);
        there = sched_getcpu() == wanted;
        EXPECT_EQ(allowed_cores().size(), 2u) << "moved, not pinned";
      }
    }).join();
    return there;
  }
};

TEST_F(PlacementTest, JoinsItsPacketsOrKeepsAwayFromThem) {
  const std::vector<int> all = allowed_cores();
  const edge::Edge::Traffic first{.reads = kReads, .bytes = kReads * 100, .core = all[0]};
  const edge::Edge::Traffic second{.reads = kReads, .bytes = kReads * 100, .core = all[1]};
  EXPECT_TRUE(gets_to(all[1], all[0], 2, second, true));
  EXPECT_TRUE(gets_to(all[0], all[1], 2, first, true));
  EXPECT_TRUE(gets_to(all[1], all[0], 2, first, false));
  EXPECT_TRUE(gets_to(all[0], all[1], 2, second, false));
}

TEST(PlacementInterval, IsDueNowAndThen) {
  Placement placement(2);
  EXPECT_TRUE(placement.is_due(0));
  placement.choose({}, true, 5 * kMs);
  EXPECT_FALSE(placement.is_due(14 * kMs));
  EXPECT_TRUE(placement.is_due(15 * kMs));
}

TEST_F(PlacementTest, LeavesItToTheScheduler) {
  const std::vector<int> all = allowed_cores();
  const auto stays = [&](unsigned replicas, const edge::Edge::Traffic& traffic) {
    return gets_to(all[0], all[0], replicas, traffic, true);
  };
  EXPECT_TRUE(stays(1, {.reads = kReads, .bytes = kReads, .core = all[1]})) << "cores enough";
  EXPECT_TRUE(stays(2, {.reads = 5, .bytes = 5, .core = all[1]})) << "hardly any traffic";
  EXPECT_TRUE(stays(2, {.reads = kReads, .bytes = kReads * 2000, .core = all[1]})) << "large";
  EXPECT_TRUE(stays(2, {.reads = kReads, .bytes = kReads, .core = -1})) << "unknown";
  EXPECT_TRUE(stays(2, {.reads = kReads, .bytes = kReads, .core = CPU_SETSIZE})) << "no such core";
}

}  // namespace
}  // namespace ftrun
