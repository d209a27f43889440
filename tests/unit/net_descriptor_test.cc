// SPDX-License-Identifier: Apache-2.0
// Descriptors of virtual sockets: dup, close, options, the console; one behaviour a test.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include <cstring>
#include <string>

#include "eventlog/limits.h"
#include "tests/unit/fake_env.h"
#include "tests/unit/listener_fixture.h"

namespace ftrun::shim {
namespace {

using fake::env;

class NetDescriptorTest : public ListenerTest {};

TEST_F(NetDescriptorTest, DupSharesTheDescriptionNotTheNumber) {
  const auto c = connect();
  const int d = static_cast<int>(net_fcntl(c.fd, F_DUPFD_CLOEXEC, 100));
  EXPECT_EQ(d, 100);
  EXPECT_EQ(net_fcntl(d, F_GETFD, 0), FD_CLOEXEC);
  EXPECT_EQ(net_fcntl(c.fd, F_GETFD, 0), 0);
  net_fcntl(d, F_SETFL, 0);
  EXPECT_EQ(net_fcntl(c.fd, F_GETFL, 0), O_RDWR);
  EXPECT_EQ(net_close(c.fd), 0);
  EXPECT_EQ(net_close(c.fd), -EBADF);
  EXPECT_TRUE(fake::outputs_of(OutputKind::kClose).empty());
  fake::data(c.id, "still");
  fake::apply_arrivals();
  EXPECT_EQ(fake::read_string(d), "still");
  EXPECT_EQ(net_dup(d, 0, 101, false), 101);
  EXPECT_EQ(net_dup(d, 0, 5000, false), -EBADF);
  EXPECT_EQ(net_dup(d, 5000, -1, false), -EINVAL);
  // dup2 over another virtual number closes what was there.
  const auto other = connect();
  EXPECT_EQ(net_dup(d, 0, other.fd, false), other.fd);
  EXPECT_EQ(fake::outputs_of(OutputKind::kClose).back().id, other.id);
  net_close(other.fd);
  net_close(101);
  net_close(d);
  EXPECT_EQ(fake::outputs_of(OutputKind::kClose).back().id, c.id);
}

TEST_F(NetDescriptorTest, CloseWaitsForABlockedReader) {
  const auto c = connect(0);
  std::string got = "nothing";
  fake::spawn([&] { got = fake::read_string(c.fd); });
  fake::run_threads();
  net_close(c.fd);
  EXPECT_TRUE(fake::outputs_of(OutputKind::kClose).empty());
  fake::data(c.id, "late");
  fake::run_threads();
  EXPECT_EQ(got, "late");
  EXPECT_EQ(fake::outputs_of(OutputKind::kClose).back().value, 4u);
}

TEST_F(NetDescriptorTest, OptionsAreStoredCheckedAndForwarded) {
  const auto c = connect();
  auto get = [&](int level, int name) {
    int value = -1;
    socklen_t length = sizeof(value);
    const long result = net_getsockopt(c.fd, level, name, &value, &length);
    return result < 0 ? static_cast<int>(result) : value;
  };
  auto set = [&](int level, int name, int value) {
    return net_setsockopt(c.fd, level, name, &value, sizeof(value));
  };
  EXPECT_EQ(set(IPPROTO_TCP, TCP_NODELAY, 7), 0);
  EXPECT_EQ(get(IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(set(IPPROTO_TCP, TCP_KEEPIDLE, 0), -EINVAL);
  EXPECT_EQ(set(IPPROTO_TCP, TCP_KEEPIDLE, 300), 0);
  EXPECT_EQ(get(IPPROTO_TCP, TCP_KEEPIDLE), 300);
  EXPECT_EQ(set(SOL_SOCKET, SO_RCVBUF, 100000), 0);
  EXPECT_EQ(get(SOL_SOCKET, SO_RCVBUF), 200000);
  EXPECT_EQ(get(SOL_SOCKET, SO_TYPE), SOCK_STREAM);
  EXPECT_EQ(get(SOL_SOCKET, SO_DOMAIN), AF_INET);
  EXPECT_EQ(get(SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
  EXPECT_EQ(get(SOL_SOCKET, SO_ACCEPTCONN), 0);
  EXPECT_EQ(get(SOL_SOCKET, 9999), -ENOPROTOOPT);
  EXPECT_EQ(get(IPPROTO_IPV6, IPV6_V6ONLY), -EOPNOTSUPP);
  const linger hard = {1, 0};
  EXPECT_EQ(net_setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
  const auto options = fake::outputs_of(OutputKind::kOption);
  ASSERT_EQ(options.size(), 3u);
  EXPECT_EQ(options[0].id, c.id);
  EXPECT_EQ(options[2].data, std::string(reinterpret_cast<const char*>(&hard), sizeof(hard)));
  tcp_info info = {};
  socklen_t length = sizeof(info);
  EXPECT_EQ(net_getsockopt(c.fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
  EXPECT_EQ(info.tcpi_state, TCP_ESTABLISHED);
  net_close(c.fd);
}

TEST_F(NetDescriptorTest, ConsoleTakesAllAndIsNoTerminal) {
  EXPECT_EQ(fake::write_fd(1, "out"), 3);
  EXPECT_EQ(fake::write_fd(2, "err"), 3);
  const auto lines = fake::outputs_of(OutputKind::kConsole);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].id, 1u);
  EXPECT_EQ(lines[1].data, "err");
  char byte = 0;
  EXPECT_EQ(fake::read_fd(1, &byte, 1), -EBADF);
  EXPECT_EQ(net_ioctl(1, TCGETS, 0), -ENOTTY);
  struct stat status = {};
  EXPECT_EQ(net_fstat(1, &status), 0);
  EXPECT_TRUE(S_ISFIFO(status.st_mode));
  EXPECT_EQ(net_lseek(1), -ESPIPE);
  EXPECT_EQ(net_shutdown(1, SHUT_RD), -ENOTSOCK);
  EXPECT_EQ(net_shutdown(0, SHUT_RD), -ENOTSOCK);
  EXPECT_EQ(net_shutdown(999, SHUT_RD), -EBADF);
}

TEST_F(NetDescriptorTest, ThousandsOfConnectionsAreFoundById) {
  env().descriptor_limit = 20000;
  std::vector<fake::Connection> all;
  for (int i = 0; i < 5000; ++i) {
    all.push_back(connect());
  }
  for (size_t i = 0; i < all.size(); i += 2) {
    net_close(all[i].fd);
  }
  for (const auto& c : all) {
    fake::data(c.id, std::to_string(c.id));
  }
  fake::apply_arrivals();
  for (size_t i = 1; i < all.size(); i += 2) {
    ASSERT_EQ(fake::read_string(all[i].fd), std::to_string(all[i].id));
    net_close(all[i].fd);
  }
}

}  // namespace
}  // namespace ftrun::shim
