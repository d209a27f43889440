// SPDX-License-Identifier: Apache-2.0
// Events are late, not lost, when their file cannot grow.
#include "supervisor/operator/event_log.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace ftrun {
namespace {

class EventLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &unlimited_);
    path_ = ::testing::TempDir() + "/events." + std::to_string(getpid());
    std::filesystem::remove(path_);
  }
  void TearDown() override {
    setrlimit(RLIMIT_FSIZE, &unlimited_);
    std::filesystem::remove(path_);
  }
  // No byte more than `more` beyond what is there.
  void limit(size_t more) {
    const rlimit limit{std::filesystem::file_size(path_) + more, unlimited_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  void unlimit() { setrlimit(RLIMIT_FSIZE, &unlimited_); }
  // The texts of all lines that are events.
  std::vector<std::string> texts() const {
    std::vector<std::string> found;
    std::ifstream file(path_);
    for (std::string line; std::getline(file, line);) {
      const nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
      if (event.is_object()) {
        EXPECT_EQ(event["replica"], "a");
        found.push_back(event["text"]);
      }
    }
    return found;
  }
  using Texts = std::vector<std::string>;
  rlimit unlimited_{};
  std::string path_;
};

TEST_F(EventLogTest, LinesWaitForRoomAndComeInOrder) {
  EventLog log(path_, "a");
  log.write("kind", "one", 1);
  for (const size_t more : {size_t{0}, size_t{10}}) {  // nothing of a line, a part of one
    limit(more);
    log.write("kind", "two", 1);
    log.write("kind", "three", 1);
    EXPECT_EQ(log.waiting(), 2u);
    log.retry();
    EXPECT_EQ(log.waiting(), 2u);
    unlimit();
    log.write("kind", "four", 1);
    EXPECT_EQ(log.waiting(), 0u);
  }
  EXPECT_EQ(texts(), (Texts{"one", "two", "three", "four", "two", "three", "four"}));
}

TEST_F(EventLogTest, WhatCouldNotWaitIsCounted) {
  EventLog log(path_, "a");
  log.write("kind", "first", 1);
  limit(0);
  for (size_t i = 0; i < kEventsKeptMax + 5; ++i) {
    log.write("kind", "more", 1);
  }
  unlimit();
  log.retry();
  const Texts all = texts();
  ASSERT_EQ(all.size(), 1 + kEventsKeptMax + 1);
  EXPECT_EQ(all.back(), "5 events were lost: the file could not be written");
}

TEST_F(EventLogTest, AFileThatWasRemovedIsMadeAnew) {
  EventLog log(path_, "a");
  log.write("kind", "before", 1);
  std::filesystem::remove(path_);
  log.open();
  log.write("kind", "after", 1);
  EXPECT_EQ(texts(), (Texts{"before", "after"}));
  EventLog other(path_, "a");
  other.open();
  log.open();
  EXPECT_EQ(texts(), (Texts{"before", "after"})) << "once";
}

}  // namespace
}  // namespace ftrun
