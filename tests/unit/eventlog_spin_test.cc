// SPDX-License-Identifier: Apache-2.0
// When to look around before sleeping: for a moment, and not where others always want the core.
#include <gtest/gtest.h>

#include "eventlog/spin.h"

namespace ftrun {
namespace {

constexpr int64_t kSpinNs = 50'000;
constexpr int64_t kRoundNs = 1'000;
constexpr int64_t kMs = 1'000'000;

// Has just had nothing to do, found work, and has nothing to do again.
bool start(Spinner* spinner, int64_t* now_ns) {
  spinner->start(*now_ns);
  return spinner->start(*now_ns += 100'000);
}

// Looks around in rounds of `round_ns` until the spinner has enough; returns the rounds.
int spin(Spinner* spinner, int64_t* now_ns, int64_t round_ns) {
  int rounds = 0;
  bool go_on = start(spinner, now_ns);
  while (go_on) {
    ++rounds;
    *now_ns += round_ns;
    go_on = spinner->go_on(*now_ns);
    EXPECT_LT(rounds, 1000);
    if (rounds == 1000) {
      break;
    }
  }
  return rounds;
}

TEST(Spinner, LooksAroundForItsTime) {
  Spinner spinner(kSpinNs);
  int64_t now = 1000 * 1000 * kMs;
  EXPECT_EQ(spin(&spinner, &now, kRoundNs), kSpinNs / kRoundNs);
  EXPECT_EQ(spin(&spinner, &now, kRoundNs), kSpinNs / kRoundNs) << "every time anew";
}

TEST(Spinner, RareWorkIsNotWaitedForAwake) {
  Spinner spinner(kSpinNs);
  int64_t now = 1000 * 1000 * kMs;
  EXPECT_FALSE(spinner.start(now));
  EXPECT_FALSE(spinner.start(now += 1 * kMs)) << "a thousand requests a second";
  EXPECT_TRUE(spinner.start(now += kMs / 2));
}

TEST(Spinner, TimeInWhichOthersRanDoesNotCount) {
  Spinner spinner(kSpinNs);
  int64_t now = 1000 * 1000 * kMs;
  ASSERT_TRUE(start(&spinner, &now));
  for (int batch = 0; batch < 100; ++batch) {
    now += 70'000;  // a client works through its replies
    ASSERT_TRUE(spinner.go_on(now));
  }
  int rounds = 1;
  while (spinner.go_on(now += kRoundNs)) {
    ++rounds;
  }
  EXPECT_EQ(rounds, kSpinNs / kRoundNs);
}

TEST(Spinner, SleepsAtOnceWhereOthersAlwaysWantTheCore) {
  Spinner spinner(kSpinNs);
  int64_t now = 1000 * 1000 * kMs;
  EXPECT_EQ(spin(&spinner, &now, 3 * kMs), 4) << "so many time slices in a row";
  EXPECT_TRUE(spinner.core_is_wanted(now));
  EXPECT_EQ(spin(&spinner, &now, kRoundNs), 0);
  now += 1900 * kMs;
  EXPECT_EQ(spin(&spinner, &now, kRoundNs), 0);
  now += 200 * kMs;
  EXPECT_FALSE(spinner.core_is_wanted(now));
  EXPECT_EQ(spin(&spinner, &now, kRoundNs), kSpinNs / kRoundNs) << "tries again";
}

TEST(Spinner, TriesLessOftenWhereItIsInVain) {
  Spinner spinner(kSpinNs);
  int64_t now = 1000 * 1000 * kMs;
  spin(&spinner, &now, 3 * kMs);
  int tries = 0;
  for (const int64_t end = now + 600 * 1000 * kMs; now < end; now += 100'000) {
    tries += start(&spinner, &now) && spin(&spinner, &now, 3 * kMs) > 0 ? 1 : 0;
  }
  EXPECT_GT(tries, 10);
  EXPECT_LT(tries, 30);
  EXPECT_GT(spin(&spinner, &(now += 60 * 1000 * kMs), 3 * kMs), 0);
  now += 2100 * kMs;
  EXPECT_GT(spin(&spinner, &now, kRoundNs), 0) << "back to the shortest pause after a quiet time";
}

TEST(Spinner, RareSlicesAreAccidents) {
  Spinner spinner(kSpinNs);
  int64_t now = 1000 * 1000 * kMs;
  for (int second = 0; second < 60; ++second) {
    ASSERT_TRUE(start(&spinner, &now));
    ASSERT_TRUE(spinner.go_on(now += 3 * kMs));
    ASSERT_TRUE(spinner.go_on(now += 2 * kMs));
    now += 1000 * kMs;
  }
}

}  // namespace
}  // namespace ftrun
