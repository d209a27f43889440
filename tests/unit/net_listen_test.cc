// SPDX-License-Identifier: Apache-2.0
// bind, listen and accept of virtual TCP sockets, with the edge's answers. See net_socket_test.cc.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "eventlog/limits.h"
#include "preload/net/lock.h"
#include "tests/unit/fake_env.h"
#include "tests/unit/listener_fixture.h"

namespace ftrun::shim {
namespace {

using fake::env;

class NetListenTest : public ListenerTest {
 protected:
  // The edge's answer to a bind or listen.
  static void put_answer(uint32_t socket, int error) {
    fake::QueuedArrival answer;
    answer.item.kind = ArrivalKind::kBound;
    answer.item.id = socket;
    answer.item.value = static_cast<uint64_t>(error);
    env().arrivals.push_back(answer);
  }
  // The edge has the port in use for somebody else, until grant_binds().
  static void refuse_binds() {
    env().answer_binds = false;
    env().when_idle = [] {
      put_answer(fake::last_bound_socket(), EADDRINUSE);
      return true;
    };
  }
  static void grant_binds() {
    env().when_idle = nullptr;
    env().answer_binds = true;
  }
};

TEST_F(NetListenTest, BindAsksTheEdgeAndListenAnnounces) {
  const auto binds = fake::outputs_of(OutputKind::kBind);
  ASSERT_EQ(binds.size(), 1u);
  EXPECT_EQ(binds[0].value, 0u);
  const auto listens = fake::outputs_of(OutputKind::kListen);
  ASSERT_EQ(listens.size(), 1u);
  EXPECT_EQ(listens[0].id, listener_id_);
  EXPECT_EQ(listens[0].value, 128u);
  sockaddr_in name = {};
  socklen_t length = sizeof(name);
  EXPECT_EQ(net_getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &length), 0);
  EXPECT_EQ(length, sizeof(name));
  EXPECT_NE(ntohs(name.sin_port), 0);
}

TEST_F(NetListenTest, BindErrorsComeFromTheEdge) {
  const int fd = static_cast<int>(net_socket(AF_INET, SOCK_STREAM, 0));
  refuse_binds();
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), -EADDRINUSE);
  grant_binds();
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), 0);
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), -EINVAL);
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), 4), -EINVAL);
  in.sin_family = AF_INET6;
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), -EAFNOSUPPORT);
  EXPECT_EQ(net_close(fd), 0);
  EXPECT_EQ(fake::outputs_of(OutputKind::kUnlisten).size(), 1u);
}

TEST_F(NetListenTest, AnInterruptedBindIsJoinedNotRepeated) {
  const int fd = static_cast<int>(net_socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  env().interrupt_next_wait = kErrRestart;
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), kErrRestartAlways);
  fake::apply_arrivals();  // answered while nobody waits
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), 0);
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), -EINVAL);
  EXPECT_EQ(fake::outputs_of(OutputKind::kBind).size(), 2u);  // the listener's and this one
  net_close(fd);
}

TEST_F(NetListenTest, ListenErrorsComeFromTheEdge) {
  const int fd = static_cast<int>(net_socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), 0);
  refuse_binds();
  EXPECT_EQ(net_listen(fd, 5), -EADDRINUSE);
  EXPECT_EQ(net_accept(fd, nullptr, nullptr, 0), -EINVAL);
  grant_binds();
  EXPECT_EQ(net_listen(fd, 5), 0);
  EXPECT_EQ(net_close(fd), 0);
}

TEST_F(NetListenTest, AnInterruptedListenIsJoinedNotRepeated) {
  const int fd = static_cast<int>(net_socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  EXPECT_EQ(net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)), 0);
  env().interrupt_next_wait = kErrRestart;
  EXPECT_EQ(net_listen(fd, 5), kErrRestartAlways);
  fake::apply_arrivals();  // answered while nobody waits
  EXPECT_EQ(net_listen(fd, 5), 0);
  EXPECT_EQ(fake::outputs_of(OutputKind::kListen).size(), 2u);  // the listener's and this one
  net_close(fd);
}

// listen() on a socket that listens does not wait natively: another thread's shutdown() comes after
// it.
TEST_F(NetListenTest, AShutdownEndsTheWaitOfARepeatedListen) {
  env().answer_binds = false;
  const auto answer = [](uint32_t socket) {
    put_answer(socket, 0);
    fake::run_threads();
  };
  long again = -1;
  long anew = -1;
  fake::spawn([&] { again = net_listen(listener_, 7); });
  fake::run_threads();
  EXPECT_EQ(again, -1);
  EXPECT_EQ(net_shutdown(listener_, SHUT_RD), 0);
  fake::spawn([&] { anew = net_listen(listener_, 8); });
  fake::run_threads();
  EXPECT_EQ(again, 0);
  answer(listener_id_);  // comes late, and is not taken for the answer to the new bind
  EXPECT_EQ(fake::outputs_of(OutputKind::kListen).size(), 2u);
  answer(fake::last_bound_socket());
  EXPECT_EQ(anew, -1);
  EXPECT_EQ(fake::outputs_of(OutputKind::kListen).back().value, 8u);
  answer(fake::last_bound_socket());
  EXPECT_EQ(anew, 0);
  const uint32_t id = fake::open(fake::last_bound_socket());
  const int fd = static_cast<int>(net_accept(listener_, nullptr, nullptr, 0));
  EXPECT_EQ(fake::outputs_of(OutputKind::kAccepted).back().id, id);
  EXPECT_EQ(net_close(fd), 0);
}

// The edge had taken the lock when the cancellation came, and answers both.
TEST_F(NetListenTest, ALateCancellationIsNoAnswerToTheUnlock) {
  env().answer_binds = false;
  const LockOwner owner = {false, 77};
  const auto asked = [] { return fake::outputs_of(OutputKind::kBind).size(); };
  const size_t before = asked();
  env().interrupt_next_wait = kErrRestart;
  EXPECT_EQ(edge_lock(owner, {}, LockOperation::kExclusive, true), kErrRestart);
  EXPECT_EQ(asked(), before + 2);  // the lock, its cancellation
  const uint32_t id = fake::last_bound_socket();
  put_answer(id, 0);
  put_answer(id, EINTR);
  fake::apply_arrivals();
  EXPECT_EQ(asked(), before + 3);  // the unlock
  long again = -1;
  fake::spawn([&] { again = edge_lock(owner, {}, LockOperation::kExclusive, false); });
  fake::run_threads();
  EXPECT_EQ(asked(), before + 3);
  put_answer(id, 0);  // to the unlock
  fake::run_threads();
  EXPECT_EQ(asked(), before + 4);
  put_answer(id, EWOULDBLOCK);
  fake::run_threads();
  EXPECT_EQ(again, -EWOULDBLOCK);
  edge_lock_release(owner);
}

TEST_F(NetListenTest, AcceptTellsTheEdge) {
  const uint32_t id = fake::open(listener_id_);
  EXPECT_TRUE(fake::outputs_of(OutputKind::kAccepted).empty());
  const int fd = static_cast<int>(net_accept(listener_, nullptr, nullptr, 0));
  const auto accepted = fake::outputs_of(OutputKind::kAccepted);
  ASSERT_EQ(accepted.size(), 1u);
  EXPECT_EQ(accepted[0].id, id);
  EXPECT_EQ(net_close(fd), 0);
}

TEST_F(NetListenTest, ListenWithoutBindTakesAnyPort) {
  const int fd = static_cast<int>(net_socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP));
  const int one = 1;
  EXPECT_EQ(net_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)), 0);
  EXPECT_EQ(net_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
  EXPECT_EQ(net_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)), 0);
  EXPECT_TRUE(fake::outputs_of(OutputKind::kOption).empty());
  EXPECT_EQ(net_listen(fd, -1), 0);
  const auto binds = fake::outputs_of(OutputKind::kBind);
  EXPECT_EQ(binds.back().value, kBindReuseAddress | kBindV6Only);
  EXPECT_EQ(binds.back().address.length, sizeof(sockaddr_in6));
  const auto options = fake::outputs_of(OutputKind::kOption);
  ASSERT_EQ(options.size(), 1u);
  EXPECT_EQ(options[0].id, fake::last_bound_socket() | kOptionOfSocket);
  EXPECT_EQ(options[0].value2, static_cast<uint64_t>(SO_KEEPALIVE));
  EXPECT_EQ(fake::outputs_of(OutputKind::kListen).back().value, 4096u);
  EXPECT_EQ(net_close(fd), 0);
}

TEST_F(NetListenTest, ShutdownOfAListenerEndsBlockedAccepts) {
  net_fcntl(listener_, F_SETFL, 0);
  long result = 0;
  fake::spawn([&] { result = net_accept(listener_, nullptr, nullptr, 0); });
  fake::run_threads();
  EXPECT_EQ(net_shutdown(listener_, SHUT_RD), 0);
  fake::run_threads();
  EXPECT_EQ(result, -EINVAL);
  EXPECT_EQ(fake::outputs_of(OutputKind::kUnlisten).size(), 1u);
  EXPECT_EQ(net_listen(listener_, 5), 0);  // asks for its port again
  EXPECT_EQ(fake::outputs_of(OutputKind::kBind).size(), 2u);
}

}  // namespace
}  // namespace ftrun::shim
