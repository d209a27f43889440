// SPDX-License-Identifier: Apache-2.0
// Which events ftrun says by itself.
#include "cli/event_follower.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "fmt/format.h"

namespace ftrun::cli {
namespace {

std::string event(const std::string& kind, const std::string& text) {
  return fmt::format(R"({{"kind":"{}","replica":"a","text":"{}"}})", kind, text);
}

TEST(EventTeller, TheFirstRefusalOfEachKindIsSaid) {
  EventTeller teller;
  EXPECT_EQ(teller.tell(event("notice", "write to /var/log/x refused: say --state-dir /var/log")),
            "write to /var/log/x refused: say --state-dir /var/log");
  EXPECT_EQ(teller.tell(event("notice", "write to /var/log/y refused: say --state-dir /var/log")),
            "");
  EXPECT_EQ(teller.tell(event("notice", "socket(AF_UNIX, SOCK_STREAM) refused: no")),
            "socket(AF_UNIX, SOCK_STREAM) refused: no");
  EXPECT_EQ(teller.tell(event("notice", "socket(AF_INET, SOCK_DGRAM) refused: no")),
            "socket(AF_INET, SOCK_DGRAM) refused: no");
}

TEST(EventTeller, TroubleIsSaidAndOrdinaryEventsAreNot) {
  EventTeller teller;
  EXPECT_EQ(teller.tell(event("started", "supervisor 5")), "");
  EXPECT_EQ(teller.tell(event("trouble", "no room")), "WARNING: replica a: no room");
  EXPECT_EQ(teller.tell(event("trouble", "no room")), "");
  EXPECT_EQ(teller.tell("{\"kind\":\"trou"), "");
  EXPECT_EQ(teller.tell(event("no_calls", "for 2 s\\nmore")), "WARNING: replica a: for 2 s");
}

TEST(EventTeller, AFloodIsCut) {
  EventTeller teller;
  std::string last;
  for (size_t i = 0; i < 2 * kEventsSaidMax; ++i) {
    const std::string said = teller.tell(event("trouble", std::to_string(i)));
    last = said.empty() ? last : said;
  }
  EXPECT_EQ(last,
            fmt::format("WARNING: replica a: {} (more is in ftctl events)", kEventsSaidMax - 1));
}

TEST(EventFollower, ReadsOnFromWhereItWas) {
  const std::string path = testing::TempDir() + "/ftrun_events";
  unlink(path.c_str());
  EventFollower follower(path);
  EXPECT_TRUE(follower.next().empty());
  std::ofstream file(path);
  file << event("trouble", "one") << "\n" << event("trouble", "two") << std::flush;
  EXPECT_EQ(follower.next(), std::vector<std::string>{"WARNING: replica a: one"});
  EXPECT_TRUE(follower.next().empty());
  file << "\n" << std::flush;
  EXPECT_EQ(follower.next(), std::vector<std::string>{"WARNING: replica a: two"});
}

}  // namespace
}  // namespace ftrun::cli
