// SPDX-License-Identifier: Apache-2.0
// The control socket against those who may not speak, who say nothing and who say too much; and the
// limit on events. Own temporary socket.
#include "supervisor/operator/control.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "supervisor/operator/control_request.h"
#include "supervisor/operator/event_limit.h"

namespace ftrun {
namespace {

class ControlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "ctl.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    auto server = ControlServer::create(
        directory_ + "/sock", epoll_, 0, [](const std::string& line) { return "got " + line; },
        [this](const std::string& text) { refused_.push_back(text); });
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
  }
  void TearDown() override {
    for (const int fd : clients_) {
      close(fd);
    }
    server_.reset();
    close(epoll_);
    rmdir(directory_.c_str());
  }
  int connect_client() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = directory_ + "/sock";
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ? fd : -1;
  }
  void serve() {
    epoll_event event{};
    while (epoll_wait(epoll_, &event, 1, 0) == 1) {
      server_->process(event);
    }
  }
  std::string ask(int fd, const std::string& text) {
    EXPECT_GT(send(fd, text.data(), text.size(), MSG_NOSIGNAL), 0);
    serve();
    char buffer[100];
    const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
    return {buffer, static_cast<size_t>(std::max<ssize_t>(got, 0))};
  }

  std::string directory_;
  int epoll_ = -1;
  std::unique_ptr<ControlServer> server_;
  std::vector<std::string> refused_;
  std::vector<int> clients_;
};

TEST_F(ControlTest, OnlyTheOwnUserAndRootMaySpeak) {
  EXPECT_EQ(control_refusal({1, 1000, 1000}, 1000), "");
  EXPECT_EQ(control_refusal({1, 0, 0}, 1000), "");
  EXPECT_NE(control_refusal({1, 1001, 1000}, 1000), "");
  EXPECT_NE(control_refusal({1, 1000, 0}, 0), "");
}

TEST_F(ControlTest, AnotherUserGetsNothingAndIsReported) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "needs root to become another user";
  }
  ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  ASSERT_EQ(chmod((directory_ + "/sock").c_str(), 0666), 0);
  const pid_t child = fork();
  if (child == 0) {
    _exit(setgid(65534) == 0 && setuid(65534) == 0 && connect_client() >= 0 ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  serve();
  ASSERT_EQ(refused_.size(), 1u);
  EXPECT_NE(refused_[0].find("user 65534"), std::string::npos) << refused_[0];
}

TEST_F(ControlTest, IdleConnectionsKeepNobodyOut) {
  for (size_t i = 0; i < 5 * kControlClientsMax; ++i) {
    clients_.push_back(connect_client());
    ASSERT_GE(clients_.back(), 0);
    serve();
  }
  const int late = connect_client();
  clients_.push_back(late);
  serve();
  EXPECT_EQ(ask(late, "hello\n"), "got hello\n");
}

TEST_F(ControlTest, WithoutDescriptorsItWaitsInsteadOfSpinning) {
  const int before = connect_client();
  const int late = connect_client();
  clients_ = {before, late};
  epoll_event event{};
  ASSERT_EQ(epoll_wait(epoll_, &event, 1, 0), 1);
  server_->process(event);
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  ASSERT_EQ(epoll_wait(epoll_, &event, 1, 0), 1);
  server_->process(event);
  EXPECT_EQ(epoll_wait(epoll_, &event, 1, 0), 0) << "it is woken again at once";
  EXPECT_EQ(ask(before, "hello\n"), "got hello\n");
  server_->resume();
  ASSERT_EQ(epoll_wait(epoll_, &event, 1, 0), 1);
  server_->process(event);
  EXPECT_EQ(epoll_wait(epoll_, &event, 1, 0), 0) << "and after a try that failed";
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  server_->resume();
  EXPECT_EQ(ask(late, "hello\n"), "got hello\n");
}

TEST_F(ControlTest, EndlessLineIsCutOff) {
  const int endless = connect_client();
  const int other = connect_client();
  clients_ = {endless, other};
  serve();
  const std::string part(4096, 'x');
  for (size_t sent = 0; sent < 2 * kControlLineBytesMax; sent += part.size()) {
    send(endless, part.data(), part.size(), MSG_NOSIGNAL);
    serve();
  }
  EXPECT_EQ(send(endless, "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(ask(other, "hello\n"), "got hello\n");
}

TEST(ControlRequestTest, EveryRequestRoundTrips) {
  for (const ControlRequest& request :
       {ControlRequest{ControlCommand::kStatus}, ControlRequest{ControlCommand::kStop},
        ControlRequest{ControlCommand::kSignal, 64, UINT32_MAX}}) {
    const Result<ControlRequest> again = decode_request(encode_request(request));
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(*again, request);
  }
}

TEST(ControlRequestTest, WhatIsNoRequestIsRefusedInOneLine) {
  for (const std::string bad :
       {"", "[", "1", "{}", R"({"cmd":1})", R"({"cmd":"st\nop"})", "{\"cmd\":\"\xff\"}",
        R"({"cmd":"signal"})", R"({"cmd":"signal","seq":1})",
        R"({"cmd":"signal","number":0,"seq":1})", R"({"cmd":"signal","number":65,"seq":1})",
        R"({"cmd":"signal","number":15,"seq":0})",
        R"({"cmd":"signal","number":15,"seq":4294967296})",
        R"({"cmd":"signal","number":-1,"seq":1})", R"({"cmd":"signal","number":15.0,"seq":1})",
        R"({"cmd":"signal","number":"15","seq":true})"}) {
    const Result<ControlRequest> request = decode_request(bad);
    ASSERT_FALSE(request.ok()) << bad;
    const std::string refusal = encode_refusal(request.error().message);
    EXPECT_TRUE(refusal.starts_with(R"({"error":")")) << refusal;
    EXPECT_EQ(refusal.find('\n'), std::string::npos);
  }
  EXPECT_FALSE(encode_refusal("\xff").empty());
}

TEST(EventLimitTest, BurstThenRateAndTheRestIsCounted) {
  EventLimit limit;
  int64_t now = 1'000'000'000'000;
  int taken = 0;
  for (int i = 0; i < 10000; ++i) {
    taken += limit.take(now) ? 1 : 0;
  }
  EXPECT_EQ(taken, kEventsBurst);
  EXPECT_EQ(limit.left_out(), 10000u - kEventsBurst);
  EXPECT_EQ(limit.left_out(), 0u);
  now += 2 * kEventIntervalNs;
  EXPECT_TRUE(limit.take(now));
  EXPECT_TRUE(limit.take(now));
  EXPECT_FALSE(limit.take(now));
}

}  // namespace
}  // namespace ftrun
