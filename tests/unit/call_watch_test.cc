// SPDX-License-Identifier: Apache-2.0
// Code that makes no calls, as the supervisor sees it; no process, no clock.
#include "supervisor/replica/call_watch.h"

#include <gtest/gtest.h>

namespace ftrun {
namespace {

constexpr int64_t kTickNs = 25'000'000;

struct Looks {
  CallWatch watch;
  int64_t now_ns = 0;
  CallWatch::Sample sample{.may_run = true};
  // For how long it has computed after so many ticks, in each of which it uses `cpu_ns`.
  int64_t after(int ticks, int64_t cpu_ns, uint64_t calls = 0) {
    int64_t lasts = 0;
    for (int i = 0; i < ticks; ++i) {
      now_ns += kTickNs;
      sample.cpu_ns += static_cast<uint64_t>(cpu_ns);
      sample.calls += calls;
      lasts = watch.tick(now_ns, sample);
    }
    return lasts;
  }
};

TEST(CallWatch, ComputingWithoutCallsIsCountedAndACallEndsIt) {
  Looks looks;
  EXPECT_EQ(looks.after(1, kTickNs), 0);
  EXPECT_EQ(looks.after(80, kTickNs), 2'000'000'000);
  EXPECT_EQ(looks.after(1, kTickNs, 1), 0);
  EXPECT_EQ(looks.after(4, kTickNs), 100'000'000);
}

TEST(CallWatch, OnAFullMachineItComputesToo) {
  Looks looks;
  EXPECT_EQ(looks.after(81, kTickNs / 20), 2'000'000'000);
}

TEST(CallWatch, WhoWaitsInTheKernelDoesNotCompute) {
  Looks looks;
  EXPECT_EQ(looks.after(81, kTickNs / 1000), 0);
}

TEST(CallWatch, WhoSleepsDoesNotCompute) {
  Looks looks;
  looks.after(40, kTickNs);
  looks.sample.may_run = false;
  EXPECT_EQ(looks.after(40, kTickNs), 0);
  looks.sample.may_run = true;
  EXPECT_EQ(looks.after(1, kTickNs), 0);
  EXPECT_EQ(looks.after(1, kTickNs), kTickNs);
}

}  // namespace
}  // namespace ftrun
