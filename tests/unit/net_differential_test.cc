// SPDX-License-Identifier: Apache-2.0
// Random operations on kernel objects and on virtual ones: every result must agree. A failure names
// its seed and the last operations; FTRUN_NET_SEED repeats it, FTRUN_NET_SEEDS sets how many.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <random>

#include "tests/unit/net_differential.h"

namespace ftrun::shim {
namespace {

constexpr int kStepsPerSeed = 300;
constexpr size_t kSlotsMax = 24;
constexpr size_t kUnreadMax = 30000;  // far from any window, in both worlds

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

class Walk {
 public:
  explicit Walk(uint64_t seed) : random_(seed) {}

  void run() {
    for (int step = 0; step < kStepsPerSeed && !testing::Test::HasFailure(); ++step) {
      one_step();
      both_.same_signals();
      if (chance(4)) {
        both_.look(any_slot());
      }
    }
  }

 private:
  uint64_t below(uint64_t limit) { return random_() % limit; }
  bool chance(uint64_t one_in) { return below(one_in) == 0; }
  size_t any_slot() { return below(both_.slots().size()); }

  std::vector<size_t> slots_of(SlotKind kind) {
    std::vector<size_t> found;
    for (size_t i = 0; i < both_.slots().size(); ++i) {
      if (both_.slot(i).kind == kind) {
        found.push_back(i);
      }
    }
    return found;
  }

  void one_step() {
    switch (below(24)) {
      case 0:
      case 1:
        return create();
      case 2:
      case 3:
      case 4:
        return peer_acts();
      case 5:
      case 6:
      case 7:
        return read();
      case 8:
      case 9:
      case 10:
        return write();
      case 11:
        return shutdown();
      case 12:
        return close_or_dup();
      case 13:
      case 14:
      case 15:
        return epoll_control();
      case 16:
      case 17:
        return epoll_wait();
      case 18:
        return poll_or_select();
      case 19:
        return vectors();
      case 20:
        return options();
      case 21:
        return both_.control(any_slot(), chance(2) ? F_GETPIPE_SZ : F_SETPIPE_SZ,
                             4096UL << below(7));
      case 22:
        return own();
      default:
        return set_timer();
    }
  }

  static constexpr int kPairKinds[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
  // Most of these no kernel knows.
  int any_type() { return static_cast<int>(below(16) | (chance(2) ? 0 : 16u << below(16))); }

  void create() {
    if (both_.slots().size() >= kSlotsMax) {
      return;
    }
    switch (below(9)) {
      case 0:
      case 1:
      case 2:
        both_.connect();
        return;
      case 3:
        return both_.add(SlotKind::kFresh, 0);
      case 4:
      case 5:
        return both_.add(SlotKind::kEpoll, 0);
      case 6:
        return both_.add(SlotKind::kPipeRead, chance(4) ? O_DIRECT : 0);
      case 7:
        return both_.add(SlotKind::kPair, chance(8) ? any_type() : kPairKinds[below(3)]);
      default:
        return chance(2) ? both_.add(SlotKind::kEvent, static_cast<int>(below(4)))
                         : both_.add(SlotKind::kTimer, 0);
    }
  }

  void peer_acts() {
    const auto connections = slots_of(SlotKind::kConnection);
    if (connections.empty()) {
      return;
    }
    const size_t index = connections[below(connections.size())];
    Link* link = both_.slot(index).link.get();
    if (link->peer < 0 || link->reset) {
      return;
    }
    const uint64_t what = below(12);
    both_.log("peer of " + std::to_string(index) + " does " + std::to_string(what));
    if (what < 6) {
      // Input after a shutdown of both directions resets the kernel's connection; the edge, whose
      // socket is shut for output only, lets it in.
      if (!link->peer_ended && link->server_shut != 3 && link->unread < kUnreadMax) {
        both_.peer_send(link, 1 + below(chance(3) ? 9000 : 100), chance(3) ? MSG_OOB : 0);
      }
    } else if (what < 9) {
      both_.peer_drain(link);
    } else if (what == 9 && !link->peer_ended) {
      both_.peer_shutdown(link);
    } else if (what == 10) {
      both_.peer_close(link);
    } else if (what == 11 && chance(2)) {
      both_.peer_reset(link);
    }
  }

  size_t some_length() {
    switch (below(6)) {
      case 0:
        return 0;
      case 1:
        return 8;
      case 2:
        return 1 + below(10000);
      default:
        return 1 + below(200);
    }
  }

  void read() {
    const size_t index = any_slot();
    const SlotKind kind = both_.slot(index).kind;
    constexpr int kTcpFlags[] = {-1,
                                 0,
                                 MSG_PEEK,
                                 MSG_TRUNC,
                                 MSG_WAITALL,
                                 MSG_DONTWAIT,
                                 MSG_PEEK | MSG_WAITALL,
                                 MSG_OOB,
                                 MSG_PEEK | MSG_TRUNC,
                                 MSG_OOB | MSG_PEEK,
                                 MSG_OOB | MSG_TRUNC};
    int flags = chance(4) ? 0 : -1;
    if (kind == SlotKind::kConnection || kind == SlotKind::kFresh || kind == SlotKind::kListener) {
      flags = kTcpFlags[below(std::size(kTcpFlags))];
    } else if (kind == SlotKind::kPair && chance(2)) {
      constexpr int kPairFlags[] = {0, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_PEEK | MSG_TRUNC};
      flags = kPairFlags[below(5)];
    }
    both_.read(index, some_length(), flags);
  }

  void write() {
    const size_t index = any_slot();
    const Slot& slot = both_.slot(index);
    size_t length = some_length();
    if (slot.kind == SlotKind::kPipeWrite && chance(3)) {
      length = below(80000);
    }
    if (slot.kind == SlotKind::kEvent && length == 8) {
      return both_.write(index, 8, -1);
    }
    if (slot.link != nullptr && slot.link->unseen + length > kUnreadMax) {
      return;
    }
    if (slot.kind == SlotKind::kPair && chance(3)) {
      length = below(16000);  // the memory that larger messages cost depends on the allocator
    }
    both_.write(index, length, chance(3) ? (chance(2) ? MSG_NOSIGNAL : 0) : -1);
  }

  std::vector<size_t> some_lengths() {
    std::vector<size_t> lengths(2 + below(5));
    for (size_t& length : lengths) {
      length = chance(3) ? 0 : 1 + below(3000);
    }
    return lengths;
  }

  void vectors() {
    const size_t index = any_slot();
    const Slot& slot = both_.slot(index);
    // eventfd and timerfd take one buffer at a time, which the dispatcher of vectors cannot see.
    if (slot.kind == SlotKind::kEvent || slot.kind == SlotKind::kTimer) {
      return;
    }
    if (chance(2)) {
      both_.read_scattered(index, some_lengths());
    } else if (slot.link == nullptr || slot.link->unseen < kUnreadMax) {
      both_.write_gathered(index, some_lengths());
    }
  }

  void options() {
    constexpr int kNames[][2] = {{SOL_SOCKET, SO_ERROR},
                                 {SOL_SOCKET, SO_TYPE},
                                 {SOL_SOCKET, SO_DOMAIN},
                                 {SOL_SOCKET, SO_PROTOCOL},
                                 {SOL_SOCKET, SO_ACCEPTCONN},
                                 {SOL_SOCKET, SO_KEEPALIVE},
                                 {SOL_SOCKET, SO_REUSEADDR},
                                 {SOL_SOCKET, SO_REUSEPORT},
                                 {SOL_SOCKET, SO_BROADCAST},
                                 {SOL_SOCKET, SO_PRIORITY},
                                 {SOL_SOCKET, SO_SNDLOWAT},
                                 {SOL_SOCKET, SO_OOBINLINE},
                                 {SOL_SOCKET, SO_RCVLOWAT},
                                 {IPPROTO_TCP, TCP_NODELAY},
                                 {IPPROTO_TCP, TCP_KEEPIDLE},
                                 {IPPROTO_TCP, TCP_KEEPINTVL},
                                 {IPPROTO_TCP, TCP_KEEPCNT},
                                 {IPPROTO_TCP, TCP_USER_TIMEOUT},
                                 {IPPROTO_TCP, TCP_CORK},
                                 {IPPROTO_TCP, TCP_DEFER_ACCEPT},
                                 {IPPROTO_TCP, TCP_SYNCNT},
                                 {IPPROTO_TCP, TCP_LINGER2},
                                 {IPPROTO_IP, IP_TTL},
                                 {IPPROTO_IP, IP_TOS},
                                 {IPPROTO_IP, IP_MTU_DISCOVER},
                                 {IPPROTO_IPV6, IPV6_TCLASS},
                                 {IPPROTO_UDP, 1}};
    const auto& [level, name] = kNames[below(std::size(kNames))];
    const size_t index = any_slot();
    const SlotKind kind = both_.slot(index).kind;
    if (kind == SlotKind::kPair && chance(3)) {
      return set_buffers(index);
    }
    if (kind == SlotKind::kListener && name == TCP_DEFER_ACCEPT) {
      return;  // the edge's kernel defers; here connections are to come at once
    }
    if (name == SO_PRIORITY && kind != SlotKind::kPair) {
      return;  // follows IP_TOS natively
    }
    if (chance(2) || name == SO_ERROR) {
      return both_.ask_option(index, level, name);
    }
    // The largest mark is half of the window, whose size differs.
    const int lowest = name == SO_RCVLOWAT && kind != SlotKind::kPair ? 0 : -2;
    both_.set_option(index, level, name, static_cast<int>(below(40)) + lowest);
  }

  // Those of connections change by themselves.
  void set_buffers(size_t pair) {
    constexpr int kNames[] = {SO_SNDBUF, SO_RCVBUF, SO_SNDBUFFORCE, SO_RCVBUFFORCE};
    const int name = kNames[below(4)];
    if (chance(2)) {
      both_.set_option(
          pair, SOL_SOCKET, name,
          chance(8) ? static_cast<int>(below(3)) - 2 : 1000 << below(chance(8) ? 21 : 9));
    }
    both_.ask_option(pair, SOL_SOCKET, name);
  }

  void shutdown() {
    const size_t index = any_slot();
    const Slot& slot = both_.slot(index);
    if (slot.kind == SlotKind::kListener || !chance(2)) {
      return;
    }
    // Undelivered input and a shutdown of both directions do not go together: see peer_acts().
    both_.shutdown(index, static_cast<int>(below(3)));
  }

  void close_or_dup() {
    const size_t index = any_slot();
    if (chance(2) && both_.slots().size() < kSlotsMax) {
      return both_.dup(index);
    }
    if (index == 0) {
      return;
    }
    if (chance(4)) {
      const size_t target = any_slot();
      return target == 0 || target == index ? void() : both_.dup_over(index, target);
    }
    both_.close(index);
  }

  void epoll_control() {
    const auto epolls = slots_of(SlotKind::kEpoll);
    if (epolls.empty()) {
      return;
    }
    const size_t epoll = epolls[below(epolls.size())];
    constexpr int kOperations[] = {EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL};
    constexpr uint32_t kBits[] = {EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET, EPOLLONESHOT, EPOLLPRI};
    uint32_t events = 0;
    for (const uint32_t bit : kBits) {
      events |= chance(2) ? bit : 0;
    }
    events &= chance(2) ? ~static_cast<uint32_t>(EPOLLONESHOT) : ~0u;
    events |= chance(10) ? static_cast<uint32_t>(EPOLLEXCLUSIVE) : 0u;
    both_.epoll_ctl(epoll, kOperations[below(4)], any_slot(), events);
  }

  void epoll_wait() {
    const auto epolls = slots_of(SlotKind::kEpoll);
    if (!epolls.empty()) {
      both_.epoll_wait(epolls[below(epolls.size())],
                       chance(3) ? 1 + static_cast<int>(below(3)) : 64);
    }
  }

  void poll_or_select() {
    std::vector<size_t> indexes;
    std::vector<short> events;
    std::vector<int> sets;
    for (size_t i = 0; i < both_.slots().size(); ++i) {
      if (chance(2)) {
        indexes.push_back(i);
        events.push_back(static_cast<short>(
            below(0x2400) & (POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRNORM)));
        sets.push_back(static_cast<int>(below(8)));
      }
    }
    if (chance(2)) {
      both_.poll(indexes, events);
    } else {
      both_.select(indexes, sets);
    }
  }

  void own() { both_.own(any_slot(), chance(2) ? real_time_signal() : 0, !chance(4)); }

  void set_timer() {
    const auto timers = slots_of(SlotKind::kTimer);
    if (!timers.empty()) {
      constexpr int64_t kFirst[] = {0, 1, 1000000000000};
      both_.timer_set(timers[below(timers.size())], kFirst[below(3)],
                      chance(2) ? 1000000000000 : 0);
    }
  }

  std::mt19937_64 random_;
  Differential both_;
};

TEST(NetDifferentialTest, RandomOperationsAgreeWithTheKernel) {
  const uint64_t one = from_environment("FTRUN_NET_SEED", 0);
  const uint64_t seeds = one != 0 ? 1 : from_environment("FTRUN_NET_SEEDS", 150);
  for (uint64_t i = 0; i < seeds; ++i) {
    const uint64_t seed = one != 0 ? one : i + 1;
    SCOPED_TRACE("FTRUN_NET_SEED=" + std::to_string(seed));
    Walk(seed).run();
    if (HasFailure()) {
      return;
    }
  }
}

}  // namespace
}  // namespace ftrun::shim
