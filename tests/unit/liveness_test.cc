// SPDX-License-Identifier: Apache-2.0
// Verdicts about silent processes, in virtual time; and what /proc says about real ones.
#include "supervisor/members/liveness.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ftrun {
namespace {

constexpr int64_t kMs = 1'000'000;

TEST(Silence, LateTicksRestartItSoManyTimes) {
  Silence silence;
  silence.heard(0);
  int64_t now = 0;
  for (unsigned i = 0; i < kLateTicksForgivenMax; ++i) {
    silence.tick(now += 1000 * kMs, true);
    EXPECT_EQ(silence.lasts_ns(now), 0);
  }
  silence.tick(now += 60 * kMs, true);
  EXPECT_EQ(silence.lasts_ns(now), 60 * kMs);
  silence.heard(now);
  silence.tick(now += 60 * kMs, true);
  EXPECT_EQ(silence.lasts_ns(now), 0);
  silence.tick(now += 25 * kMs, false);
  EXPECT_EQ(silence.lasts_ns(now), 25 * kMs);
}

TEST(Verdict, StarvedProcessesGetMoreTimeButNotForEver) {
  const process::ProcessLook sleeping;
  process::ProcessLook runnable, disk, stopped;
  runnable.runnable = disk.waits_for_disk = stopped.stopped = true;
  EXPECT_FALSE(starved(sleeping, 0, 150 * kMs));
  EXPECT_TRUE(starved(runnable, 10 * kMs, 150 * kMs));
  EXPECT_FALSE(starved(runnable, 140 * kMs, 150 * kMs));  // it had the CPU and said nothing
  EXPECT_TRUE(starved(disk, 0, 150 * kMs));
  EXPECT_TRUE(starved(sleeping, 2 * kMs, 150 * kMs));  // it got on, if slowly
  EXPECT_FALSE(starved(stopped, 2 * kMs, 150 * kMs));
  EXPECT_FALSE(hangs(150 * kMs, 150 * kMs, false));
  EXPECT_TRUE(hangs(150 * kMs + 1, 150 * kMs, false));
  EXPECT_FALSE(hangs(kStarvedPatience * 150 * kMs, 150 * kMs, true));
  EXPECT_TRUE(hangs(kStarvedPatience * 150 * kMs + 1, 150 * kMs, true));
}

TEST(ProgressWatch, OnlyWorkThatIsNotDoneCounts) {
  ProgressWatch watch;
  int64_t now = 0;
  const auto tick = [&](bool has_work, uint64_t done, uint64_t cpu_ns) {
    return watch.tick(now += 25 * kMs, false, {has_work, done, cpu_ns});
  };
  EXPECT_EQ(tick(false, 0, 0), 0);
  EXPECT_EQ(tick(false, 0, 0), 0);        // nothing to do
  EXPECT_EQ(tick(true, 0, 70 * kMs), 0);  // it has only just got work
  EXPECT_EQ(tick(true, 0, 70 * kMs), 25 * kMs);
  EXPECT_EQ(tick(true, 0, 70 * kMs), 50 * kMs);
  EXPECT_EQ(tick(true, 1, 70 * kMs), 0);  // a ring moved
  EXPECT_EQ(tick(true, 1, 70 * kMs + 1000), 25 * kMs);
  EXPECT_EQ(watch.cpu_used_ns(70 * kMs + 1000), 1000u);
  EXPECT_EQ(tick(true, 1, 71 * kMs), 0);  // it computes
  EXPECT_EQ(tick(true, 1, 71 * kMs), 25 * kMs);
  EXPECT_EQ(watch.tick(now += 1000 * kMs, true, {true, 1, 71 * kMs}), 0);  // we were stopped
}

TEST(ProcessLook, TellsBusyFromStoppedFromSleeping) {
  const pid_t busy = fork();
  if (busy == 0) {
    for (;;) {
      getppid();  // an empty loop would be undefined
    }
  }
  const pid_t sleeping = fork();
  if (sleeping == 0) {
    for (;;) {
      pause();
    }
  }
  while (process::process_cpu_ns(busy) < 5 * kMs) {
    poll(nullptr, 0, 1);
  }
  EXPECT_TRUE(process::look_at_process(busy).runnable);
  kill(busy, SIGSTOP);
  int status = 0;
  ASSERT_EQ(waitpid(busy, &status, WUNTRACED), busy);
  EXPECT_FALSE(process::look_at_process(busy).runnable);
  const uint64_t used_ns = process::process_cpu_ns(busy);
  while (process::look_at_process(sleeping).runnable) {
    poll(nullptr, 0, 1);
  }
  EXPECT_EQ(process::process_cpu_ns(busy), used_ns);
  for (const pid_t child : {busy, sleeping}) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  EXPECT_FALSE(process::look_at_process(busy).runnable);
  EXPECT_EQ(process::process_cpu_ns(busy), 0u);
}

}  // namespace
}  // namespace ftrun
