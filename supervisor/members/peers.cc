// SPDX-License-Identifier: Apache-2.0
// Meeting and watching the other supervisors: see peers.h. Runs in the supervisor.
#include "supervisor/members/peers.h"

#include <poll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "supervisor/arbiter/views.h"
#include "supervisor/edge/keeper.h"

namespace ftrun::link {

namespace {

constexpr int64_t kNoticeableMs = kHeartbeatIntervalMs;  // a silence that is watched

int remaining_ms(int64_t deadline_ns) {
  return static_cast<int>(std::max<int64_t>(0, (deadline_ns - monotonic_ns()) / 1'000'000));
}

Result<void> check_hello(const Hello& self, unit::ReplicaId expected, const Hello& hello) {
  if (hello.unit != self.unit) {
    return Error{"link: the peer belongs to unit \"" + hello.unit + "\""};
  }
  if (hello.replica != expected) {
    return Error{"link: the peer is not replica " + arbiter::replica_name(expected)};
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

namespace {

Result<void> hold(const ProcessName& name, Descriptor* into) {
  Result<int> pidfd = edge::open_process(name.pid, name.start_time);
  // A program that ends at once may be gone, with its init, before its supervisor's hello is read.
  if (!pidfd.ok() && pidfd.error().number == ESRCH) {
    pidfd = edge::open_ended_process();
  }
  if (!pidfd.ok()) {
    return pidfd.error();
  }
  into->reset(*pidfd);
  return {};
}

}  // namespace

Result<void> Peers::renew(Peer* peer, const Hello& hello) {
  if (hello.supervisor != peer->hello.supervisor || hello.init != peer->hello.init) {
    return Error{"link: a new hello names another supervisor or init"};
  }
  // ORDER: the pidfds of supervisor and init stay what they are: the loop watches them, and a
  // descriptor that was closed is watched no more.
  FTRUN_TRY(hold(hello.keeper, &peer->keeper));
  peer->hello = hello;
  return {};
}

// Says who we are; the answer is awaited once all have been greeted.
Result<void> Peers::greet(Inherited::Link inherited, const Hello& self) {
  Result<Link> link = Link::adopt(inherited.socket.release());
  if (!link.ok()) {
    return link.error();
  }
  const std::string payload = encode_hello(self);
  unit::Frame frame;
  frame.kind = unit::FrameKind::kHello;
  frame.bytes = {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()};
  FTRUN_TRY(link->send(frame));
  FTRUN_TRY(link->flush());
  Peer peer;
  peer.replica = inherited.to;
  peer.link = std::move(*link);
  peers_.push_back(std::move(peer));
  return {};
}

Result<void> Peers::hear_hello(Peer* peer, const Hello& self, int64_t deadline_ns) {
  std::optional<Result<Hello>> answer;
  const Link::Sink sink = [&answer](const unit::Frame& first) {
    if (answer) {
      return false;  // what comes behind it stays
    }
    answer =
        first.kind == unit::FrameKind::kHello ? decode_hello(first.bytes) : Error{"link: no hello"};
    return true;
  };
  while (!answer) {
    pollfd readable{peer->link.fd(), POLLIN, 0};
    const int ready = poll(&readable, 1, remaining_ms(deadline_ns));
    if (ready < 0 && errno == EINTR) {
      continue;
    }
    if (ready <= 0) {
      return Error{
          "link: replica " + arbiter::replica_name(peer->replica) + " did not say hello in time",
          ETIMEDOUT};
    }
    FTRUN_TRY(peer->link.receive(sink));
  }
  if (!answer->ok()) {
    return answer->error();
  }
  const Hello& hello = **answer;
  FTRUN_TRY(check_hello(self, peer->replica, hello));
  FTRUN_TRY(hold(hello.supervisor, &peer->supervisor));
  FTRUN_TRY(hold(hello.keeper, &peer->keeper));
  FTRUN_TRY(hold(hello.init, &peer->init));
  peer->hello = hello;
  peer->silence.heard(monotonic_ns());
  return {};
}

Result<void> Peers::meet(std::vector<Inherited::Link> links, const Hello& self) {
  const int64_t deadline_ns = monotonic_ns() + int64_t{kMeetDeadlineMs} * 1'000'000;
  for (Inherited::Link& link : links) {
    FTRUN_TRY(greet(std::move(link), self));
  }
  for (Peer& peer : peers_) {
    FTRUN_TRY(hear_hello(&peer, self, deadline_ns));
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
