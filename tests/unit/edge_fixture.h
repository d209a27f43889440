// SPDX-License-Identifier: Apache-2.0
// An edge on an epoll instance of its own, with verbs: what a test's client does, what the core
// would ask for, and what the edge has reported so far. Test programs only.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "supervisor/edge/edge.h"
#include "supervisor/members/peers.h"

namespace ftrun::edge {

// A plain client on loopback. Everything is non-blocking; waits have a deadline.
class Client {
 public:
  Client() = default;
  explicit Client(uint16_t port) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  Client(Client&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
  ~Client() { end(); }
  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  void say(const std::string& text) {
    ASSERT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL), ssize_t(text.size()));
  }
  void shut() { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger now{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    end();
  }
  void end() {
    if (fd_ >= 0) {
      ::close(fd_);
      fd_ = -1;
    }
  }
  // What is there now; `error` and `eof` tell how it ended.
  std::string hear_now() {
    std::string text(256 * 1024, '\0');
    const ssize_t got = recv(fd_, text.data(), text.size(), MSG_DONTWAIT);
    if (got < 0 && errno != EAGAIN) {
      error = errno;
    }
    eof = eof || got == 0;
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return text;
  }
  int error = 0;
  bool eof = false;

 private:
  int fd_ = -1;
  bool connected_ = false;
};

// A client that does not wait for its connection.
class Waiting {
 public:
  explicit Waiting(uint16_t port)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  Waiting(Waiting&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Waiting() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  bool connected() const {
    sockaddr_in peer{};
    socklen_t length = sizeof(peer);
    return getpeername(fd_, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
  }

 private:
  int fd_ = -1;
};

inline int connected(const std::vector<Waiting>& clients) {
  return static_cast<int>(std::count_if(clients.begin(), clients.end(),
                                        [](const Waiting& one) { return one.connected(); }));
}

class EdgeFixture : public ::testing::Test, public EdgeSink {
 protected:
  static constexpr uint32_t kSocket = 1;
  static constexpr int kDeadlineMs = 10'000;

  struct Seen {
    std::string input;
    std::vector<std::pair<uint64_t, char>> urgent;
    uint64_t sent = 0;
    int fins = 0;
    int reset = 0;
    bool closed = false;
    uint32_t listener = 0;
  };

  void SetUp() override { make_edge(); }
  void TearDown() override {
    edge_.reset();
    ::close(epoll_);
  }
  void make_edge() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    auto edge = Edge::create(epoll_, uint64_t{1} << 56, this);
    ASSERT_TRUE(edge.ok()) << edge.error().message;
    edge_ = std::move(*edge);
  }
  // Answers as the edge does: 0 or errno.
  int listen_again(int backlog) {
    bound_error_ = -1;
    edge_->listen(kSocket, backlog);
    run_until([this] { return bound_error_ >= 0; });
    return bound_error_;
  }
  // Binds and listens on a free port.
  uint16_t listen(int backlog = 128) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Address bound;
    bound.length = sizeof(address);
    std::memcpy(bound.bytes, &address, sizeof(address));
    edge_->bind(kSocket, kBindReuseAddress, bound);
    run_until([this] { return bound_error_ >= 0; });
    EXPECT_EQ(bound_error_, 0);
    EXPECT_EQ(listen_again(backlog), 0);
    uint16_t port = 0;
    std::memcpy(&port, bound_address_.bytes + 2, sizeof(port));
    return ntohs(port);
  }
  Client client(uint16_t port) {
    Client client(port);
    EXPECT_TRUE(client.connected());
    const ConnectionId id = last_id_ + 1;
    run_until([&] { return seen_.count(id) != 0; });
    return client;
  }
  void iterate(int timeout_ms) {
    epoll_event events[64];
    const int count = epoll_wait(epoll_, events, 64, timeout_ms);
    for (int i = 0; i < count; ++i) {
      edge_->process(events[i]);
    }
    edge_->read_pending();
    edge_->report();
  }
  void run_until(const std::function<bool()>& condition) {
    const int64_t deadline = link::monotonic_ns() + int64_t{kDeadlineMs} * 1'000'000;
    while (!condition()) {
      ASSERT_LT(link::monotonic_ns(), deadline) << "deadline";
      iterate(edge_->has_pending() || edge_->has_reports() ? 0 : 1);
    }
  }
  void say(ConnectionId id, const std::string& text) {
    edge_->write(id, offered_[id], {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    offered_[id] += text.size();
  }
  void close(ConnectionId id, uint64_t consumed) {
    edge_->close(id, consumed, unit::Ending::kAsRead);
  }
  // Sends until the edge and both kernels take no more. Returns what went out.
  std::string fill(const Client& client, size_t bytes_max) {
    std::string sent;
    const std::string part(16 * 1024, 'p');
    for (int idle = 0; idle < 20 && sent.size() <= bytes_max;) {
      const ssize_t got = send(client.fd(), part.data(), part.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      sent.append(part, 0, got > 0 ? static_cast<size_t>(got) : 0);
      iterate(1);
      idle = got > 0 ? 0 : idle + 1;
    }
    return sent;
  }
  std::string hear(Client* client, size_t bytes) {
    std::string text;
    run_until([&] {
      text += client->hear_now();
      return text.size() >= bytes || client->eof || client->error != 0;
    });
    return text;
  }
  void hear_end(Client* client) {
    run_until([&] {
      client->hear_now();
      return client->eof || client->error != 0;
    });
  }

  ConnectionId edge_open(uint32_t listener, const Address&, const Address&) override {
    seen_[++last_id_].listener = listener;
    return last_id_;
  }
  void edge_data(ConnectionId id, uint64_t position, unit::Bytes data) override {
    Seen& seen = seen_[id];
    ASSERT_LE(position, seen.input.size());
    seen.input.resize(position);
    seen.input.append(data.begin(), data.end());
    if (pauses_) {
      edge_->pause(true);
    }
  }
  void edge_urgent(ConnectionId id, uint64_t position, uint8_t byte) override {
    seen_[id].urgent.emplace_back(position, static_cast<char>(byte));
    EXPECT_LE(seen_[id].input.size(), position) << "the mark comes after its byte";
  }
  void edge_fin(ConnectionId id) override { ++seen_[id].fins; }
  void edge_reset(ConnectionId id, int error) override { seen_[id].reset = error; }
  void edge_sent(ConnectionId id, uint64_t position) override { seen_[id].sent = position; }
  void edge_closed(ConnectionId id) override { seen_[id].closed = true; }
  void edge_bound(uint32_t, int error, const Address& address) override {
    bound_error_ = error;
    bound_address_ = address;
  }
  void edge_trouble(const std::string& text) override { trouble_ = text; }

  int epoll_ = -1;
  std::unique_ptr<Edge> edge_;
  std::map<ConnectionId, Seen> seen_;
  std::map<ConnectionId, uint64_t> offered_;
  ConnectionId last_id_ = 0;
  bool pauses_ = false;  // the edge, at whatever it reads
  int bound_error_ = -1;
  Address bound_address_;
  std::string trouble_;
};

}  // namespace ftrun::edge
