// SPDX-License-Identifier: Apache-2.0
// Meeting and watching the other supervisors: see peers.h. Runs in the supervisor.
#include "supervisor/link/peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "supervisor/arbiter/views.h"
#include "supervisor/edge/keeper.h"

namespace ftrun::link {

namespace {

constexpr int kRetryMs = 2;
constexpr int64_t kNoticeableMs = kHeartbeatIntervalMs;  // a silence that is watched

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

int remaining_ms(int64_t deadline_ns) {
  return static_cast<int>(std::max<int64_t>(0, (deadline_ns - monotonic_ns()) / 1'000'000));
}

std::string port_file(const RunDir& run_dir, unit::ReplicaId replica) {
  return run_dir.file("link." + arbiter::replica_name(replica));
}

Result<int> listen_on_loopback(const RunDir& run_dir, unit::ReplicaId self) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof(address);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd, 16) != 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    const Error error = system_error("link: listening on loopback", errno);
    close(fd);
    return error;
  }
  const Result<void> written =
      run_dir.write(port_file(run_dir, self), std::to_string(ntohs(address.sin_port)));
  if (!written.ok()) {
    close(fd);
    return written.error();
  }
  return fd;
}

Result<void> check_hello(const Hello& self, const Hello& other) {
  if (other.unit != self.unit) {
    return Error{"link: the peer belongs to unit \"" + other.unit + "\""};
  }
  if (!same_secret(self.secret, other.secret)) {
    return Error{"link: the peer does not know this unit's secret"};
  }
  if (other.replica == self.replica) {
    return Error{"link: the peer claims to be this replica"};
  }
  return {};
}

}  // namespace

int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

Peer* Peers::find(unit::ReplicaId replica) {
  for (Peer& peer : peers_) {
    if (peer.replica == replica) {
      return &peer;
    }
  }
  return nullptr;
}

Result<void> Peers::renew(Peer* peer, const Hello& hello) {
  const auto open = [](const ProcessName& name, Descriptor* into) -> Result<void> {
    Result<int> pidfd = edge::open_process(name.pid, name.start_time);
    // A program that ends at once may be gone, with its init, before its supervisor's hello is
    // read.
    if (!pidfd.ok() && pidfd.error().number == ESRCH) {
      pidfd = edge::open_ended_process();
    }
    if (!pidfd.ok()) {
      return pidfd.error();
    }
    into->reset(*pidfd);
    return {};
  };
  FTRUN_TRY(open(hello.supervisor, &peer->supervisor));
  FTRUN_TRY(open(hello.keeper, &peer->keeper));
  FTRUN_TRY(open(hello.init, &peer->init));
  peer->hello = hello;
  return {};
}

// Exchanges hellos on a connected socket and adds the peer.
Result<void> Peers::greet(int fd, const Hello& self, int64_t deadline_ns) {
  Result<Link> link = Link::adopt(fd);
  if (!link.ok()) {
    return link.error();
  }
  const std::string payload = encode_hello(self);
  unit::Frame frame;
  frame.kind = unit::FrameKind::kHello;
  frame.bytes = {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()};
  FTRUN_TRY(link->send(frame));
  FTRUN_TRY(link->flush());
  std::optional<Result<Hello>> answer;
  const Link::Sink sink = [&answer](const unit::Frame& first) {
    answer =
        first.kind == unit::FrameKind::kHello ? decode_hello(first.bytes) : Error{"link: no hello"};
    return false;
  };
  while (!answer) {
    pollfd readable{fd, POLLIN, 0};
    if (poll(&readable, 1, remaining_ms(deadline_ns)) <= 0) {
      return Error{"link: no hello in time", ETIMEDOUT};
    }
    FTRUN_TRY(link->receive(sink));
  }
  if (!answer->ok()) {
    return answer->error();
  }
  const Hello& hello = **answer;
  FTRUN_TRY(check_hello(self, hello));
  if (find(hello.replica) != nullptr) {
    return Error{"link: a second hello of replica " + arbiter::replica_name(hello.replica)};
  }
  Peer peer;
  peer.replica = hello.replica;
  FTRUN_TRY(renew(&peer, hello));
  peer.link = std::move(*link);
  peer.silence.heard(monotonic_ns());
  peers_.push_back(std::move(peer));
  return {};
}

Result<void> Peers::connect_to(const RunDir& run_dir, unit::ReplicaId replica, const Hello& self,
                               int64_t deadline_ns) {
  while (remaining_ms(deadline_ns) > 0) {
    const Result<std::string> text = run_dir.read(port_file(run_dir, replica));
    uint16_t port = 0;
    if (text.ok() &&
        std::from_chars(text->data(), text->data() + text->size(), port).ec == std::errc()) {
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_in address = loopback(port);
      if (fd >= 0 &&
          connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
        return greet(fd, self, deadline_ns);
      }
      close(fd);
    }
    poll(nullptr, 0, kRetryMs);
  }
  return Error{"link: replica " + arbiter::replica_name(replica) + " did not appear in time",
               ETIMEDOUT};
}

Result<void> Peers::accept_peer(int listener, const Hello& self, int64_t deadline_ns) {
  pollfd readable{listener, POLLIN, 0};
  if (poll(&readable, 1, remaining_ms(deadline_ns)) <= 0) {
    return Error{"link: not all replicas appeared in time", ETIMEDOUT};
  }
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) {
    return system_error("link: accept", errno);
  }
  return greet(fd, self, deadline_ns);
}

Result<void> Peers::connect_all(const RunDir& run_dir, const Hello& self, unsigned count) {
  const int64_t deadline_ns = monotonic_ns() + int64_t{kConnectDeadlineMs} * 1'000'000;
  if (count <= 1) {
    return {};
  }
  Result<int> listening = listen_on_loopback(run_dir, self.replica);
  if (!listening.ok()) {
    return listening.error();
  }
  const Descriptor listener(*listening);
  for (unit::ReplicaId replica = 0; replica < self.replica; ++replica) {
    FTRUN_TRY(connect_to(run_dir, replica, self, deadline_ns));
  }
  while (peers_.size() + 1 < count) {
    const Result<void> accepted = accept_peer(listener.get(), self, deadline_ns);
    // A stranger on the port is turned away; only time ends the wait for the others.
    if (!accepted.ok() && remaining_ms(deadline_ns) == 0) {
      return accepted;
    }
  }
  last_tick_ns_ = monotonic_ns();
  return {};
}

// A supervisor that says nothing is stopped, or loops, or has no CPU to speak with: its state and
// the CPU time that it used during the silence tell.
bool Peers::hung(Peer* peer, int64_t now_ns, int64_t time_out_ns) const {
  const int64_t silent_ns = peer->silence.lasts_ns(now_ns);
  const pid_t pid = peer->hello.supervisor.pid;
  if (silent_ns > kNoticeableMs * 1'000'000 && peer->cpu_read_ns < peer->silence.since_ns()) {
    peer->cpu_ns = process::process_cpu_ns(pid);
    peer->cpu_read_ns = now_ns;
  }
  pollfd readable{peer->link.fd(), POLLIN, 0};
  if (silent_ns <= time_out_ns || poll(&readable, 1, 0) != 0) {
    return false;  // what has come in this moment is read in the next turn of the loop
  }
  const uint64_t used_ns = process::process_cpu_ns(pid) - peer->cpu_ns;
  const int64_t watched_ns = now_ns - peer->cpu_read_ns;
  return hangs(silent_ns, time_out_ns, starved(process::look_at_process(pid), used_ns, watched_ns));
}

int64_t Peers::next_tick_ns(int64_t now_ns, int time_out_ms) const {
  int64_t next_ns = now_ns + int64_t{kHeartbeatIntervalMs} * 1'000'000;
  for (const Peer& peer : peers_) {
    const int64_t end_ns = peer.silence.since_ns() + int64_t{time_out_ms} * 1'000'000 + 1;
    if (!peer.suspected && end_ns > now_ns) {
      next_ns = std::min(next_ns, end_ns);
    }
  }
  return next_ns;
}

void Peers::beat(Peer* peer, uint64_t epoch) {
  unit::Frame heartbeat;
  heartbeat.epoch = epoch;
  if (peer->link.open() && !peer->suspected) {
    [[maybe_unused]] const bool sent = peer->link.send(heartbeat).ok();  // else flush() tells
  }
}

std::vector<unit::ReplicaId> Peers::tick(int64_t now_ns, int time_out_ms, uint64_t epoch) {
  const bool is_late = late(now_ns);
  last_tick_ns_ = now_ns;
  unit::Frame heartbeat;
  heartbeat.epoch = epoch;
  heartbeat.number = ++ticks_;
  std::vector<unit::ReplicaId> silent;
  for (Peer& peer : peers_) {
    if (!peer.link.open() || peer.suspected) {
      continue;
    }
    [[maybe_unused]] const bool sent = peer.link.send(heartbeat).ok();  // else flush() tells
    peer.silence.tick(now_ns, is_late);
    if (hung(&peer, now_ns, int64_t{time_out_ms} * 1'000'000)) {
      silent.push_back(peer.replica);
    }
  }
  return silent;
}

}  // namespace ftrun::link
