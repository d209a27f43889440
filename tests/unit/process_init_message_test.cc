// SPDX-License-Identifier: Apache-2.0
// What the supervisor makes of an init that says what no init says.
#include "supervisor/process/init_message.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "supervisor/process/launch_error.h"

namespace ftrun::process {
namespace {

std::vector<uint8_t> bytes_of(const InitMessage& message) {
  std::vector<uint8_t> bytes(sizeof message);
  std::memcpy(bytes.data(), &message, sizeof message);
  return bytes;
}

bool passes(const InitMessage& message) {
  return decode_init_message(bytes_of(message)).ok();
}

TEST(InitMessages, OnlyWholeOnesOfThisVersionPass) {
  std::vector<uint8_t> bytes = bytes_of({.kind = InitMessageKind::kRunning});
  EXPECT_TRUE(decode_init_message(bytes).ok());
  bytes.push_back(0);
  EXPECT_FALSE(decode_init_message(bytes).ok());
  bytes.resize(sizeof(InitMessage) - 1);
  EXPECT_FALSE(decode_init_message(bytes).ok());
  EXPECT_FALSE(decode_init_message({}).ok());
  EXPECT_FALSE(passes({.version = 1, .kind = InitMessageKind::kRunning}));
}

TEST(InitMessages, KindStepAndSignalAreKnown) {
  EXPECT_FALSE(passes({.kind = InitMessageKind{0}}));
  EXPECT_TRUE(passes({.kind = InitMessageKind::kHostProc}));
  EXPECT_FALSE(passes({.kind = InitMessageKind{8}}));
  EXPECT_FALSE(passes({.kind = InitMessageKind::kFailed, .step = InitStep{99}}));
  EXPECT_TRUE(passes({.kind = InitMessageKind::kStopped, .value = SIGSTOP}));
  EXPECT_FALSE(passes({.kind = InitMessageKind::kStopped, .value = 0}));
  EXPECT_FALSE(passes({.kind = InitMessageKind::kContinued, .value = -1}));
}

TEST(InitMessages, AMountThatIsNoneIsAnErrorLikeAnyOther) {
  LaunchPlan plan;
  plan.mounts.push_back({"copy", "original"});
  InitMessage message{.step = InitStep::kMount, .value = EPERM};
  EXPECT_NE(launch_error(plan, message).message.find("copy over original"), std::string::npos);
  for (const int detail : {1, -1}) {
    message.detail = detail;
    EXPECT_NE(launch_error(plan, message).message.find("mounting a state directory"),
              std::string::npos);
  }
}

TEST(InitMessages, ALongerOneIsNotCutToSize) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  std::vector<uint8_t> bytes = bytes_of({.kind = InitMessageKind::kExited});
  ASSERT_EQ(send(pair[1], bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
  const auto event = read_status(pair[0]);
  ASSERT_TRUE(event.ok());
  EXPECT_EQ((*event)->kind, StatusKind::kExited);
  bytes.push_back(0);
  ASSERT_EQ(send(pair[1], bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
  EXPECT_FALSE(read_status(pair[0]).ok());
  close(pair[0]);
  close(pair[1]);
}

}  // namespace
}  // namespace ftrun::process
