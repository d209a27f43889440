// SPDX-License-Identifier: Apache-2.0
// Virtual TCP sockets, one behaviour a test. Comparison with the kernel: net_differential_test.cc.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "eventlog/limits.h"
#include "tests/unit/fake_env.h"
#include "tests/unit/listener_fixture.h"

namespace ftrun::shim {
namespace {

using fake::env;

class NetSocketTest : public ListenerTest {
 protected:
  // Connections that the edge is to reset when they are closed.
  static std::vector<uint32_t> resets() {
    std::vector<uint32_t> ids;
    for (const auto& entry : fake::outputs_of(OutputKind::kOption)) {
      if (entry.value == SOL_SOCKET && entry.value2 == SO_LINGER) {
        ids.push_back(entry.id);
      }
    }
    return ids;
  }
};

TEST_F(NetSocketTest, RefusesOtherFamiliesWithANotice) {
  EXPECT_EQ(net_socket(AF_VSOCK, SOCK_STREAM, 0), -EAFNOSUPPORT);
  EXPECT_EQ(net_socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT), -EAFNOSUPPORT);
  EXPECT_EQ(net_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), -EPERM);
  EXPECT_EQ(fake::outputs_of(OutputKind::kNotice).size(), 3u);
  const int fd = static_cast<int>(net_socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_port = htons(6379);
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(net_connect(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), -ENETUNREACH);
  EXPECT_EQ(
      fake::outputs_of(OutputKind::kNotice).back().data,
      "connect to 127.0.0.1:6379 answered ENETUNREACH: outgoing connections are not supported");
  net_close(fd);
}

TEST_F(NetSocketTest, AcceptTakesTheOldestAndNamesThePeer) {
  EXPECT_EQ(net_accept(listener_, nullptr, nullptr, 0), -EAGAIN);
  EXPECT_EQ(net_accept(listener_, nullptr, nullptr, 12345), -EINVAL);
  const uint32_t first = fake::open(listener_id_);
  const uint32_t second = fake::open(listener_id_);
  sockaddr_in peer = {};
  socklen_t length = sizeof(peer);
  const int a = static_cast<int>(
      net_accept(listener_, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK));
  EXPECT_EQ(ntohs(peer.sin_port), 50000 + first);
  const int b = static_cast<int>(net_accept(listener_, nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_EQ(net_fcntl(a, F_GETFL, 0), O_RDWR | O_NONBLOCK);
  EXPECT_EQ(net_fcntl(a, F_GETFD, 0), 0);
  EXPECT_EQ(net_fcntl(b, F_GETFL, 0), O_RDWR);
  EXPECT_EQ(net_fcntl(b, F_GETFD, 0), FD_CLOEXEC);
  EXPECT_EQ(net_getpeername(b, reinterpret_cast<sockaddr*>(&peer), &length), 0);
  EXPECT_EQ(ntohs(peer.sin_port), 50000 + second);
  net_close(a);
  net_close(b);
}

TEST_F(NetSocketTest, AcceptKeepsTheConnectionWhenDescriptorsRunOut) {
  const uint32_t id = fake::open(listener_id_);
  fake::apply_arrivals();
  env().descriptor_limit = listener_ + 1;
  EXPECT_EQ(net_accept(listener_, nullptr, nullptr, 0), -EMFILE);
  env().descriptor_limit = 1024;
  const long fd = net_accept(listener_, nullptr, nullptr, 0);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(fake::outputs_of(OutputKind::kClose).size(), 0u);
  net_close(static_cast<int>(fd));
  EXPECT_EQ(fake::outputs_of(OutputKind::kClose).back().id, id);
}

TEST_F(NetSocketTest, BlockingAcceptWaitsForAConnection) {
  net_fcntl(listener_, F_SETFL, 0);
  env().when_idle = [&] {
    env().when_idle = nullptr;
    fake::open(listener_id_);
    return true;
  };
  const int before = env().waits;
  const long fd = net_accept(listener_, nullptr, nullptr, 0);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(env().waits, before + 1);
  net_close(static_cast<int>(fd));
}

TEST_F(NetSocketTest, BlockingAcceptIsRestartedOrTimedOut) {
  net_fcntl(listener_, F_SETFL, 0);
  env().interrupt_next_wait = kErrRestart;
  EXPECT_EQ(net_accept(listener_, nullptr, nullptr, 0), kErrRestart);
  const timeval half_second = {0, 500000};
  EXPECT_EQ(net_setsockopt(listener_, SOL_SOCKET, SO_RCVTIMEO, &half_second, sizeof(half_second)),
            0);
  env().interrupt_next_wait = kErrRestart;
  EXPECT_EQ(net_accept(listener_, nullptr, nullptr, 0), -EINTR);
  const int64_t before = env().now_ns;
  EXPECT_EQ(net_accept(listener_, nullptr, nullptr, 0), -EAGAIN);
  EXPECT_EQ(env().now_ns - before, 500000000);
}

TEST_F(NetSocketTest, DataIsReadInOrder) {
  const auto c = connect();
  fake::data(c.id, "hello ");
  fake::data(c.id, "world");
  EXPECT_EQ(fake::read_string(c.fd, 3), "hel");
  char buffer[64] = {};
  EXPECT_EQ(fake::recv_fd(c.fd, buffer, sizeof(buffer), MSG_PEEK), 8);
  EXPECT_EQ(std::string(buffer, 8), "lo world");
  int bytes = 0;
  EXPECT_EQ(net_ioctl(c.fd, FIONREAD, reinterpret_cast<unsigned long>(&bytes)), 0);
  EXPECT_EQ(bytes, 8);
  EXPECT_EQ(fake::recv_fd(c.fd, buffer, 3, MSG_TRUNC), 3);
  EXPECT_EQ(fake::read_string(c.fd), "world");
  EXPECT_EQ(fake::read_string(c.fd), "!11");
  fake::fin(c.id);
  EXPECT_EQ(fake::read_string(c.fd), "");
  EXPECT_EQ(fake::read_string(c.fd), "");
  net_close(c.fd);
  EXPECT_EQ(fake::outputs_of(OutputKind::kClose).back().value, 11u);
}

TEST_F(NetSocketTest, ReadvScattersAndWritevGathers) {
  const auto c = connect();
  fake::data(c.id, "abcdefgh");
  fake::apply_arrivals();
  char one[3], two[1], three[10];
  iovec in[4] = {{one, 3}, {nullptr, 0}, {two, 1}, {three, 10}};
  EXPECT_EQ(net_readv(c.fd, in, 4), 8);
  EXPECT_EQ(std::string(one, 3) + std::string(two, 1) + std::string(three, 4), "abcdefgh");
  iovec out[3] = {{one, 3}, {nullptr, 0}, {three, 4}};
  EXPECT_EQ(net_writev(c.fd, out, 3), 7);
  EXPECT_EQ(fake::written(c.id), "abcefgh");
  EXPECT_EQ(net_writev(c.fd, out, 1025), -EINVAL);
  net_close(c.fd);
}

TEST_F(NetSocketTest, LargeInputCrossesChunksAndIsReported) {
  const auto c = connect();
  std::string all;
  for (int i = 0; i < 40; ++i) {
    const std::string part(6000, static_cast<char>('a' + i % 26));
    fake::data(c.id, part);
    all += part;
  }
  EXPECT_EQ(fake::read_string(c.fd, 65535), all.substr(0, 65535));
  EXPECT_EQ(fake::outputs_of(OutputKind::kConsumed).size(), 0u);
  EXPECT_EQ(fake::read_string(c.fd, 1), all.substr(65535, 1));
  const auto reports = fake::outputs_of(OutputKind::kConsumed);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].value, 65536u);
  EXPECT_EQ(fake::read_string(c.fd, 300000), all.substr(65536));
  net_close(c.fd);
}

TEST_F(NetSocketTest, InputBeyondTheWindowStopsTheShim) {
  const auto c = connect();
  for (int i = 0; i < 4; ++i) {
    fake::data(c.id, std::string(65536, 'x'));
  }
  fake::apply_arrivals();
  EXPECT_DEATH(
      {
        fake::data(c.id, "y");
        fake::apply_arrivals();
      },
      "receive window");
  net_close(c.fd);
}

TEST_F(NetSocketTest, BlockingReadWaitsAndWaitallGathers) {
  const auto c = connect(0);
  int step = 0;
  env().when_idle = [&] {
    fake::data(c.id, ++step == 1 ? "abc" : "defg");
    return true;
  };
  char buffer[8] = {};
  EXPECT_EQ(fake::recv_fd(c.fd, buffer, 7, MSG_WAITALL), 7);
  EXPECT_EQ(std::string(buffer), "abcdefg");
  EXPECT_EQ(fake::read_fd(c.fd, buffer, 8), 4);
  EXPECT_EQ(fake::recv_fd(c.fd, buffer, 8, MSG_DONTWAIT), -EAGAIN);
  env().when_idle = [&] {
    fake::data(c.id, "12");
    fake::fin(c.id);
    return true;
  };
  EXPECT_EQ(fake::recv_fd(c.fd, buffer, 8, MSG_WAITALL), 2);
  net_close(c.fd);
}

TEST_F(NetSocketTest, InterruptedReadKeepsWhatItHas) {
  const auto c = connect(0);
  char buffer[8] = {};
  env().interrupt_next_wait = kErrRestart;
  EXPECT_EQ(fake::read_fd(c.fd, buffer, 8), kErrRestart);
  fake::data(c.id, "ab");
  fake::apply_arrivals();
  env().interrupt_next_wait = kErrRestart;
  EXPECT_EQ(fake::recv_fd(c.fd, buffer, 8, MSG_WAITALL), 2);
  net_close(c.fd);
}

TEST_F(NetSocketTest, LowWaterMarkHoldsBackReads) {
  const auto c = connect(0);
  const int low = 5;
  EXPECT_EQ(net_setsockopt(c.fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)), 0);
  fake::data(c.id, "abc");
  pollfd entry = {c.fd, POLLIN, 0};
  EXPECT_EQ(net_poll(&entry, 1, 0), 0);
  int waits = 0;
  env().when_idle = [&] {
    ++waits;
    fake::data(c.id, "d");
    return true;
  };
  EXPECT_EQ(fake::read_string(c.fd, 10), "abcdd");
  EXPECT_EQ(waits, 2);
  net_close(c.fd);
}

TEST_F(NetSocketTest, ResetIsToldOnce) {
  const auto c = connect();
  fake::data(c.id, "rest");
  fake::reset_connection(c.id, ECONNRESET);
  fake::apply_arrivals();
  pollfd entry = {c.fd, POLLIN | POLLOUT | POLLRDHUP, 0};
  EXPECT_EQ(net_poll(&entry, 1, 0), 1);
  EXPECT_EQ(entry.revents, POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
  EXPECT_EQ(fake::read_string(c.fd), "rest");
  EXPECT_EQ(fake::read_string(c.fd), "!104");
  EXPECT_EQ(fake::read_string(c.fd), "");
  EXPECT_EQ(fake::write_fd(c.fd, "x"), -EPIPE);
  EXPECT_EQ(env().sigpipes, 1);
  EXPECT_EQ(fake::send_fd(c.fd, "x", MSG_NOSIGNAL), -EPIPE);
  EXPECT_EQ(env().sigpipes, 1);
  socklen_t length = sizeof(sockaddr_in);
  sockaddr_in peer = {};
  EXPECT_EQ(net_getpeername(c.fd, reinterpret_cast<sockaddr*>(&peer), &length), -ENOTCONN);
  net_close(c.fd);
}

TEST_F(NetSocketTest, ResetIsToldByWriteOrSoError) {
  const auto a = connect();
  const auto b = connect();
  fake::reset_connection(a.id, ECONNRESET);
  fake::reset_connection(b.id, ETIMEDOUT);
  fake::apply_arrivals();
  EXPECT_EQ(fake::write_fd(a.fd, "x"), -ECONNRESET);
  EXPECT_EQ(env().sigpipes, 0);
  int error = 0;
  socklen_t length = sizeof(error);
  EXPECT_EQ(net_getsockopt(b.fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
  EXPECT_EQ(error, ETIMEDOUT);
  EXPECT_EQ(net_getsockopt(b.fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
  EXPECT_EQ(error, 0);
  EXPECT_EQ(fake::read_string(b.fd), "");
  net_close(a.fd);
  net_close(b.fd);
}

TEST_F(NetSocketTest, SendWindowFillsAndOpensAtAThird) {
  const auto c = connect();
  const std::string big(kSendWindowBytes + 1000, 'x');
  EXPECT_EQ(fake::write_fd(c.fd, big), static_cast<long>(kSendWindowBytes));
  EXPECT_EQ(fake::write_fd(c.fd, "y"), -EAGAIN);
  EXPECT_EQ(net_send_room(c.fd), -EAGAIN);
  pollfd entry = {c.fd, POLLOUT, 0};
  fake::credit(c.id, kSendWindowBytes / 3);
  EXPECT_EQ(net_poll(&entry, 1, 0), 0);  // just under a third is free
  fake::credit(c.id, kSendWindowBytes / 3 + 1);
  EXPECT_EQ(net_poll(&entry, 1, 0), 1);
  EXPECT_EQ(net_send_room(c.fd), static_cast<long>(kSendWindowBytes / 3 + 1));
  int unsent = 0;
  EXPECT_EQ(net_ioctl(c.fd, TIOCOUTQ, reinterpret_cast<unsigned long>(&unsent)), 0);
  EXPECT_EQ(unsent, static_cast<int>(kSendWindowBytes - kSendWindowBytes / 3 - 1));
  EXPECT_DEATH(
      {
        fake::credit(c.id, kSendWindowBytes + 1);
        fake::apply_arrivals();
      },
      "credit beyond");
  net_close(c.fd);
}

TEST_F(NetSocketTest, BlockingWriteTakesEverything) {
  const auto c = connect(0);
  uint64_t credited = 0;
  env().when_idle = [&] {
    credited += kSendWindowBytes / 2;
    fake::credit(c.id, credited);
    return true;
  };
  const std::string big(kSendWindowBytes * 2, 'x');
  EXPECT_EQ(fake::write_fd(c.fd, big), static_cast<long>(big.size()));
  EXPECT_EQ(fake::written(c.id).size(), big.size());
  EXPECT_GE(env().waits, 2);
  // A reset while it waits: what was taken is returned.
  fake::credit(c.id, big.size());
  fake::apply_arrivals();
  env().when_idle = [&] {
    fake::reset_connection(c.id, ECONNRESET);
    return true;
  };
  EXPECT_EQ(fake::write_fd(c.fd, big), static_cast<long>(kSendWindowBytes));
  EXPECT_EQ(fake::write_fd(c.fd, "x"), -ECONNRESET);
  net_close(c.fd);
}

TEST_F(NetSocketTest, ShutdownSendsOneFin) {
  const auto c = connect();
  EXPECT_EQ(net_shutdown(c.fd, 7), -EINVAL);
  EXPECT_EQ(net_shutdown(c.fd, SHUT_WR), 0);
  EXPECT_EQ(net_shutdown(c.fd, SHUT_WR), 0);
  EXPECT_EQ(fake::outputs_of(OutputKind::kShutdown).size(), 1u);
  EXPECT_EQ(fake::write_fd(c.fd, "x"), -EPIPE);
  EXPECT_EQ(env().sigpipes, 1);
  fake::data(c.id, "late");
  EXPECT_EQ(fake::read_string(c.fd), "late");
  fake::fin(c.id);
  fake::apply_arrivals();
  EXPECT_EQ(net_shutdown(c.fd, SHUT_RD), -ENOTCONN);
  net_close(c.fd);
}

TEST_F(NetSocketTest, CloseOfAListenerClosesItsQueue) {
  const int fd = fake::listening_socket();
  const uint32_t socket = fake::last_bound_socket();
  const uint32_t first = fake::open(socket);
  const uint32_t second = fake::open(socket);
  fake::apply_arrivals();
  EXPECT_EQ(net_close(fd), 0);
  const auto closes = fake::outputs_of(OutputKind::kClose);
  ASSERT_EQ(closes.size(), 2u);
  EXPECT_EQ(closes[0].id, first);
  EXPECT_EQ(closes[1].id, second);
  EXPECT_EQ(resets(), (std::vector<uint32_t>{first, second}));
  // One that was on its way is closed as well.
  const uint32_t third = fake::open(socket);
  fake::data(third, "lost");
  fake::apply_arrivals();
  EXPECT_EQ(fake::outputs_of(OutputKind::kClose).back().id, third);
  EXPECT_EQ(resets(), (std::vector<uint32_t>{first, second, third}));
}

TEST_F(NetSocketTest, EndOfTheProcessClosesAllConnections) {
  const auto part_read = connect();
  fake::data(part_read.id, "abcdef");
  EXPECT_EQ(fake::read_string(part_read.fd, 2), "ab");
  const auto doubled = connect();
  EXPECT_GE(net_dup(doubled.fd, 0, -1, false), 0);
  const uint32_t waiting = fake::open(listener_id_);
  fake::apply_arrivals();
  net_end();
  std::map<uint32_t, uint64_t> closes;
  for (const auto& entry : fake::outputs_of(OutputKind::kClose)) {
    EXPECT_TRUE(closes.emplace(entry.id, entry.value).second) << entry.id << " twice";
  }
  EXPECT_EQ(closes,
            (std::map<uint32_t, uint64_t>{{part_read.id, 2}, {doubled.id, 0}, {waiting, 0}}));
  EXPECT_EQ(resets(), (std::vector<uint32_t>{waiting}));
}

TEST_F(NetSocketTest, ArrivalsAfterCloseAreIgnoredButUnknownOnesAreNot) {
  const auto c = connect();
  net_close(c.fd);
  fake::data(c.id, "x");
  fake::fin(c.id);
  fake::credit(c.id, 77);
  fake::reset_connection(c.id, ECONNRESET);
  fake::apply_arrivals();
  EXPECT_DEATH(
      {
        fake::data(c.id + 1000, "x");
        fake::apply_arrivals();
      },
      "never was");
}

}  // namespace
}  // namespace ftrun::shim
