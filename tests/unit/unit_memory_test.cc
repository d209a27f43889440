// SPDX-License-Identifier: Apache-2.0
// The memory of a unit: one winner per epoch, however many publish at once; a signal once.
#include "supervisor/arbiter/unit_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

namespace ftrun {
namespace {

unit::View view(uint64_t epoch, std::vector<unit::ReplicaId> replicas) {
  return {epoch, replicas, replicas.back()};
}

TEST(UnitMemory, ViewsPackAndUnpack) {
  for (const unit::View& good :
       {view(1, {0}), view(7, {1, 0}), view(4096, {8, 7, 6, 5, 4, 3, 2, 1, 0}), view(3, {25, 0})}) {
    const auto word = pack_view(good);
    ASSERT_TRUE(word && *word != 0);
    EXPECT_EQ(unpack_view(good.epoch, *word), good);
  }
  EXPECT_FALSE(pack_view({1, {}, 0}));
  EXPECT_FALSE(pack_view({1, {0, 1}, 2}));
  EXPECT_FALSE(pack_view(view(1, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})));
  for (const uint64_t bad : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{1} << 59}) {
    EXPECT_FALSE(unpack_view(1, bad)) << bad;
  }
}

TEST(UnitMemory, SecondPublisherOfAnEpochGetsTheFirstOnesView) {
  auto memory = UnitMemory::create();
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  EXPECT_FALSE(memory->current());
  EXPECT_EQ(*memory->publish(view(1, {0, 1})), view(1, {0, 1}));
  EXPECT_EQ(*memory->publish(view(2, {0})), view(2, {0}));
  EXPECT_EQ(*memory->publish(view(2, {1})), view(2, {0}));
  EXPECT_EQ(*memory->publish(view(1, {1})), view(2, {0}));
  EXPECT_EQ(memory->current(), view(2, {0}));
  EXPECT_FALSE(memory->publish(view(kEpochsMax + 1, {0})).ok());
}

TEST(UnitMemory, ManyProcessesAgree) {
  constexpr int kProcesses = 8;
  auto memory = UnitMemory::create();
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(memory->publish(view(1, {0, 1, 2, 3, 4, 5, 6, 7})).ok());
  for (int i = 0; i < kProcesses; ++i) {
    if (fork() == 0) {
      auto own = UnitMemory::attach(dup(memory->fd()));
      const auto id = static_cast<unit::ReplicaId>(i);
      _exit(own.ok() ? own->publish(view(2, {id}))->sender : 100);
    }
  }
  std::set<int> winners;
  for (int i = 0; i < kProcesses; ++i) {
    int status = 0;
    ASSERT_GT(wait(&status), 0);
    winners.insert(WEXITSTATUS(status));
  }
  EXPECT_EQ(winners.size(), 1u);
  EXPECT_LT(*winners.begin(), kProcesses);
}

TEST(UnitMemory, ASignalToAllIsOneSignal) {
  auto memory = UnitMemory::create();
  ASSERT_TRUE(memory.ok());
  const int64_t now_ns = 5'000'000'000;
  EXPECT_TRUE(memory->claim_signal(15, 1, now_ns));
  EXPECT_FALSE(memory->claim_signal(15, 2, now_ns + 1000));
  EXPECT_TRUE(memory->claim_signal(2, 2, now_ns + 1000)) << "another signal";
  EXPECT_TRUE(memory->claim_signal(15, 1, now_ns + 2000)) << "sent again to the same process";
  EXPECT_FALSE(memory->claim_signal(15, 2, now_ns + 3000));
  EXPECT_TRUE(memory->claim_signal(15, 2, now_ns + 2 * kOneSignalNs)) << "later";
  memory->disclaim_signal(15);
  EXPECT_TRUE(memory->claim_signal(15, 1, now_ns + 2 * kOneSignalNs)) << "given up";
  EXPECT_EQ(memory->next_signal(), 1u);
  EXPECT_EQ(memory->next_signal(), 2u);
}

TEST(UnitMemory, WhatIsNoneIsRefused) {
  EXPECT_FALSE(UnitMemory::attach(-1).ok());
  EXPECT_FALSE(UnitMemory::attach(memfd_create("other", MFD_CLOEXEC)).ok());
  const int blank = memfd_create("blank", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(blank, sizeof(UnitMemoryLayout)), 0);
  EXPECT_FALSE(UnitMemory::attach(blank).ok());
}

}  // namespace
}  // namespace ftrun
