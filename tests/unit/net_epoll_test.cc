// SPDX-License-Identifier: Apache-2.0
// Virtual epoll, poll, select and timers, one behaviour a test.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/fake_env.h"

namespace ftrun::shim {
namespace {

using fake::env;

class NetEpollTest : public testing::Test {
 protected:
  void SetUp() override {
    fake::reset();
    epoll_ = static_cast<int>(net_epoll_create(0));
  }
  void TearDown() override { net_close(epoll_); }
  int event_fd(unsigned initial = 0, int flags = O_NONBLOCK) {
    return static_cast<int>(net_eventfd(initial, flags));
  }
  long ctl(int operation, int fd, uint32_t events, int epoll = -1) {
    epoll_event event = {};
    event.events = events;
    event.data.u64 = static_cast<uint64_t>(fd);
    return net_epoll_ctl(epoll < 0 ? epoll_ : epoll, operation, fd, &event);
  }
  // Descriptors reported, in order.
  std::vector<int> wait(int max_events = 64, int64_t timeout_ns = 0) {
    epoll_event events[64];
    const long count = net_epoll_wait(epoll_, events, max_events, timeout_ns);
    std::vector<int> fds;
    for (long i = 0; i < count; ++i) {
      fds.push_back(static_cast<int>(events[i].data.u64));
    }
    return fds;
  }
  void add_one(int fd) {
    const uint64_t one = 1;
    EXPECT_EQ(fake::write_fd(fd, std::string(reinterpret_cast<const char*>(&one), 8)), 8);
  }
  void take(int fd) {
    uint64_t value = 0;
    EXPECT_EQ(fake::read_fd(fd, &value, 8), 8);
  }

  int epoll_ = -1;
};

using Fds = std::vector<int>;

TEST_F(NetEpollTest, ControlErrors) {
  const int fd = event_fd();
  EXPECT_EQ(ctl(EPOLL_CTL_DEL, fd, 0), -ENOENT);
  EXPECT_EQ(ctl(EPOLL_CTL_MOD, fd, EPOLLIN), -ENOENT);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, fd, EPOLLIN), 0);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, fd, EPOLLIN), -EEXIST);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, 999, EPOLLIN), -EBADF);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, 0, EPOLLIN), -EPERM);  // a file of the kernel's
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, epoll_, EPOLLIN), -EINVAL);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, fd, EPOLLIN, fd), -EINVAL);
  EXPECT_EQ(ctl(99, fd, EPOLLIN), -EINVAL);
  EXPECT_EQ(net_epoll_wait(fd, nullptr, 1, 0), -EINVAL);
  EXPECT_EQ(net_epoll_wait(999, nullptr, 1, 0), -EBADF);
  EXPECT_EQ(net_epoll_wait(epoll_, nullptr, 0, 0), -EINVAL);
  net_close(fd);
}

TEST_F(NetEpollTest, LevelTriggeredRotates) {
  const Fds fds = {event_fd(1), event_fd(1), event_fd(1)};
  for (const int fd : fds) {
    ctl(EPOLL_CTL_ADD, fd, EPOLLIN);
  }
  EXPECT_EQ(wait(1), Fds({fds[0]}));
  EXPECT_EQ(wait(1), Fds({fds[1]}));
  EXPECT_EQ(wait(2), Fds({fds[2], fds[0]}));
  take(fds[1]);
  EXPECT_EQ(wait(), Fds({fds[2], fds[0]}));
  for (const int fd : fds) {
    net_close(fd);
  }
  EXPECT_EQ(wait(), Fds());
}

TEST_F(NetEpollTest, EdgeTriggeredReportsChanges) {
  const int fd = event_fd(1);
  ctl(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET);
  EXPECT_EQ(wait(), Fds({fd}));
  EXPECT_EQ(wait(), Fds());
  add_one(fd);
  EXPECT_EQ(wait(), Fds({fd}));
  EXPECT_EQ(wait(), Fds());
  ctl(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET);  // modifying looks again
  EXPECT_EQ(wait(), Fds({fd}));
  net_close(fd);
}

TEST_F(NetEpollTest, OneShotWaitsForModify) {
  const int fd = event_fd(1);
  ctl(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT);
  EXPECT_EQ(wait(), Fds({fd}));
  add_one(fd);
  EXPECT_EQ(wait(), Fds());
  ctl(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
  EXPECT_EQ(wait(), Fds({fd}));
  net_close(fd);
}

TEST_F(NetEpollTest, StaysUntilTheLastDuplicateIsClosed) {
  const int fd = event_fd(1);
  ctl(EPOLL_CTL_ADD, fd, EPOLLIN);
  const int copy = static_cast<int>(net_dup(fd, 0, -1, false));
  net_close(fd);
  EXPECT_EQ(wait(), Fds({fd}));
  EXPECT_EQ(ctl(EPOLL_CTL_DEL, fd, 0), -EBADF);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, copy, EPOLLIN), 0);
  EXPECT_EQ(wait(), Fds({fd, copy}));
  net_close(copy);
  EXPECT_EQ(wait(), Fds());
}

TEST_F(NetEpollTest, NestsButNeverLoops) {
  const int inner = static_cast<int>(net_epoll_create(EPOLL_CLOEXEC));
  const int fd = event_fd(0);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, fd, EPOLLIN, inner), 0);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, inner, EPOLLIN), 0);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, epoll_, EPOLLIN, inner), -ELOOP);
  EXPECT_EQ(wait(), Fds());
  add_one(fd);
  EXPECT_EQ(wait(), Fds({inner}));
  take(fd);
  EXPECT_EQ(wait(), Fds());
  net_close(fd);
  net_close(inner);
}

TEST_F(NetEpollTest, TimeoutsFollowTheVirtualClock) {
  const int64_t before = env().now_ns;
  EXPECT_EQ(wait(1, 5000000), Fds());
  EXPECT_EQ(env().now_ns - before, 5000000);
  EXPECT_EQ(env().waits, 1);
  EXPECT_EQ(wait(1, 0), Fds());
  EXPECT_EQ(env().waits, 1);
  env().interrupt_next_wait = kErrRestart;
  epoll_event event;
  EXPECT_EQ(net_epoll_wait(epoll_, &event, 1, -1), -EINTR);
}

TEST_F(NetEpollTest, AWriteWakesOneOfSeveralWaiters) {
  const int fd = event_fd(0);
  ctl(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET);
  std::vector<int> woken;
  for (int i = 0; i < 3; ++i) {
    fake::spawn([this, i, &woken] {
      epoll_event event;
      if (net_epoll_wait(epoll_, &event, 1, -1) == 1) {
        woken.push_back(i);
      }
    });
  }
  fake::run_threads();
  EXPECT_EQ(woken, Fds());
  add_one(fd);
  fake::run_threads();
  EXPECT_EQ(woken, Fds({0}));
  add_one(fd);
  add_one(fd);  // joins the edge that is not collected yet, but wakes the next one
  fake::run_threads();
  EXPECT_EQ(woken.size(), 2u);
  add_one(fd);
  fake::run_threads();
  EXPECT_EQ(woken, Fds({0, 1, 2}));
  net_close(fd);
}

TEST_F(NetEpollTest, ExclusiveWakesOneEpoll) {
  const int fd = event_fd(0);
  const int other = static_cast<int>(net_epoll_create(0));
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE), 0);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE, other), 0);
  EXPECT_EQ(ctl(EPOLL_CTL_MOD, fd, EPOLLIN), -EINVAL);
  EXPECT_EQ(ctl(EPOLL_CTL_ADD, other, EPOLLIN | EPOLLEXCLUSIVE), -EINVAL);
  std::vector<int> woken;
  for (const int epoll : {epoll_, other}) {
    fake::spawn([epoll, &woken] {
      epoll_event event;
      if (net_epoll_wait(epoll, &event, 1, -1) == 1) {
        woken.push_back(epoll);
      }
    });
  }
  fake::run_threads();
  add_one(fd);
  fake::run_threads();
  EXPECT_EQ(woken, Fds({epoll_}));
  add_one(fd);
  fake::run_threads();
  EXPECT_EQ(woken, Fds({epoll_, other}));
  net_close(fd);
  net_close(other);
}

TEST_F(NetEpollTest, ReportsArrivalsOfManyConnectionsInOrder) {
  const int listener = fake::listening_socket();
  const uint32_t id = fake::last_bound_socket();
  std::vector<fake::Connection> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(fake::connect_to(listener, id));
    ctl(EPOLL_CTL_ADD, all.back().fd, EPOLLIN | EPOLLRDHUP);
  }
  fake::data(all[3].id, "x");
  fake::fin(all[1].id);
  fake::data(all[3].id, "y");
  fake::data(all[4].id, "z");
  EXPECT_EQ(wait(), Fds({all[3].fd, all[1].fd, all[4].fd}));
  for (const auto& c : all) {
    net_close(c.fd);
  }
  net_close(listener);
}

TEST_F(NetEpollTest, PollSeesMixedDescriptors) {
  const int fd = event_fd(0);
  pollfd fds[5] = {
      {fd, POLLIN, 7}, {0, POLLIN | POLLOUT, 0}, {-1, POLLIN, 7}, {999, POLLIN, 0}, {1, POLLIN, 7}};
  EXPECT_EQ(net_poll(fds, 5, 0), 2);
  EXPECT_EQ(fds[0].revents, 0);
  EXPECT_EQ(fds[1].revents, POLLIN | POLLOUT);
  EXPECT_EQ(fds[2].revents, 0);
  EXPECT_EQ(fds[3].revents, POLLNVAL);
  EXPECT_EQ(fds[4].revents, 0);
  EXPECT_EQ(net_poll(nullptr, 5000, 0), -EINVAL);
  long result = -1;
  fake::spawn([&] { result = net_poll(fds, 1, -1); });
  fake::run_threads();
  add_one(fd);
  fake::run_threads();
  EXPECT_EQ(result, 1);
  EXPECT_EQ(fds[0].revents, POLLIN);
  net_close(fd);
}

TEST_F(NetEpollTest, PollOutlivesACloseOfItsDescriptor) {
  const int fd = event_fd(0);
  pollfd entry = {fd, POLLIN, 0};
  long result = -1;
  fake::spawn([&] { result = net_poll(&entry, 1, 1000); });
  fake::run_threads();
  net_close(fd);
  EXPECT_EQ(wait(1, 2000), Fds());  // lets the time pass
  fake::run_threads();
  EXPECT_EQ(result, 1);  // the number is not open any more
  EXPECT_EQ(entry.revents, POLLNVAL);
}

TEST_F(NetEpollTest, SelectClearsWhatIsNotReady) {
  const int fd = event_fd(1);
  const int idle = event_fd(0);
  fd_set read;
  fd_set write;
  FD_ZERO(&read);
  FD_ZERO(&write);
  for (const int n : {fd, idle, 0}) {
    FD_SET(n, &read);
    FD_SET(n, &write);
  }
  EXPECT_EQ(net_select(std::max(fd, idle) + 1, &read, &write, nullptr, 0), 5);
  EXPECT_TRUE(FD_ISSET(fd, &read));
  EXPECT_FALSE(FD_ISSET(idle, &read));
  EXPECT_TRUE(FD_ISSET(0, &read));
  EXPECT_TRUE(FD_ISSET(idle, &write));
  FD_SET(999, &read);
  EXPECT_EQ(net_select(1000, &read, nullptr, nullptr, 0), -EBADF);
  EXPECT_EQ(net_select(-1, nullptr, nullptr, nullptr, 0), -EINVAL);
  const int64_t before = env().now_ns;
  EXPECT_EQ(net_select(0, nullptr, nullptr, nullptr, 1000), 0);
  EXPECT_EQ(env().now_ns - before, 1000);
  net_close(fd);
  net_close(idle);
}

TEST_F(NetEpollTest, TimersExpireOnTheVirtualClock) {
  const int fd = static_cast<int>(net_timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  ctl(EPOLL_CTL_ADD, fd, EPOLLIN);
  uint64_t ticks = 0;
  EXPECT_EQ(fake::read_fd(fd, &ticks, 8), -EAGAIN);
  itimerspec spec = {{0, 1000}, {0, 5000}};
  EXPECT_EQ(net_timerfd_settime(fd, 0, &spec, nullptr), 0);
  itimerspec now = {};
  EXPECT_EQ(net_timerfd_gettime(fd, &now), 0);
  EXPECT_EQ(now.it_value.tv_nsec, 5000);
  EXPECT_EQ(net_next_timer_ns(), env().now_ns + 5000);
  EXPECT_EQ(wait(1, 1000000), Fds({fd}));
  env().now_ns += 2500;
  EXPECT_EQ(fake::read_fd(fd, &ticks, 8), 8);
  EXPECT_EQ(ticks, 3u);
  EXPECT_EQ(net_next_timer_ns(), env().now_ns + 500);
  spec = {};
  EXPECT_EQ(net_timerfd_settime(fd, 0, &spec, &now), 0);
  EXPECT_EQ(now.it_interval.tv_nsec, 1000);
  EXPECT_EQ(net_next_timer_ns(), kNoDeadline);
  EXPECT_EQ(fake::read_fd(fd, &ticks, 8), -EAGAIN);
  spec.it_value.tv_nsec = 1000000000;
  EXPECT_EQ(net_timerfd_settime(fd, 0, &spec, nullptr), -EINVAL);
  net_close(fd);
  // Absolute real time lies at an offset from the virtual clock.
  const int real = static_cast<int>(net_timerfd_create(CLOCK_REALTIME, 0));
  spec = {};
  const int64_t at = env().now_ns + env().realtime_offset_ns + 777;
  spec.it_value = {at / 1000000000, at % 1000000000};
  EXPECT_EQ(net_timerfd_settime(real, TFD_TIMER_ABSTIME, &spec, nullptr), 0);
  EXPECT_EQ(net_next_timer_ns(), env().now_ns + 777);
  EXPECT_EQ(fake::read_fd(real, &ticks, 8), 8);  // waits
  EXPECT_EQ(ticks, 1u);
  net_close(real);
  EXPECT_EQ(net_timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0), -EINVAL);
}

}  // namespace
}  // namespace ftrun::shim
