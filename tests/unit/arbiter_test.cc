// SPDX-License-Identifier: Apache-2.0
// Views: one winner per epoch, however many publish at once; nothing half-written is ever read.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "supervisor/arbiter/views.h"

namespace ftrun::arbiter {
namespace {

class ViewsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "views.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  static unit::View view(uint64_t epoch, std::vector<unit::ReplicaId> replicas) {
    return {epoch, replicas, replicas.back()};
  }
  std::string directory_;
};

TEST_F(ViewsTest, TextRoundTrip) {
  const unit::View all = view(7, {0, 1, 25});
  EXPECT_EQ(encode_view(all), "epoch 7 replicas a,b,z sender z\n");
  const Result<unit::View> out = decode_view(encode_view(all));
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(*out, all);
  for (const char* bad : {"", "epoch", "epoch x replicas a sender a", "epoch 1 replicas a sender b",
                          "epoch 1 replicas A sender A", "epoch 1 replicas a sender a more"}) {
    EXPECT_FALSE(decode_view(bad).ok()) << bad;
    EXPECT_FALSE(decode_view(std::string(bad) + "\n").ok()) << bad;
  }
}

TEST_F(ViewsTest, OnlyTheWholeTextOfAViewIsOne) {
  ASSERT_TRUE(decode_view("epoch 1 replicas a,b sender b\n").ok());
  for (const char* bad :
       {"epoch 1 replicas a,b sender b", "epoch 01 replicas a,b sender b\n",
        "epoch 1 replicas a,b,b sender b\n", "epoch 1 replicas a,b, sender b\n",
        "epoch  1 replicas a,b sender b\n", "epoch 1 replicas a,b sender b\n\n"}) {
    const Result<unit::View> view = decode_view(bad);
    ASSERT_FALSE(view.ok()) << bad;
    EXPECT_EQ(view.error().message.find('\n'), std::string::npos);
  }
}

TEST_F(ViewsTest, FilesThatNobodyPublishedAreNoViews) {
  const Views views(directory_);
  ASSERT_TRUE(views.publish(view(1, {0, 1})).ok());
  for (const char* name :
       {"view.", "view.007", "view.+9", "view.9x", "view.99999999999999999999"}) {
    std::ofstream(directory_ + "/" + name) << "epoch 9 replicas a sender a\n";
  }
  const auto current = views.current();
  ASSERT_TRUE(current.ok()) << current.error().message;
  EXPECT_EQ(**current, view(1, {0, 1}));
}

TEST_F(ViewsTest, SecondPublisherOfAnEpochGetsTheFirstOnesView) {
  const Views views(directory_);
  EXPECT_FALSE(views.current()->has_value());
  EXPECT_EQ(*views.publish(view(1, {0, 1})), view(1, {0, 1}));
  EXPECT_EQ(*views.publish(view(2, {0})), view(2, {0}));
  EXPECT_EQ(*views.publish(view(2, {1})), view(2, {0}));
  EXPECT_EQ(**views.current(), view(2, {0}));
}

TEST_F(ViewsTest, ADamagedFileIsReplaced) {
  const Views views(directory_);
  EXPECT_EQ(*views.publish(view(1, {0, 1})), view(1, {0, 1}));
  ASSERT_EQ(truncate((directory_ + "/view.1").c_str(), 3), 0);
  EXPECT_FALSE(views.current().ok());
  EXPECT_EQ(*views.publish(view(1, {0, 1})), view(1, {0, 1}));
}

TEST_F(ViewsTest, ManyProcessesAgree) {
  constexpr int kProcesses = 8;
  for (int i = 0; i < kProcesses; ++i) {
    if (fork() == 0) {
      const auto id = static_cast<unit::ReplicaId>(i);
      const Result<unit::View> won = Views(directory_).publish(view(5, {id}));
      _exit(won.ok() ? won->sender : 100);
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

}  // namespace
}  // namespace ftrun::arbiter
