// SPDX-License-Identifier: Apache-2.0
// What the world does in the comparison of net_differential.h: peers that connect, send, drain,
// shut down, close and reset, and how long the kernel is given to settle.
// Runs in test processes only.
#include "tests/unit/net_differential.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>  // the kernel's tcp_info: glibc's lacks the byte counters
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

namespace ftrun::shim {
namespace {

// From the kernel's include/net/tcp_states.h (not exported by linux/tcp.h).
enum : int { kEstablished = 1, kFinWait2 = 5, kClosed = 7, kCloseWait = 8 };

constexpr auto kSettleDeadline = std::chrono::seconds(3);

int tcp_state(int fd) {
  tcp_info info = {};
  socklen_t length = sizeof(info);
  getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
  return info.tcpi_state;
}

size_t received_bytes(int fd) {
  tcp_info info = {};
  socklen_t length = sizeof(info);
  getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
  return info.tcpi_bytes_received;
}

}  // namespace

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kSettleDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    sched_yield();
  }
  return true;
}

size_t Differential::connect() {
  auto link = std::make_shared<Link>();
  link->peer = ::socket(AF_INET, SOCK_STREAM, 0);
  if (::connect(link->peer, reinterpret_cast<sockaddr*>(&address_), address_length_) != 0) {
    ADD_FAILURE() << "connect: " << strerror(errno);
  }
  link->id = fake::open(listener_id_);
  fake::apply_arrivals();
  long kernel_fd = -1;
  eventually([&] {
    kernel_fd = kernel_->accept(slots_[0].fd[0], SOCK_NONBLOCK);
    return kernel_fd != -EAGAIN;
  });
  fake::env().forced_descriptors = {static_cast<int>(kernel_fd)};
  const long virtual_fd = virtual_->accept(slots_[0].fd[1], SOCK_NONBLOCK);
  push(SlotKind::kConnection, kernel_fd, virtual_fd, link);
  log("connect -> " + std::to_string(slots_.size() - 1));
  return slots_.size() - 1;
}

void Differential::peer_send(Link* link, size_t length, int flags) {
  const std::string bytes = pattern(length);
  const Slot* server = nullptr;
  for (const Slot& slot : slots_) {
    server = slot.link.get() == link ? &slot : server;
  }
  if (::send(link->peer, bytes.data(), length, MSG_NOSIGNAL | flags) != static_cast<long>(length)) {
    ADD_FAILURE() << "peer's send: " << strerror(errno) << "\n" << history();
  }
  link->unread += length;
  link->sent += length;
  const bool settled = eventually([&] { return received_bytes(server->fd[0]) == link->sent; });
  EXPECT_TRUE(settled) << history();
  if ((flags & MSG_OOB) != 0) {
    fake::urgent(link->id, link->sent - 1, static_cast<uint8_t>(bytes.back()));
  }
  fake::data(link->id, bytes);
  fake::apply_arrivals();
}

void Differential::peer_drain(Link* link) {
  const std::string expected = fake::written(link->id).substr(link->checked);
  std::string got;
  char buffer[65536];
  while (got.size() < expected.size()) {
    const long n = ::recv(link->peer, buffer, sizeof(buffer), 0);
    if (n <= 0) {
      ADD_FAILURE() << "peer got " << got.size() << " of " << expected.size() << " bytes\n"
                    << history();
      return;
    }
    got.append(buffer, static_cast<size_t>(n));
  }
  EXPECT_EQ(got, expected) << history();
  link->checked += expected.size();
  link->unseen = 0;
  fake::credit(link->id, link->checked);
  fake::apply_arrivals();
}

// The state of the server's end after a FIN of the peer's.
void Differential::peer_shutdown(Link* link) {
  ::shutdown(link->peer, SHUT_WR);
  link->peer_ended = true;
  fake::fin(link->id);
  fake::apply_arrivals();
  for (const Slot& slot : slots_) {
    if (slot.link.get() == link) {
      settle_server(slot);
      break;
    }
  }
}

void Differential::peer_close(Link* link) {
  peer_drain(link);
  const bool told = link->peer_ended;
  ::close(link->peer);
  link->peer = -1;
  link->peer_ended = true;
  if (!told) {
    fake::fin(link->id);
    fake::apply_arrivals();
  }
  for (const Slot& slot : slots_) {
    if (slot.link.get() == link) {
      settle_server(slot);
      break;
    }
  }
}

void Differential::peer_reset(Link* link) {
  const linger hard = {1, 0};
  ::setsockopt(link->peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  ::close(link->peer);
  link->peer = -1;
  link->reset = true;
  fake::reset_connection(link->id, ECONNRESET);
  fake::apply_arrivals();
  for (const Slot& slot : slots_) {
    if (slot.link.get() == link) {
      settle_server(slot);
      break;
    }
  }
}

void Differential::settle_server(const Slot& slot) {
  const Link& link = *slot.link;
  int expected = kEstablished;
  if (link.reset) {
    expected = kClosed;
  } else if (link.peer_ended) {
    expected = (link.server_shut & 2) != 0 ? kClosed : kCloseWait;
  } else if ((link.server_shut & 2) != 0) {
    expected = kFinWait2;
  }
  const bool settled = eventually([&] { return tcp_state(slot.fd[0]) == expected; });
  EXPECT_TRUE(settled) << "state " << tcp_state(slot.fd[0]) << ", expected " << expected << "\n"
                       << history();
}

}  // namespace ftrun::shim
