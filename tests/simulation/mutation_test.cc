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

// Whether a child that runs seeds with these options fails: by an invariant, an assertion or an
// exception, which must not get as far as the test's own frame.
bool found(Options options, uint64_t seeds = kSeedsMax) noexcept {
  const pid_t child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    for (options.seed = 1; options.seed <= seeds; ++options.seed) {
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

// Some rules matter in some units only.
struct Named {
  const char* name;
  unit::Mutation mutation;
  std::optional<unit::Topology> topology = std::nullopt;
  size_t members = 0;
  Fault fault = Fault::kNone;
  bool reckless = false;
  unsigned tolerance = 0;
  std::optional<unit::Input> input = std::nullopt;
  uint64_t seeds = kSeedsMax;  // more, where it takes two deaths within a round trip
  bool hands_over = false;
  unit::Logging logging = unit::Logging::kLate;
};

// One of early logging.
Named early(const char* name, unit::Mutation mutation, size_t members = 0,
            std::optional<unit::Topology> topology = std::nullopt) {
  return {.name = name,
          .mutation = mutation,
          .topology = topology,
          .members = members,
          .logging = unit::Logging::kEarly};
}

class PlantedBug : public testing::TestWithParam<Named> {};

TEST_P(PlantedBug, IsFound) {
  Options options;
  options.mutation = GetParam().mutation;
  options.topology = GetParam().topology;
  options.members = GetParam().members;
  options.fault = GetParam().fault;
  options.reckless = GetParam().reckless;
  options.tolerance = GetParam().tolerance;
  options.input = GetParam().input;
  options.hands_over = GetParam().hands_over;
  options.logging = GetParam().logging;
  EXPECT_TRUE(found(options, GetParam().seeds))
      << GetParam().name << ": not found in " << GetParam().seeds << " seeds";
}

INSTANTIATE_TEST_SUITE_P(
    All, PlantedBug,
    testing::Values(
        Named{"ForgetOpens", unit::Mutation::kForgetOpens},
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
        Named{"TrustAdoptedLock", unit::Mutation::kTrustAdoptedLock},
        Named{"ForgetForward", unit::Mutation::kForgetForward},
        Named{"ForgetResend", unit::Mutation::kForgetResend},
        Named{"ReleaseUnheld", unit::Mutation::kReleaseUnheld, unit::Topology::kFanout, 3,
              Fault::kNone, false, 2},
        Named{"TakeOldFrames", unit::Mutation::kTakeOldFrames},
        Named{"DropNewFrames", unit::Mutation::kDropNewFrames},
        Named{"TrimEarly", unit::Mutation::kTrimEarly},
        Named{"ProposeOnce", unit::Mutation::kProposeOnce},
        Named{"ForgetSuspicion", unit::Mutation::kForgetSuspicion},
        Named{"FastestBounds", unit::Mutation::kFastestBounds},
        Named{"ForgetFed", unit::Mutation::kForgetFed},
        Named{"TakeOverEarly", unit::Mutation::kTakeOverEarly, std::nullopt, 3},
        Named{"GoLiveEarly", unit::Mutation::kGoLiveEarly, std::nullopt, 3, Fault::kPoison},
        Named{"GoLiveShort", unit::Mutation::kGoLiveShort, unit::Topology::kFanout, 4},
        Named{"ForgetEarlyClose", unit::Mutation::kForgetEarlyClose, unit::Topology::kFanout, 5},
        Named{"TakeFromDeadOnly", unit::Mutation::kTakeFromDeadOnly, std::nullopt, 3},
        Named{"ForgetUnwritten", unit::Mutation::kForgetUnwritten, std::nullopt, 3},
        Named{"KeepUnlogged", unit::Mutation::kKeepUnlogged, std::nullopt, 3},
        Named{"ServeBeyondTolerance", unit::Mutation::kServeBeyondTolerance,
              unit::Topology::kFanout, 3, Fault::kKillSupervisor, true},
        Named{"ForgetOthers", unit::Mutation::kForgetOthers},
        Named{"ReferToOlder", unit::Mutation::kReferToOlder},
        Named{"KeepInput", unit::Mutation::kKeepInput},
        Named{"ForgetTaken", unit::Mutation::kForgetTaken},
        Named{"IgnoreInputDigest", unit::Mutation::kIgnoreInputDigest},
        Named{"RefuseIncomplete", unit::Mutation::kRefuseIncomplete},
        Named{"CountIncomplete", unit::Mutation::kCountIncomplete, unit::Topology::kFanout, 3,
              Fault::kNone, false, 2},
        Named{"ForwardIncomplete", unit::Mutation::kForwardIncomplete, unit::Topology::kChain, 4,
              Fault::kKillSupervisor, false, 0, unit::Input::kReference, 20000},
        Named{"ReserveLate", unit::Mutation::kReserveLate},
        Named{"ReadOn", unit::Mutation::kReadOn},
        Named{"ProposeUseless", unit::Mutation::kProposeUseless, std::nullopt, 2, Fault::kKillApp},
        Named{"GoOnWithLess", unit::Mutation::kGoOnWithLess, unit::Topology::kFanout, 3,
              Fault::kKillSupervisor, true, 1, std::nullopt, 20000},
        Named{.name = "TrustNewOrder",
              .mutation = unit::Mutation::kTrustNewOrder,
              .topology = unit::Topology::kChain,
              .members = 4,
              .hands_over = true},
        Named{.name = "StepDownOnce",
              .mutation = unit::Mutation::kStepDownOnce,
              .members = 3,
              .hands_over = true},
        Named{.name = "TellStepping",
              .mutation = unit::Mutation::kTellStepping,
              .members = 3,
              .hands_over = true},
        Named{.name = "FeedStepped",
              .mutation = unit::Mutation::kFeedStepped,
              .members = 3,
              .hands_over = true},
        Named{.name = "BoundStepping",
              .mutation = unit::Mutation::kBoundStepping,
              .members = 4,
              .hands_over = true},
        Named{.name = "ForgetSuccessor",
              .mutation = unit::Mutation::kForgetSuccessor,
              .topology = unit::Topology::kFanout,
              .members = 3,
              .hands_over = true},
        Named{.name = "HandOverEarly", .mutation = unit::Mutation::kHandOverEarly, .members = 3},
        Named{"ReadOutputOn", unit::Mutation::kReadOutputOn},
        Named{"WaitForOwnOutput", unit::Mutation::kWaitForOwnOutput},
        Named{"FeedStandby", unit::Mutation::kFeedStandby, unit::Topology::kFanout, 3},
        Named{"KeepLagging", unit::Mutation::kKeepLagging, unit::Topology::kFanout, 3},
        Named{"KeepUndoneAnswers", unit::Mutation::kKeepUndoneAnswers, std::nullopt, 3,
              Fault::kBadTurns},
        early("OfferPartAgain", unit::Mutation::kOfferPartAgain),
        early("ForgetParts", unit::Mutation::kForgetParts, 3, unit::Topology::kFanout),
        early("GoLiveWithoutPart", unit::Mutation::kGoLiveWithoutPart, 4, unit::Topology::kFanout),
        early("TakeOldParts", unit::Mutation::kTakeOldParts),
        early("FeedGaps", unit::Mutation::kFeedGaps, 4, unit::Topology::kFanout),
        early("CountPartAsInput", unit::Mutation::kCountPartAsInput),
        early("ReferToPart", unit::Mutation::kReferToPart)),
    [](const auto& info) { return std::string(info.param.name); });

TEST(PlantedBug, EachIsPlantedHere) {
  EXPECT_EQ(unit::kMutations, 76);
}

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
