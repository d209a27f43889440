// SPDX-License-Identifier: Apache-2.0
// Exact positions of a TCP connection in every state, and sockets going from one edge to another.
#include <netinet/tcp.h>

#include "edge_fixture.h"
#include "supervisor/edge/keeper.h"
#include "supervisor/edge/socket_state.h"

namespace ftrun::edge {
namespace {

enum : int { kEstablished = 1, kFinWait2 = 5, kClosed = 7, kCloseWait = 8, kLastAck = 9 };

int tcp_state(int fd) {
  tcp_info info{};
  socklen_t length = sizeof(info);
  getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
  return info.tcpi_state;
}

// A connected pair without an edge: `server` is the accepted side.
class SocketStateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    ASSERT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(listen(listener_, 1), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    client_ = std::make_unique<Client>(ntohs(address.sin_port));
    server_ = accept(listener_, nullptr, nullptr);
    ASSERT_GE(server_, 0);
  }
  void TearDown() override {
    ::close(server_);
    ::close(listener_);
  }
  // The client sends 30 bytes, of which the server drops 10 and leaves 20; the server sends 50.
  void talk(bool client_reads) {
    client_->say(std::string(30, 'i'));
    char buffer[64];
    ASSERT_EQ(recv(server_, buffer, 30, MSG_PEEK | MSG_WAITALL), 30);
    ASSERT_EQ(recv(server_, nullptr, 10, MSG_TRUNC), 10);
    ASSERT_EQ(send(server_, std::string(50, 'o').data(), 50, MSG_NOSIGNAL), 50);
    if (client_reads) {
      ASSERT_EQ(recv(client_->fd(), buffer, 50, MSG_WAITALL), 50);
    }
  }
  void wait_for_state(int state) {
    const int64_t deadline = link::monotonic_ns() + 5'000'000'000;
    while (tcp_state(server_) != state) {
      ASSERT_LT(link::monotonic_ns(), deadline) << "state " << tcp_state(server_);
      poll(nullptr, 0, 1);
    }
  }
  void expect(bool shutdown_called, bool peer_shut, bool output_shut) {
    const Result<SocketState> state = read_socket_state(server_, shutdown_called);
    ASSERT_TRUE(state.ok()) << state.error().message;
    EXPECT_EQ(state->input_dropped, 10u);
    EXPECT_EQ(state->input_unread, 20u);
    EXPECT_EQ(state->output_written, 50u);
    EXPECT_EQ(state->peer_shut, peer_shut);
    EXPECT_EQ(state->output_shut, output_shut);
  }
  int listener_ = -1;
  int server_ = -1;
  std::unique_ptr<Client> client_;
};

TEST_F(SocketStateTest, Established) {
  talk(true);
  wait_for_state(kEstablished);
  expect(false, false, false);
}

TEST_F(SocketStateTest, EstablishedWithUnreadOutput) {
  talk(false);
  expect(false, false, false);
}

TEST_F(SocketStateTest, CloseWait) {
  talk(true);
  client_->shut();
  wait_for_state(kCloseWait);
  expect(false, true, false);
  // Also once the FIN itself has been peeked at, and everything dropped.
  EXPECT_EQ(recv(server_, nullptr, 20, MSG_TRUNC), 20);
  char byte;
  EXPECT_EQ(recv(server_, &byte, 1, MSG_PEEK), 0);
  const Result<SocketState> state = read_socket_state(server_, false);
  EXPECT_EQ(state->input_dropped, 30u);
  EXPECT_EQ(state->input_unread, 0u);
  EXPECT_TRUE(state->peer_shut);
  EXPECT_EQ(recv(server_, &byte, 1, 0), 0);  // and read
  EXPECT_EQ(read_socket_state(server_, false)->input_dropped, 30u);
}

TEST_F(SocketStateTest, FinWait) {
  talk(true);
  ::shutdown(server_, SHUT_WR);
  expect(true, false, true);  // FIN_WAIT1 or FIN_WAIT2
  wait_for_state(kFinWait2);
  expect(true, false, true);
}

TEST_F(SocketStateTest, FinWaitWithUnreadOutputAndMoreInput) {
  talk(false);
  ::shutdown(server_, SHUT_WR);
  client_->say(std::string(5, 'm'));
  const int64_t deadline = link::monotonic_ns() + 5'000'000'000;
  while (read_socket_state(server_, true)->input_unread != 25) {
    ASSERT_LT(link::monotonic_ns(), deadline);
  }
  const Result<SocketState> state = read_socket_state(server_, true);
  EXPECT_EQ(state->input_dropped, 10u);
  EXPECT_EQ(state->output_written, 50u);
  EXPECT_TRUE(state->output_shut);
}

TEST_F(SocketStateTest, BothFinsFromUsFirst) {
  talk(true);
  ::shutdown(server_, SHUT_WR);
  wait_for_state(kFinWait2);
  client_->shut();
  wait_for_state(kClosed);  // the time-wait state is not this socket's
  expect(true, true, true);
}

TEST_F(SocketStateTest, BothFinsFromThePeerFirst) {
  talk(true);
  client_->shut();
  wait_for_state(kCloseWait);
  ::shutdown(server_, SHUT_WR);
  wait_for_state(kClosed);  // through LAST_ACK
  expect(true, true, true);
}

TEST_F(SocketStateTest, LastAckWhileThePeerDoesNotRead) {
  talk(false);
  client_->shut();
  wait_for_state(kCloseWait);
  ::shutdown(server_, SHUT_WR);
  expect(true, true, true);  // LAST_ACK, or CLOSE once it is acknowledged
}

TEST_F(SocketStateTest, ResetByThePeer) {
  talk(true);
  client_->reset();
  wait_for_state(kClosed);
  const Result<SocketState> state = read_socket_state(server_, false);
  ASSERT_TRUE(state.ok());
  EXPECT_TRUE(state->closed);
  EXPECT_FALSE(state->peer_shut);
  EXPECT_EQ(state->input_dropped, 10u);
}

// One edge plays the dead sender (its epoll and sockets stay as they are), another the taker.
class EdgeTakeTest : public EdgeFixture {
 protected:
  // Ends the first edge's life as owner and lets a second one take duplicates of its sockets.
  Edge::Adopted take_over(std::vector<TakenSocket> sockets) {
    old_edge_ = std::move(edge_);
    old_epoll_ = epoll_;
    make_edge();
    Edge::Adopted adopted = edge_->take(std::move(sockets));
    return adopted;
  }
  void TearDown() override {
    EdgeFixture::TearDown();
    old_edge_.reset();
    ::close(old_epoll_);
  }
  std::unique_ptr<Edge> old_edge_;
  int old_epoll_ = -1;
};

// All descriptors of this process that are TCP sockets on `port` as their local port.
std::vector<TakenSocket> sockets_on(uint16_t port, uint32_t flags) {
  std::vector<int> found_fds;
  for (int fd = 3; fd < 200; ++fd) {
    const Result<Address> local = local_address(fd);
    uint16_t found = 0;
    if (local.ok()) {
      std::memcpy(&found, local->bytes + 2, sizeof(found));
    }
    if (ntohs(found) == port && port != 0) {
      found_fds.push_back(fd);
    }
  }
  std::vector<TakenSocket> sockets;
  for (const int fd : found_fds) {
    int listening = 0;
    socklen_t length = sizeof(listening);
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    TakenSocket socket;
    socket.fd = dup(fd);
    socket.cookie = socket_cookie(socket.fd);
    socket.kind = listening != 0 ? SocketKind::kListener : SocketKind::kConnection;
    socket.id = 1;
    socket.listener = 1;
    socket.flags = listening != 0 ? kSocketListening : flags;
    sockets.push_back(socket);
  }
  return sockets;
}

TEST_F(EdgeTakeTest, StreamsGoOnExactlyAfterATakeover) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("0123456789");
  run_until([this] { return seen_[1].input.size() == 10; });
  say(1, "abcdef");
  EXPECT_EQ(hear(&peer, 6), "abcdef");
  peer.say("more");  // unread by the dead owner
  std::vector<TakenSocket> sockets = sockets_on(port, 0);
  ASSERT_EQ(sockets.size(), 2u);
  const Edge::Adopted adopted = take_over(std::move(sockets));
  ASSERT_EQ(adopted.connections.size(), 1u);
  ASSERT_EQ(adopted.listeners.size(), 1u);
  EXPECT_TRUE(adopted.listeners[0].listening);
  const unit::AdoptedConnection& found = adopted.connections[0];
  EXPECT_EQ(found.id, 1u);
  EXPECT_EQ(found.input_dropped, 0u);
  EXPECT_EQ(found.output_written, 6u);
  EXPECT_FALSE(found.output_shut);
  // The unit had logged 7 bytes of input.
  edge_->adopt(found.handle, 1);
  edge_->release_input(1, 7);
  edge_->reoffer_input(1, 7);
  seen_[1].input.resize(7);
  run_until([this] { return seen_[1].input == "0123456789more"; });
  say(1, "ghi");
  EXPECT_EQ(hear(&peer, 3), "ghi");
  // New connections come to the new owner.
  EXPECT_EQ(listen_again(128), 0);
  Client other = client(port);
  other.say("hi");
  run_until([this] { return seen_[2].input == "hi"; });
}

// A planned change: who had the sockets lives on, and no peer notices that it closes its own.
TEST_F(EdgeTakeTest, SocketsThatWereLetGoGoOnElsewhereAndAreForgottenHere) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("0123456789");
  run_until([this] { return seen_[1].input.size() == 10; });
  std::string output(8 << 20, 'o');
  say(1, output);
  const std::vector<unit::Unwritten> unwritten = edge_->let_go();
  ASSERT_EQ(unwritten.size(), 1u);
  EXPECT_EQ(unwritten[0].id, 1u);
  EXPECT_EQ(unwritten[0].written + unwritten[0].output.size(), output.size());
  EXPECT_GT(unwritten[0].output.size(), 0u);
  peer.say("more");
  for (int i = 0; i < 20; ++i) {
    iterate(1);  // nothing is read or written here any more
  }
  EXPECT_EQ(seen_[1].input.size(), 10u);
  const uint64_t written = unwritten[0].written;
  const Edge::Adopted adopted = take_over(sockets_on(port, 0));
  ASSERT_EQ(adopted.connections.size(), 1u);
  EXPECT_EQ(adopted.connections[0].output_written, written);
  old_edge_->forget();
  edge_->adopt(adopted.connections[0].handle, 1);
  edge_->reoffer_input(1, 10);
  run_until([this] { return seen_[1].input == "0123456789more"; });
  offered_[1] = written;
  say(1, output.substr(written));
  EXPECT_EQ(hear(&peer, output.size()), output);
  EXPECT_EQ(listen_again(128), 0);
  Client other = client(port);
  EXPECT_TRUE(other.connected());
}

TEST_F(EdgeTakeTest, SocketsThatWereLetGoCanBeTakenBack) {
  const uint16_t port = listen();
  Client peer = client(port);
  edge_->let_go();
  peer.say("hello");
  const Edge::Adopted adopted = edge_->take(edge_->take_back());
  ASSERT_EQ(adopted.connections.size(), 1u);
  ASSERT_EQ(adopted.listeners.size(), 1u);
  edge_->adopt(adopted.connections[0].handle, 1);
  edge_->reoffer_input(1, 0);
  run_until([this] { return seen_[1].input == "hello"; });
  edge_->forget();  // nothing is left to be forgotten
  say(1, "yes");
  EXPECT_EQ(hear(&peer, 3), "yes");
}

TEST_F(EdgeTakeTest, WhatWaitsInTheApplicationCountsAfterATakeover) {
  const uint16_t port = listen(3);  // two for the application, two for the kernel
  Client first = client(port);
  Client second = client(port);
  Client third(port);
  ASSERT_TRUE(third.connected());
  iterate(1);
  ASSERT_EQ(last_id_, 2u);
  std::vector<TakenSocket> sockets = sockets_on(port, 0);
  uint32_t id = 0;
  for (TakenSocket& socket : sockets) {
    socket.id = socket.kind == SocketKind::kConnection ? ++id : socket.id;
  }
  ASSERT_EQ(id, 2u);
  const Edge::Adopted adopted = take_over(std::move(sockets));
  ASSERT_EQ(adopted.connections.size(), 2u);
  for (const unit::AdoptedConnection& connection : adopted.connections) {
    edge_->adopt(connection.handle, connection.id);
  }
  EXPECT_EQ(listen_again(3), 0);
  iterate(1);
  EXPECT_EQ(last_id_, 2u);
  edge_->accepted(1);
  run_until([this] { return last_id_ == 3; });
}

// What was released before the edge knows how far the connection had been read, or before it reads
// on, must go all the same: a receive buffer that is full stays full otherwise, and the client
// waits for ever.
class EdgeReleaseOrder : public EdgeTakeTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(EdgeReleaseOrder, FullReceiveBufferIsEmptiedAfterATakeover) {
  const uint16_t port = listen();
  Client peer = client(port);
  const std::string sent = fill(peer, kReceiveWindowBytes / 2);
  const size_t logged = seen_[1].input.size();
  ASSERT_LT(logged, sent.size()) << "the receive buffer is not full";
  const Edge::Adopted adopted = take_over(sockets_on(port, 0));
  ASSERT_EQ(adopted.connections.size(), 1u);
  ASSERT_EQ(adopted.connections[0].input_dropped, 0u);
  edge_->adopt(adopted.connections[0].handle, 1);
  for (const char* step = GetParam(); *step != 0; ++step) {
    switch (*step) {
      case 'r':  // release
        edge_->release_input(1, logged);
        break;
      case 'o':  // offer again from what is logged
        edge_->reoffer_input(1, logged);
        break;
      case 'a':  // offer all again: reading comes to the released position by itself
        edge_->reoffer_input(1, 0);
        seen_[1].input.clear();
        break;
    }
  }
  run_until([&] {
    edge_->drop_released();
    return seen_[1].input.size() == sent.size();
  });
}

INSTANTIATE_TEST_SUITE_P(All, EdgeReleaseOrder, ::testing::Values("ro", "or", "ra", "ar", "roro"));

TEST_F(EdgeTakeTest, ConnectionWithoutANameIsMatchedWithItsListener) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("early");
  std::vector<TakenSocket> sockets = sockets_on(port, 0);
  for (TakenSocket& socket : sockets) {
    if (socket.kind == SocketKind::kConnection) {
      socket.kind = SocketKind::kNone;
      socket.id = socket.listener = 0;
    }
  }
  const Edge::Adopted adopted = take_over(std::move(sockets));
  ASSERT_EQ(adopted.connections.size(), 1u);
  EXPECT_EQ(adopted.connections[0].id, 0u);
  EXPECT_EQ(adopted.connections[0].listener, kSocket);
  seen_.clear();
  edge_->adopt(adopted.connections[0].handle, 77);
  edge_->reoffer_input(77, 0);
  run_until([this] { return seen_[77].input == "early"; });
}

TEST_F(EdgeTakeTest, ResetWhileNobodyOwnedItIsReported) {
  const uint16_t port = listen();
  Client peer = client(port);
  std::vector<TakenSocket> sockets = sockets_on(port, 0);
  peer.reset();
  const Edge::Adopted adopted = take_over(std::move(sockets));
  ASSERT_EQ(adopted.connections.size(), 1u);
  edge_->adopt(adopted.connections[0].handle, 1);
  edge_->reoffer_input(1, 0);
  run_until([this] { return seen_[1].reset == ECONNRESET; });
}

TEST_F(EdgeTakeTest, DiscardedConnectionIsReset) {
  const uint16_t port = listen();
  Client peer = client(port);
  const Edge::Adopted adopted = take_over(sockets_on(port, 0));
  old_edge_.reset();  // else the duplicate keeps the connection open
  edge_->discard(adopted.connections[0].handle);
  hear_end(&peer);
  EXPECT_EQ(peer.error, ECONNRESET);
  EXPECT_FALSE(seen_[1].closed);
}

}  // namespace
}  // namespace ftrun::edge
