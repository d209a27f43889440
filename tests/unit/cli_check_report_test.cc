// SPDX-License-Identifier: Apache-2.0
// What `ftrun check` makes of events, of looks at an application, and of what it found.
#include <gtest/gtest.h>
#include <signal.h>

#include "cli/check_report.h"
#include "cli/spin_watch.h"

namespace ftrun::cli {
namespace {

TEST(FindCalls, TellsEndedFromFailedFromDenied) {
  std::string failure;
  const auto calls = find_calls(
      {R"({"kind":"started","text":"supervisor 1, application 2"})",
       R"({"kind":"notice","text":"system call 435 (clone3) answered with ENOSYS"})",
       R"({"kind":"notice","text":"refused: open of /etc/x for writing"})",
       R"({"kind":"notice","text":"refused: open of /etc/x for writing"})", "no JSON",
       R"({"kind":"app_failed","text":"system call 29 (shmget) is not supported, called from x"})"},
      &failure);
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[0].outcome, CallOutcome::kEnded);
  EXPECT_EQ(calls[1].outcome, CallOutcome::kFailed);
  EXPECT_EQ(calls[1].count, 2);
  EXPECT_EQ(calls[2].outcome, CallOutcome::kFallback);
  EXPECT_EQ(failure, "");
}

TEST(FindCalls, KeepsWhatElseEndedTheApplication) {
  std::string failure;
  EXPECT_TRUE(
      find_calls({R"x({"kind":"app_failed","text":"signal 11 (Segmentation fault)"})x"}, &failure)
          .empty());
  EXPECT_EQ(failure, "signal 11 (Segmentation fault)");
}

CheckFindings clean_run() {
  CheckFindings findings;
  findings.program = "/bin/server";
  findings.exit_status = 0;
  findings.stop_signal = SIGTERM;
  findings.volume = {2.0, 100, 2000, 1000};
  return findings;
}

TEST(CheckReport, CleanRun) {
  const CheckReport report = check_report(clean_run());
  EXPECT_EQ(report.exit_code, kCheckClean);
  EXPECT_NE(report.text.find("status 0 after SIGTERM, as asked"), std::string::npos);
  EXPECT_NE(report.text.find("100 records (50 a second), 2000 bytes"), std::string::npos);
  EXPECT_NE(report.text.find("2.00 bytes of log for each"), std::string::npos);
}

TEST(CheckReport, InstructionInTheProgramIsADangerInALibraryAWarning) {
  CheckFindings findings = clean_run();
  findings.objects = {{"/lib/libx.so", {{"draw", Instruction::kRdrand, 2}}, 0}};
  CheckReport report = check_report(findings);
  EXPECT_EQ(report.exit_code, kCheckClean);
  EXPECT_NE(report.text.find("warning RDRAND"), std::string::npos);
  findings.objects.push_back({"/bin/server", {{"roll", Instruction::kRdseed, 1}}, 0});
  report = check_report(findings);
  EXPECT_EQ(report.exit_code, kCheckFound);
  EXPECT_NE(report.text.find("danger  RDSEED        possible, in /bin/server, roll"),
            std::string::npos);
}

TEST(CheckReport, TimeStampCounterIsOnlyANote) {
  CheckFindings findings = clean_run();
  findings.objects = {{"/bin/server", {{"now", Instruction::kRdtsc, 1}}, 0}};
  const CheckReport report = check_report(findings);
  EXPECT_EQ(report.exit_code, kCheckClean);
  EXPECT_NE(report.text.find("note    RDTSC"), std::string::npos);
}

TEST(CheckReport, EveryBadEndIsADanger) {
  for (const auto& spoil : {+[](CheckFindings* findings) { findings->exit_status = 3; },
                            +[](CheckFindings* findings) { findings->exit_status.reset(); },
                            +[](CheckFindings* findings) { findings->failure = "signal 11"; },
                            +[](CheckFindings* findings) { findings->ended_by_force = true; }}) {
    CheckFindings findings = clean_run();
    spoil(&findings);
    EXPECT_EQ(check_report(findings).exit_code, kCheckFound);
  }
}

TEST(SpinWatch, CountsAStretchOfComputingOnce) {
  SpinWatch watch;
  ActivityLook look;
  int news = 0;
  for (int i = 0; i < 50; ++i) {  // 500 ms of CPU time, no call
    look.now_ns += 10'000'000;
    look.cpu_ns += 10'000'000;
    news += watch.add(look) ? 1 : 0;
  }
  EXPECT_EQ(news, 1);
  EXPECT_EQ(watch.stretches(), 1);
  EXPECT_GE(watch.longest_ms(), 400u);
}

TEST(SpinWatch, CallsAndSleepEndAStretch) {
  SpinWatch watch;
  ActivityLook look;
  for (int i = 0; i < 200; ++i) {
    look.now_ns += 10'000'000;
    look.cpu_ns += i % 8 == 0 ? 0 : 10'000'000;  // sleeps now and then
    EXPECT_FALSE(watch.add(look));
  }
  for (int i = 0; i < 200; ++i) {
    look.now_ns += 10'000'000;
    look.cpu_ns += 10'000'000;
    look.records += i % 8 == 0 ? 1 : 0;
    EXPECT_FALSE(watch.add(look));
  }
}

TEST(RunningPlace, IsOutsideOfTheShim) {
  EXPECT_EQ(running_place("thread 1\n  #0  0x00007ffff7e92829 wait+0x12 (libftpreload.so+0x345)\n"
                          "thread 2\n  #0  0x0000555555555555 spin+0x12 (server+0x345)\n"),
            "spin (server)");
  EXPECT_EQ(running_place(""), "");
}

}  // namespace
}  // namespace ftrun::cli
