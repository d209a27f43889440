// SPDX-License-Identifier: Apache-2.0
// What `ftrun check` makes of events, of looks at an application, and of what it found.
#include <gtest/gtest.h>
#include <signal.h>

#include "cli/check_report.h"
#include "cli/spin_watch.h"
#include "supervisor/process/running_place.h"

namespace ftrun::cli {
namespace {

TEST(FindCalls, TellsEndedFromFailedFromDenied) {
  std::string failure;
  const auto calls = find_calls(
      {R"({"kind":"started","text":"supervisor 1, application 2"})",
       R"({"kind":"notice","text":"system call clone3 is not supported: answered ENOSYS"})",
       R"({"kind":"notice","text":"refused: open of /etc/x for writing"})",
       R"({"kind":"notice","text":"refused: open of /etc/x for writing"})", "no JSON",
       R"({"kind":"app_failed","text":"system call 29 (shmget) is not supported, called from x"})"},
      &failure);
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[0].grade, Grade::kStops);
  EXPECT_EQ(calls[1].grade, Grade::kLoses);
  EXPECT_EQ(calls[1].count, 2);
  EXPECT_EQ(calls[2].grade, Grade::kHarmless);
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
  findings.objects = {{.path = "/lib/libx.so", .uses = {{"draw", Instruction::kRdrand, 2}}}};
  CheckReport report = check_report(findings);
  EXPECT_EQ(report.exit_code, kCheckClean);
  EXPECT_NE(report.text.find("loses     RDRAND"), std::string::npos);
  findings.objects.push_back({.path = "/bin/server", .uses = {{"roll", Instruction::kRdseed, 1}}});
  report = check_report(findings);
  EXPECT_EQ(report.exit_code, kCheckFound);
  EXPECT_NE(report.text.find("stops     RDSEED        possible, in /bin/server, roll"),
            std::string::npos);
}

TEST(CheckReport, TimeStampCounterIsOnlyANote) {
  CheckFindings findings = clean_run();
  findings.objects = {{.path = "/bin/server", .uses = {{"now", Instruction::kRdtsc, 1}}}};
  const CheckReport report = check_report(findings);
  EXPECT_EQ(report.exit_code, kCheckClean);
  EXPECT_NE(report.text.find("harmless  RDTSC"), std::string::npos);
}

TEST(CheckReport, WhatIsDisarmedStopsNothing) {
  CheckFindings findings = clean_run();
  findings.objects = {{.path = "/bin/server",
                       .uses = {{"OPENSSL_ia32_rdrand_bytes", Instruction::kRdrand, 1},
                                {"offset 0x1234", Instruction::kRdseed, 1}},
                       .has_openssl = true}};
  EXPECT_EQ(check_report(findings).exit_code, kCheckClean);
  findings.objects[0].uses.push_back({"roll", Instruction::kRdrand, 1});
  EXPECT_EQ(check_report(findings).exit_code, kCheckFound);
}

TEST(CheckReport, OurOwnKillIsNoCrash) {
  CheckFindings findings = clean_run();
  findings.ended_by_force = true;
  findings.failure = "signal 9 (Killed)";
  findings.exit_status = 128 + SIGKILL;
  const CheckReport report = check_report(findings);
  EXPECT_EQ(report.exit_code, kCheckClean);
  EXPECT_NE(report.text.find("loses     end           the server did not end after SIGTERM"),
            std::string::npos)
      << report.text;
}

TEST(CheckReport, WhatTheRunDidNotShowIsNamed) {
  CheckFindings findings = clean_run();
  findings.objects = {{.path = "/bin/server", .doubtful = {"connect", "fork"}},
                      {.path = "/lib/libc.so.6", .doubtful = {"ptrace"}}};
  findings.calls = {{Grade::kLoses, "connect to 10.0.0.1:80 answered ENETUNREACH", "", 1}};
  const CheckReport report = check_report(findings);
  EXPECT_EQ(report.exit_code, kCheckClean);
  EXPECT_NE(report.text.find("unseen    calls         /bin/server can call fork; this run did not"),
            std::string::npos)
      << report.text;
  EXPECT_EQ(report.text.find("ptrace"), std::string::npos);
  EXPECT_NE(report.text.find("something is lost"), std::string::npos);
}

TEST(CheckReport, ASpinThatNeverEndsStopsAComputationDoesNot) {
  CheckFindings findings = clean_run();
  findings.spins = 1;
  findings.longest_spin_ms = 5000;
  EXPECT_EQ(check_report(findings).exit_code, kCheckClean);
  findings.spin_at_end_ms = 5000;
  EXPECT_EQ(check_report(findings).exit_code, kCheckFound);
  findings.spin_at_end_ms = 0;
  findings.failure =
      "has made no call for 5.0 s, in wait (server), thread 2: it does not hear SIGTERM";
  EXPECT_NE(check_report(findings).text.find("stops     progress      a spin loop"),
            std::string::npos);
}

TEST(Verdicts, WhatLibcTriesByItselfIsHarmless) {
  EXPECT_EQ(
      verdict_of_notice("socket(AF_UNIX, SOCK_STREAM) answered EAFNOSUPPORT: only TCP, called "
                        "from /lib/x86_64-linux-gnu/libc.so.6 at 0x7")
          .grade,
      Grade::kHarmless);
  EXPECT_EQ(
      verdict_of_notice("socket(AF_UNIX, SOCK_STREAM) answered EAFNOSUPPORT: only TCP, called "
                        "from /usr/bin/server at 0x7")
          .grade,
      Grade::kLoses);
  EXPECT_EQ(
      verdict_of_notice("write outside the state directories refused: /proc/self/coredump_filter")
          .grade,
      Grade::kHarmless);
}

TEST(CheckReport, EveryBadEndStops) {
  for (const auto& spoil : {+[](CheckFindings* findings) { findings->exit_status = 3; },
                            +[](CheckFindings* findings) { findings->exit_status.reset(); },
                            +[](CheckFindings* findings) { findings->failure = "signal 11"; }}) {
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
  const process::RunningPlace found = process::running_place(
      "thread 77 (tid 2 in its namespace):\n"
      "  #0  0x00007ffff7e92829 wait+0x12 (libftpreload.so+0x345)\n"
      "thread 78 (tid 3 in its namespace):\n"
      "  #0  0x0000555555555555 spin+0x12 (server+0x345)\n");
  EXPECT_EQ(found.place, "spin (server)");
  EXPECT_EQ(found.thread, "thread 3");
  EXPECT_EQ(process::running_place("").place, "");
}

}  // namespace
}  // namespace ftrun::cli
