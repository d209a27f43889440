// SPDX-License-Identifier: Apache-2.0
// Virtual pipes, socketpairs and eventfds, one behaviour a test.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <string>

#include "tests/unit/fake_env.h"

namespace ftrun::shim {
namespace {

using fake::env;

class NetPipeTest : public testing::Test {
 protected:
  void SetUp() override { fake::reset(); }
  void make_pipe(int flags = O_NONBLOCK) { ASSERT_EQ(net_pipe(ends_, flags), 0); }
  void TearDown() override {
    for (const int fd : ends_) {
      net_close(fd);
    }
  }
  std::string poll_names(int fd) {
    pollfd entry = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    net_poll(&entry, 1, 0);
    std::string names;
    names += (entry.revents & POLLIN) != 0 ? "I" : "";
    names += (entry.revents & POLLOUT) != 0 ? "O" : "";
    names += (entry.revents & POLLRDHUP) != 0 ? "R" : "";
    names += (entry.revents & POLLHUP) != 0 ? "H" : "";
    names += (entry.revents & POLLERR) != 0 ? "E" : "";
    return names;
  }

  int ends_[2] = {-1, -1};
};

TEST_F(NetPipeTest, CarriesBytesOneWay) {
  make_pipe();
  EXPECT_EQ(poll_names(ends_[0]), "");
  EXPECT_EQ(poll_names(ends_[1]), "O");
  EXPECT_EQ(fake::read_string(ends_[0]), "!11");
  EXPECT_EQ(fake::write_fd(ends_[1], "hello"), 5);
  EXPECT_EQ(poll_names(ends_[0]), "I");
  int bytes = 0;
  EXPECT_EQ(net_ioctl(ends_[0], FIONREAD, reinterpret_cast<unsigned long>(&bytes)), 0);
  EXPECT_EQ(bytes, 5);
  EXPECT_EQ(fake::read_string(ends_[0], 2), "he");
  EXPECT_EQ(fake::read_string(ends_[0]), "llo");
  EXPECT_EQ(fake::write_fd(ends_[0], "x"), -EBADF);
  EXPECT_EQ(fake::read_string(ends_[1]), "!9");
  EXPECT_EQ(net_shutdown(ends_[0], SHUT_RD), -ENOTSOCK);
  EXPECT_EQ(net_lseek(ends_[0]), -ESPIPE);
  EXPECT_EQ(net_pipe(ends_, O_APPEND), -EINVAL);
}

TEST_F(NetPipeTest, HoldsSixteenPages) {
  make_pipe();
  EXPECT_EQ(net_fcntl(ends_[0], F_GETPIPE_SZ, 0), 65536);
  EXPECT_EQ(fake::write_fd(ends_[1], std::string(70000, 'a')), 65536);
  EXPECT_EQ(fake::write_fd(ends_[1], "b"), -EAGAIN);
  EXPECT_EQ(poll_names(ends_[1]), "");
  EXPECT_EQ(fake::read_string(ends_[0], 4095), std::string(4095, 'a'));
  EXPECT_EQ(fake::write_fd(ends_[1], "b"), -EAGAIN);  // the page is not empty yet
  EXPECT_EQ(fake::read_string(ends_[0], 1), "a");
  EXPECT_EQ(poll_names(ends_[1]), "O");
  EXPECT_EQ(net_send_room(ends_[1]), 4096);
  EXPECT_EQ(fake::write_fd(ends_[1], "b"), 1);
  EXPECT_EQ(net_fcntl(ends_[0], F_SETPIPE_SZ, 4096), -EBUSY);
  EXPECT_EQ(net_fcntl(ends_[0], F_SETPIPE_SZ, 100000), 131072);
  EXPECT_EQ(fake::write_fd(ends_[1], std::string(5000, 'c')), 5000);
}

TEST_F(NetPipeTest, ClosedEndsShow) {
  make_pipe();
  EXPECT_EQ(fake::write_fd(ends_[1], "last"), 4);
  net_close(ends_[1]);
  EXPECT_EQ(poll_names(ends_[0]), "IH");
  EXPECT_EQ(fake::read_string(ends_[0]), "last");
  EXPECT_EQ(fake::read_string(ends_[0]), "");
  net_close(ends_[0]);
  make_pipe();
  net_close(ends_[0]);
  EXPECT_EQ(poll_names(ends_[1]), "OE");
  EXPECT_EQ(fake::write_fd(ends_[1], "x"), -EPIPE);
  EXPECT_EQ(env().sigpipes, 1);
}

TEST_F(NetPipeTest, PacketsKeepTheirEnds) {
  make_pipe(O_NONBLOCK | O_DIRECT);
  EXPECT_EQ(fake::write_fd(ends_[1], "one"), 3);
  EXPECT_EQ(fake::write_fd(ends_[1], "second"), 6);
  EXPECT_EQ(fake::read_string(ends_[0], 2), "on");
  EXPECT_EQ(fake::read_string(ends_[0]), "second");
}

TEST_F(NetPipeTest, BlockingEndsWaitForEachOther) {
  make_pipe(0);
  std::string got;
  fake::spawn([&] {
    while (got.size() < 200000) {
      got += fake::read_string(ends_[0], 3000);
    }
  });
  std::string sent;
  for (int i = 0; i < 200000; ++i) {
    sent += static_cast<char>('a' + i % 23);
  }
  EXPECT_EQ(fake::write_fd(ends_[1], sent), 200000);
  fake::run_threads();
  EXPECT_EQ(got, sent);
}

TEST_F(NetPipeTest, ABlockedWriterOutlivesTheCloseOfItsNumber) {
  make_pipe(0);
  long written = 0;
  fake::spawn([&] { written = fake::write_fd(ends_[1], std::string(200000, 'x')); });
  fake::run_threads();
  EXPECT_EQ(net_close(ends_[1]), 0);
  int other[2] = {-1, -1};
  ASSERT_EQ(net_pipe(other, 0), 0);  // may take over what was given back too early
  size_t got = 0;
  while (got < 200000) {
    const std::string part = fake::read_string(ends_[0], 50000);
    ASSERT_EQ(part, std::string(part.size(), 'x'));
    got += part.size();
    fake::run_threads();
  }
  EXPECT_EQ(written, 200000);
  EXPECT_EQ(fake::read_string(ends_[0]), "");  // the end came after the last byte
  net_close(other[0]);
  net_close(other[1]);
}

TEST_F(NetPipeTest, AtomicWritesOfSeveralThreadsDoNotMix) {
  make_pipe(0);
  for (int writer = 0; writer < 3; ++writer) {
    fake::spawn([this, writer] {
      for (int i = 0; i < 40; ++i) {
        EXPECT_EQ(fake::write_fd(ends_[1], std::string(3000, static_cast<char>('a' + writer))),
                  3000);
      }
    });
  }
  fake::run_threads();
  std::string got;
  while (got.size() < 3 * 40 * 3000) {
    got += fake::read_string(ends_[0], 5000);
  }
  for (size_t i = 0; i < got.size(); i += 3000) {
    ASSERT_EQ(got.substr(i, 3000), std::string(3000, got[i]));
  }
}

TEST_F(NetPipeTest, SocketpairGoesBothWays) {
  ASSERT_EQ(net_socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends_), 0);
  EXPECT_EQ(poll_names(ends_[0]), "O");
  EXPECT_EQ(fake::write_fd(ends_[0], "to the right"), 12);
  EXPECT_EQ(fake::send_fd(ends_[1], "left", 0), 4);
  EXPECT_EQ(fake::read_string(ends_[1]), "to the right");
  EXPECT_EQ(fake::read_string(ends_[0]), "left");
  EXPECT_EQ(net_shutdown(ends_[0], SHUT_WR), 0);
  EXPECT_EQ(poll_names(ends_[1]), "IOR");
  EXPECT_EQ(fake::read_string(ends_[1]), "");
  EXPECT_EQ(fake::write_fd(ends_[0], "x"), -EPIPE);
  EXPECT_EQ(fake::write_fd(ends_[1], "unread"), 6);
  net_close(ends_[0]);
  EXPECT_EQ(poll_names(ends_[1]), "IORHE");
  EXPECT_EQ(fake::read_string(ends_[1]), "!104");
  EXPECT_EQ(fake::read_string(ends_[1]), "");
  EXPECT_EQ(fake::write_fd(ends_[1], "x"), -EPIPE);
  EXPECT_EQ(env().sigpipes, 2);
}

TEST_F(NetPipeTest, MessagePairsKeepTheirEnds) {
  for (const int kind : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    ASSERT_EQ(net_socketpair(AF_UNIX, kind | SOCK_NONBLOCK, 0, ends_), 0);
    EXPECT_EQ(fake::write_fd(ends_[0], "first"), 5);
    EXPECT_EQ(fake::write_fd(ends_[0], "second"), 6);
    char buffer[8] = {};
    iovec iov = {buffer, 3};
    msghdr message = {};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    EXPECT_EQ(net_recvmsg(ends_[1], &message, 0), 3);
    EXPECT_EQ(message.msg_flags, MSG_TRUNC);
    EXPECT_EQ(fake::read_string(ends_[1]), "second");
    EXPECT_EQ(fake::read_string(ends_[1]), "!11");
    net_close(ends_[0]);
    EXPECT_EQ(fake::read_string(ends_[1]), kind == SOCK_DGRAM ? "!11" : "");
    net_close(ends_[1]);
  }
}

TEST_F(NetPipeTest, EventfdCountsAndBlocks) {
  ends_[0] = static_cast<int>(net_eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE));
  ends_[1] = static_cast<int>(net_eventfd(5, EFD_NONBLOCK));
  uint64_t value = 0;
  EXPECT_EQ(fake::read_fd(ends_[1], &value, 7), -EINVAL);
  EXPECT_EQ(fake::read_fd(ends_[1], &value, 8), 8);
  EXPECT_EQ(value, 5u);
  EXPECT_EQ(fake::read_fd(ends_[1], &value, 8), -EAGAIN);
  auto put = [](int fd, uint64_t number) {
    return fake::write_fd(fd, std::string(reinterpret_cast<const char*>(&number), 8));
  };
  EXPECT_EQ(put(ends_[0], 2), 8);
  EXPECT_EQ(fake::read_fd(ends_[0], &value, 8), 8);
  EXPECT_EQ(value, 1u);
  EXPECT_EQ(poll_names(ends_[0]), "IO");
  EXPECT_EQ(put(ends_[1], UINT64_MAX), -EINVAL);
  EXPECT_EQ(put(ends_[1], UINT64_MAX - 1), 8);
  EXPECT_EQ(put(ends_[1], 1), -EAGAIN);
  EXPECT_EQ(poll_names(ends_[1]), "I");
  net_fcntl(ends_[1], F_SETFL, 0);
  bool written = false;
  fake::spawn([&] { written = put(ends_[1], 1) == 8; });
  fake::run_threads();
  EXPECT_FALSE(written);
  EXPECT_EQ(fake::read_fd(ends_[1], &value, 8), 8);
  fake::run_threads();
  EXPECT_TRUE(written);
}

}  // namespace
}  // namespace ftrun::shim
