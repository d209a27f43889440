// SPDX-License-Identifier: Apache-2.0
// The simulation can fail: each planted bug is found within a few thousand seeds. A run with a bug
// may break an assertion of the core, so each is run in a child process.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "tests/simulation/world.h"

namespace ftrun::sim {
namespace {

constexpr uint64_t kSeedsMax = 4000;

// Whether a child that runs seeds with these options fails: by an invariant, or an assertion.
bool found(Options options) {
  const pid_t child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    for (options.seed = 1; options.seed <= kSeedsMax; ++options.seed) {
      if (!simulate(options).failure.empty()) {
        _exit(1);
      }
    }
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

struct Named {
  const char* name;
  unit::Mutation mutation;
};

class PlantedBug : public testing::TestWithParam<Named> {};

TEST_P(PlantedBug, IsFound) {
  Options options;
  options.mutation = GetParam().mutation;
  EXPECT_TRUE(found(options)) << GetParam().name << ": not found in " << kSeedsMax << " seeds";
}

INSTANTIATE_TEST_SUITE_P(
    All, PlantedBug,
    testing::Values(Named{"ForgetOpens", unit::Mutation::kForgetOpens},
                    Named{"ForgetData", unit::Mutation::kForgetData},
                    Named{"ForgetFins", unit::Mutation::kForgetFins},
                    Named{"ForgetResets", unit::Mutation::kForgetResets},
                    Named{"ForgetSignals", unit::Mutation::kForgetSignals},
                    Named{"DropLateSignals", unit::Mutation::kDropLateSignals},
                    Named{"ForgetBound", unit::Mutation::kForgetBound},
                    Named{"BoundAfterOpens", unit::Mutation::kBoundAfterOpens},
                    Named{"BoundAfterAdopted", unit::Mutation::kBoundAfterAdopted},
                    Named{"ForgetBacklog", unit::Mutation::kForgetBacklog},
                    Named{"ForgetAccepted", unit::Mutation::kForgetAccepted},
                    Named{"ForgetAcceptedBefore", unit::Mutation::kForgetAcceptedBefore},
                    Named{"ReleaseOutputUnchecked", unit::Mutation::kReleaseOutputUnchecked},
                    Named{"IgnoreDigest", unit::Mutation::kIgnoreDigest},
                    Named{"ReleaseInputUnlogged", unit::Mutation::kReleaseInputUnlogged},
                    Named{"NeverTrim", unit::Mutation::kNeverTrim},
                    Named{"ResendFromStart", unit::Mutation::kResendFromStart},
                    Named{"DropUnknownAdopted", unit::Mutation::kDropUnknownAdopted},
                    Named{"ForgetMissing", unit::Mutation::kForgetMissing},
                    Named{"NoCredit", unit::Mutation::kNoCredit},
                    Named{"CreditTooMuch", unit::Mutation::kCreditTooMuch},
                    Named{"ForgetUrgent", unit::Mutation::kForgetUrgent},
                    Named{"ForgetQuarantine", unit::Mutation::kForgetQuarantine},
                    Named{"ForgetLateInput", unit::Mutation::kForgetLateInput},
                    Named{"CloseAsLogged", unit::Mutation::kCloseAsLogged},
                    Named{"TrustAdoptedLock", unit::Mutation::kTrustAdoptedLock}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(PlantedBugOfTheHost, SkippedKillIsFound) {
  Options options;
  options.skip_kill = true;
  EXPECT_TRUE(found(options));
}

TEST(PlantedBugOfTheHost, EarlyAcceptIsFound) {
  Options options;
  options.accept_early = true;
  EXPECT_TRUE(found(options));
}

TEST(PlantedBugOfTheHost, NoBugIsNotFound) {
  EXPECT_FALSE(found(Options{}));
}

}  // namespace
}  // namespace ftrun::sim
