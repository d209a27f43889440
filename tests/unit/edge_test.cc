// SPDX-License-Identifier: Apache-2.0
// The edge against real loopback clients: input that the kernel keeps until it may go, output,
// ends of connections, limits, and being offered input again.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "edge_fixture.h"
#include "eventlog/locks.h"
#include "supervisor/edge/outside_locks.h"

namespace ftrun::edge {
namespace {

using EdgeTest = EdgeFixture;

TEST_F(EdgeTest, EchoBothWays) {
  const uint16_t port = listen();
  Client peer = client(port);
  EXPECT_EQ(seen_[1].listener, kSocket);
  peer.say("hello");
  run_until([this] { return seen_[1].input == "hello"; });
  say(1, "world");
  EXPECT_EQ(hear(&peer, 5), "world");
  run_until([this] { return seen_[1].sent == 5; });
  peer.say(" again");
  run_until([this] { return seen_[1].input == "hello again"; });
}

TEST_F(EdgeTest, BindToATakenPortAnswersTheError) {
  const uint16_t port = listen();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  Address taken;
  taken.length = sizeof(address);
  std::memcpy(taken.bytes, &address, sizeof(address));
  bound_error_ = -1;
  edge_->bind(2, 0, taken);
  run_until([this] { return bound_error_ >= 0; });
  EXPECT_EQ(bound_error_, EADDRINUSE);
}

TEST_F(EdgeTest, ListenOnATakenPortAnswersTheError) {
  const uint16_t port = listen();
  const int one = 1;
  const int other = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
  edge_->unlisten(kSocket);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  ASSERT_EQ(::bind(other, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  Address taken;
  taken.length = sizeof(address);
  std::memcpy(taken.bytes, &address, sizeof(address));
  bound_error_ = -1;
  edge_->bind(kSocket, kBindReuseAddress, taken);
  run_until([this] { return bound_error_ >= 0; });
  ASSERT_EQ(bound_error_, 0);
  ASSERT_EQ(::listen(other, 1), 0);
  EXPECT_EQ(listen_again(5), EADDRINUSE);
  ::close(other);
  EXPECT_EQ(listen_again(5), 0);
  EXPECT_TRUE(client(port).connected());
}

TEST_F(EdgeTest, TheBacklogBoundsWhatWaitsInTheApplicationAndInTheKernel) {
  const uint16_t port = listen(7);
  std::vector<Waiting> clients;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back(port);
    iterate(1);
  }
  EXPECT_EQ(connected(clients), 8);  // backlog + 1
  EXPECT_EQ(last_id_, 4u);
  iterate(1);
  EXPECT_EQ(last_id_, 4u);
  // One that is accepted makes room for one; told again, for no more.
  edge_->accepted(1);
  edge_->accepted(1);
  run_until([this] { return last_id_ == 5; });
  iterate(1);
  EXPECT_EQ(last_id_, 5u);
  // So does one that is turned away.
  edge_->close(2, 0, unit::Ending::kReset);
  run_until([this] { return last_id_ == 6; });
  // And a larger backlog.
  EXPECT_EQ(listen_again(15), 0);
  run_until([this] { return last_id_ >= 8; });
  edge_->unlisten(kSocket);
  EXPECT_LE(last_id_, 10u);
}

TEST_F(EdgeTest, LimitHoldsInputBackAndLiftsIt) {
  const uint16_t port = listen();
  Client peer = client(port);
  const std::string sent = fill(peer, 8u << 20);
  ASSERT_GT(sent.size(), kReceiveWindowBytes);
  EXPECT_LE(seen_[1].input.size(), kReceiveWindowBytes);
  size_t limit = kReceiveWindowBytes;
  while (seen_[1].input.size() < sent.size()) {
    const size_t before = seen_[1].input.size();
    edge_->release_input(1, before);
    edge_->input_limit(1, limit += 64 * 1024);
    run_until([&] { return seen_[1].input.size() > before; });
    EXPECT_LE(seen_[1].input.size(), limit);
  }
  EXPECT_TRUE(seen_[1].input == sent);
}

TEST_F(EdgeTest, FinComesAfterTheDataAndOnce) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("last words");
  peer.shut();
  run_until([this] { return seen_[1].fins == 1; });
  EXPECT_EQ(seen_[1].input, "last words");
  say(1, "answer");
  close(1, 10);
  EXPECT_EQ(hear(&peer, 6), "answer");
  hear_end(&peer);
  EXPECT_EQ(peer.error, 0);
  run_until([this] { return seen_[1].closed; });
  EXPECT_EQ(seen_[1].fins, 1);
}

TEST_F(EdgeTest, FinThatTheLimitHidesIsStillSeen) {
  const uint16_t port = listen();
  Client peer = client(port);
  const std::string text(kReceiveWindowBytes + 5, 'x');
  size_t sent = 0;
  const auto send_and_release = [&] {
    if (sent < text.size()) {
      const ssize_t got =
          send(peer.fd(), text.data() + sent, text.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      sent += got > 0 ? static_cast<size_t>(got) : 0;
    }
    edge_->release_input(1, seen_[1].input.size());
    return sent == text.size() && seen_[1].input.size() == kReceiveWindowBytes;
  };
  run_until(send_and_release);
  peer.shut();
  for (int i = 0; i < 10; ++i) {
    iterate(1);
  }
  EXPECT_EQ(seen_[1].fins, 0);
  edge_->input_limit(1, 2 * kReceiveWindowBytes);
  run_until([this] { return seen_[1].fins == 1; });
  EXPECT_TRUE(seen_[1].input == text);
}

// Closing a socket with peeked but undropped input would reset it and throw the answer away.
TEST_F(EdgeTest, CloseAfterQuitDeliversAllQueuedOutput) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("QUIT");
  run_until([this] { return seen_[1].input == "QUIT"; });
  const std::string answer(2'000'000, 'a');
  say(1, answer);
  close(1, 4);
  EXPECT_EQ(hear(&peer, answer.size()).size(), answer.size());
  hear_end(&peer);
  EXPECT_EQ(peer.error, 0);
  EXPECT_TRUE(peer.eof);
  run_until([this] { return seen_[1].closed; });
  EXPECT_TRUE(edge_->flushed());
}

TEST_F(EdgeTest, CloseWithUnreadInputResetsAsABareServerDoes) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("taken, left");
  run_until([this] { return seen_[1].input.size() == 11; });
  close(1, 6);
  hear_end(&peer);
  EXPECT_EQ(peer.error, ECONNRESET);
}

// The kernel has forgotten the input, so it would send a FIN.
TEST_F(EdgeTest, CloseWithUnreadInputThatWasReleasedResetsAsWell) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("taken, left");
  run_until([this] { return seen_[1].input.size() == 11; });
  say(1, "answer");
  edge_->release_input(1, 11);
  edge_->drop_released();
  close(1, 6);
  std::string heard;
  run_until([&] {
    heard += peer.hear_now();
    return peer.eof || peer.error != 0;
  });
  EXPECT_EQ(heard, "answer");
  EXPECT_EQ(peer.error, ECONNRESET);
}

// As a kernel: no client that does not read can put off its reset.
TEST_F(EdgeTest, CloseWithUnreadInputDoesNotWaitForQueuedOutput) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("left");
  run_until([this] { return seen_[1].input.size() == 4; });
  say(1, std::string(20u << 20, 'o'));
  EXPECT_FALSE(edge_->flushed());
  close(1, 0);
  run_until([this] { return seen_[1].closed; });
  hear_end(&peer);
  EXPECT_EQ(peer.error, ECONNRESET);
}

TEST_F(EdgeTest, EndingByResetResetsWhateverWasRead) {
  const uint16_t port = listen();
  Client peer = client(port);
  edge_->close(1, 0, unit::Ending::kReset);
  hear_end(&peer);
  EXPECT_EQ(peer.error, ECONNRESET);
}

TEST_F(EdgeTest, ResetIsReportedAfterTheDataBeforeIt) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("then gone");
  peer.reset();
  run_until([this] { return seen_[1].reset != 0; });
  EXPECT_EQ(seen_[1].input, "then gone");
  EXPECT_EQ(seen_[1].reset, ECONNRESET);
  EXPECT_EQ(seen_[1].fins, 0);
  say(1, "into the void");
  close(1, 9);
  run_until([this] { return seen_[1].closed; });
}

TEST_F(EdgeTest, ResetWhileOutputWaitsEndsTheConnection) {
  const uint16_t port = listen();
  Client peer = client(port);
  say(1, std::string(8u << 20, 'o'));
  EXPECT_FALSE(edge_->flushed());
  peer.reset();
  run_until([this] { return seen_[1].reset != 0; });
  EXPECT_TRUE(edge_->flushed());
  close(1, 0);
  run_until([this] { return seen_[1].closed; });
}

// As a kernel: a number of closed connections may wait for their peers, the others are reset.
TEST_F(EdgeTest, ClosedConnectionsWhosePeersDoNotReadAreBounded) {
  const uint16_t port = listen();
  const std::string answer(20u << 20, 'o');
  edge_->limit_orphan_bytes(SIZE_MAX);
  edge_->limit_orphans(3);
  std::vector<Client> peers;
  for (ConnectionId id = 1; id <= 3; ++id) {
    peers.push_back(client(port));
    say(id, answer);
    close(id, 0);
  }
  EXPECT_EQ(edge_->orphans(), 3u);
  hear(&peers[0], 4u << 20);  // a slow reader is no orphan for ever
  peers.push_back(client(port));
  say(4, answer);
  close(4, 0);
  run_until([this] { return seen_[2].closed; });
  EXPECT_NE(trouble_.find("4 such have"), std::string::npos) << trouble_;
  EXPECT_EQ(edge_->orphans(), 3u);
  EXPECT_FALSE(seen_[1].closed || seen_[3].closed || seen_[4].closed);
  hear_end(&peers[1]);
  EXPECT_EQ(peers[1].error, ECONNRESET);
  edge_->limit_orphan_bytes(answer.size());  // whatever the kernel has taken of each
  peers.push_back(client(port));
  say(5, answer);
  close(5, 0);  // now it is their bytes: one has room
  run_until([this] { return seen_[1].closed && seen_[3].closed && seen_[4].closed; });
  EXPECT_EQ(edge_->orphans(), 1u);
  hear(&peers[4], answer.size());
  hear_end(&peers[4]);
  EXPECT_EQ(peers[4].error, 0);
  EXPECT_TRUE(edge_->flushed());
  EXPECT_EQ(edge_->output_memory(), 0u);
}

TEST_F(EdgeTest, APeerThatAlwaysTakesALittleCostsNoMoreThanItsQueue) {
  const uint16_t port = listen();
  Client peer = client(port);
  say(1, std::string(20u << 20, 'o'));  // more than both kernels take
  const size_t first = edge_->output_memory();
  const std::string more(1u << 20, 'm');
  for (int round = 0; round < 100; ++round) {
    hear(&peer, more.size());
    say(1, more);
    ASSERT_FALSE(edge_->flushed());
  }
  EXPECT_LE(edge_->output_memory(), 3 * first);
}

TEST_F(EdgeTest, ShutdownEndsOutputButNotInput) {
  const uint16_t port = listen();
  Client peer = client(port);
  const std::string answer(1'000'000, 's');
  say(1, answer);
  edge_->shutdown(1);
  EXPECT_EQ(hear(&peer, answer.size()).size(), answer.size());
  hear_end(&peer);
  EXPECT_EQ(peer.error, 0);
  peer.say("still here");
  run_until([this] { return seen_[1].input == "still here"; });
}

TEST_F(EdgeTest, ReofferedInputComesAgainAndExactly) {
  const uint16_t port = listen();
  Client peer = client(port);
  std::string all;
  for (int i = 0; i < 300; ++i) {
    const std::string part = "part " + std::to_string(i) + ";";
    peer.say(part);
    all += part;
    run_until([&] { return seen_[1].input.size() == all.size(); });
    if (i % 3 == 0) {
      edge_->release_input(1, all.size() / 2);
    }
    if (i % 10 == 9) {
      // Positions before the release may be gone; any position from there on can be had again.
      edge_->reoffer_input(1, all.size() / 2 + 3);
      seen_[1].input.resize(all.size() / 2 + 3);
      run_until([&] { return seen_[1].input.size() == all.size(); });
    }
    ASSERT_TRUE(seen_[1].input == all);
  }
}

TEST_F(EdgeTest, PausedEdgeReadsNothing) {
  const uint16_t port = listen();
  Client peer = client(port);
  edge_->pause(true);
  peer.say("wait");
  for (int i = 0; i < 10; ++i) {
    iterate(1);
  }
  EXPECT_EQ(seen_[1].input, "");
  EXPECT_FALSE(edge_->has_pending()) << "would never sleep";
  edge_->pause(false);
  run_until([this] { return seen_[1].input == "wait"; });
}

// Whoever takes the input may have had enough before all that waits is read.
TEST_F(EdgeTest, PausedByWhatItReadsItReadsNoMore) {
  const uint16_t port = listen();
  Client first = client(port);
  Client second = client(port);
  edge_->pause(true);
  first.say("one");
  second.say("two");
  for (int i = 0; i < 10; ++i) {
    iterate(1);
  }
  pauses_ = true;
  edge_->pause(false);
  iterate(0);
  EXPECT_EQ(seen_[1].input + seen_[2].input, seen_[1].input.empty() ? "two" : "one");
  pauses_ = false;
  edge_->pause(false);
  run_until([this] { return seen_[1].input == "one" && seen_[2].input == "two"; });
}

TEST_F(EdgeTest, LittleReleasedInputIsDroppedByTheTick) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("few bytes");
  run_until([this] { return seen_[1].input.size() == 9; });
  edge_->release_input(1, 5);
  edge_->drop_released();
  peer.say("more");
  run_until([this] { return seen_[1].input == "few bytesmore"; });
  close(1, 13);  // would be reset if the edge had lost count of what is dropped
  hear_end(&peer);
  EXPECT_EQ(peer.error, 0);
}

TEST_F(EdgeTest, ZeroLingerResetsAndPositiveLingerDoesNotBlock) {
  const uint16_t port = listen();
  Client first = client(port);
  Client second = client(port);
  const linger zero{1, 0};
  const linger long_time{1, 30};
  edge_->option(1, SOL_SOCKET, SO_LINGER, {reinterpret_cast<const uint8_t*>(&zero), sizeof(zero)});
  edge_->option(2, SOL_SOCKET, SO_LINGER, {reinterpret_cast<const uint8_t*>(&zero), sizeof(zero)});
  edge_->option(2, SOL_SOCKET, SO_LINGER,
                {reinterpret_cast<const uint8_t*>(&long_time), sizeof(long_time)});
  say(2, std::string(1'000'000, 'l'));
  close(1, 0);
  close(2, 0);
  hear_end(&first);
  EXPECT_EQ(first.error, ECONNRESET);
  EXPECT_EQ(hear(&second, 1'000'000).size(), 1'000'000u);
  hear_end(&second);
  EXPECT_EQ(second.error, 0);
}

// A client that takes packets only from the nearest hosts: what another number of hops remains to
// is dropped by its kernel.
TEST_F(EdgeTest, PacketsHaveTheHopsThatTheApplicationAskedFor) {
  const uint16_t port = listen();
  Client peer = client(port);
  const int hops = 255;
  edge_->option(1, IPPROTO_IP, IP_TTL, {reinterpret_cast<const uint8_t*>(&hops), sizeof(hops)});
  ASSERT_EQ(setsockopt(peer.fd(), IPPROTO_IP, IP_MINTTL, &hops, sizeof(hops)), 0);
  say(1, "from nearby");
  EXPECT_EQ(hear(&peer, 11), "from nearby");
}

TEST_F(EdgeTest, ManyConnectionsReuseSlots) {
  const uint16_t port = listen();
  for (int round = 0; round < 20; ++round) {
    std::vector<Client> clients;
    for (int i = 0; i < 50; ++i) {
      clients.push_back(client(port));
      clients.back().say("x");
    }
    const ConnectionId first = last_id_ - 49;
    for (ConnectionId id = first; id <= last_id_; ++id) {
      run_until([&] { return seen_[id].input == "x"; });
      close(id, 1);
    }
    run_until([this] { return edge_->connections() == 0 && !edge_->has_reports(); });
  }
  EXPECT_EQ(last_id_, 1000u);
}

// The supervisor keeps descriptors for its own needs, and goes on accepting when there is room.
TEST_F(EdgeTest, AtTheDescriptorLimitClientsWaitUntilThereIsRoom) {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  constexpr unsigned kClients = 9;
  const rlimit small{kDescriptorsReserved + 2 + kClients, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &small);
  TearDown();
  make_edge();
  setrlimit(RLIMIT_NOFILE, &before);
  const uint16_t port = listen();
  // A lock on a file is a descriptor as well.
  const int self = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  const int file = memfd_create("locked", MFD_CLOEXEC);
  edge_->set_application(self);
  bound_error_ = -1;
  constexpr uint32_t kLock = 99;
  edge_->bind(kLock,
              kBindLock | static_cast<uint32_t>(LockOperation::kShared) << kLockOperationShift,
              put_lock_target({file, file_cookie(file), 0, 0}));
  run_until([this] { return bound_error_ >= 0; });
  EXPECT_EQ(bound_error_, 0);
  std::vector<Client> clients;
  for (unsigned i = 0; i < kClients; ++i) {
    clients.push_back(client(port));
  }
  EXPECT_EQ(trouble_, "");
  Client waiting(port);
  waiting.say("patience");
  run_until([this] { return !trouble_.empty(); });
  EXPECT_NE(trouble_.find("new connections wait: 9 are open"), std::string::npos) << trouble_;
  trouble_.clear();
  edge_->drop_released();  // looks again, in vain, and does not complain again
  iterate(10);
  EXPECT_EQ(last_id_, kClients);
  EXPECT_EQ(trouble_, "");
  edge_->close(1, 0, unit::Ending::kAsRead);
  run_until([this] { return seen_[kClients + 1].input == "patience"; });
  ::close(file);
  ::close(self);
}

// Others may have what is missing (ENFILE, no memory): no connection of ours need end then.
TEST_F(EdgeTest, AcceptThatFailedIsTriedAgain) {
  const uint16_t port = listen();
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  Client first(port);
  const rlimit none{3, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  run_until([this] { return !trouble_.empty(); });
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_NE(trouble_.find("new connections wait: accept"), std::string::npos) << trouble_;
  iterate(10);
  EXPECT_EQ(last_id_, 0u);
  edge_->drop_released();
  run_until([this] { return last_id_ == 1; });
}

}  // namespace
}  // namespace ftrun::edge
