// SPDX-License-Identifier: Apache-2.0
// A replica's event loop: see replica.h. Runs in the supervisor, one thread.
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "supervisor/base/json_fields.h"
#include "supervisor/base/tags.h"
#include "supervisor/operator/control_request.h"
#include "supervisor/replica/replica.h"

namespace ftrun {

namespace {

constexpr int kEventsMax = 32;
constexpr unsigned kDropTicks = 4;  // heartbeat ticks between Edge::drop_released() calls
constexpr int kRingPollMs = 1;      // while something waits for room in a ring
constexpr char kFeedProblem[] =
    "the log or input for the application does not decode, or it has moved a ring's tail wrongly";

}  // namespace

int Replica::run() {
  now_ns_ = link::monotonic_ns();
  next_tick_ns_ = now_ns_ + int64_t{link::kHeartbeatIntervalMs} * 1'000'000;
  // Frames may have come right behind a hello. Silence counts from here: nobody was listened to
  // while this one started, however long that took.
  for (link::Peer& peer : peers_.all()) {
    link::Peers::heard(&peer, now_ns_);
    read_link(&peer);
  }
  while (!done_) {
    iterate();
  }
  wind_up();
  return exit_code_;
}

bool Replica::rings_have_output() const {
  return !rings_broken_ && port_->has_output();
}

// The ports of the applications whose rings this supervisor serves.
template <typename Visit>
void Replica::for_served_ports(Visit&& visit) const {
  if (!port_->trails()) {
    visit(*port_);
  }
  if (primary_rings_ != nullptr) {
    visit(primary_rings_->port());
  }
}

// A port that trails waits for nothing: its rings are looked at whenever the loop comes around.
bool Replica::has_work() const {
  const bool own = !port_->trails() && rings_have_output() && core_->may_read_app_log();
  const bool primary = primary_rings_ != nullptr && core_->may_read_primary_log() &&
                       primary_rings_->port().has_output();
  const bool stepped_down = port_->answers_step_down() && core_->may_read_app_log();
  return own || primary || stepped_down || points_are_due() || edge_->has_pending() ||
         edge_->has_reports() || !deferred_.empty() || done_;
}

// How long nothing can become due by time alone. A live application's clock must go on while it
// runs, and its turns must end.
int Replica::sleep_ms() const {
  bool poll = false;
  for_served_ports([&](const AppPort& port) {
    const bool live = &port != port_.get() || (core_->live() && !app_gone_);
    poll = poll || port.staged() || (live && !port.app_asleep());
  });
  if (poll) {
    return kRingPollMs;
  }
  return static_cast<int>(std::max<int64_t>(0, (next_tick_ns_ - now_ns_) / 1'000'000)) + 1;
}

// Looks around for a moment before sleeping. Returns the number of events, 0 if there is work in
// the rings or nothing came.
int Replica::spin(epoll_event* events) {
  if (!spinner_.start(link::monotonic_ns())) {
    return 0;
  }
  do {
    const int count = epoll_wait(epoll_.get(), events, kEventsMax, 0);
    if (count != 0 || has_work()) {
      return count;
    }
    sched_yield();
  } while (spinner_.go_on(link::monotonic_ns()));
  return 0;
}

void Replica::choose_core() {
  if (placement_.is_due(now_ns_)) {
    const edge::Edge::Traffic traffic = edge_->take_traffic();
    placement_.choose(traffic, !spinner_.core_is_wanted(now_ns_), now_ns_);
  }
}

// Sleeps until something happens or is due. Returns the number of events.
int Replica::await(epoll_event* events) {
  if (!port_->trails() && !has_work()) {
    const int count = spin(events);
    if (count != 0) {
      return count;
    }
  }
  int timeout_ms = 0;
  if (!has_work()) {
    // ORDER: announce the sleep, full fence, look at the rings once more (shared_region.h).
    for_served_ports([](AppPort& port) { port.announce_sleep(); });
    std::atomic_thread_fence(std::memory_order_seq_cst);
    timeout_ms = has_work() ? 0 : sleep_ms();
  }
  return epoll_wait(epoll_.get(), events, kEventsMax, timeout_ms);
}

void Replica::iterate() {
  epoll_event events[kEventsMax];
  const int count = await(events);
  now_ns_ = link::monotonic_ns();
  for_served_ports([this](AppPort& port) {
    port.announce_awake();
    port.set_clock(now_ns_);
  });
  for (int i = 0; i < count && !done_; ++i) {
    dispatch(events[i]);
  }
  choose_core();
  edge_->read_pending();
  drain_primary();
  pass_on();
  drain_application();
  check_step_down();
  edge_->report();
  run_deferred();
  read_waiting_links();
  look_after_primary();
  want_points();
  pass_on();
  for_served_ports([this](AppPort& port) { port.check_turn_length(now_ns_); });
  check_evidence();
  if (now_ns_ >= next_tick_ns_) {
    tick();
  }
  deliver_application_end();
  if (core_->state() == unit::State::kExcluded) {
    exit_code_ = 1;
    done_ = true;
  }
}

// What was collected goes on its way: arrivals to the primary, log and arrivals to the application.
void Replica::pass_on() {
  if (!done_) {
    core_->flush();
  }
  flush_links();
  const int64_t now_ns = link::monotonic_ns();
  AppPort* broken = nullptr;
  for_served_ports([&](AppPort& port) {
    port.set_clock(now_ns);
    broken = port.pump() ? broken : &port;
  });
  if (broken == port_.get()) {
    application_lost(kFeedProblem, 1);
  } else if (broken != nullptr) {
    primary_broken(kFeedProblem);
  }
}

// The primary's turns go to the core as they are published.
void Replica::drain_primary() {
  if (primary_rings_ == nullptr || done_ || !core_->may_read_primary_log()) {
    return;
  }
  const Result<bool> drained = primary_rings_->drain(core_.get());
  if (!drained.ok()) {
    return primary_broken(drained.error().message);
  }
  drain_primary_part();
}

// Something in the primary's rings is damaged: it cannot be followed any further.
void Replica::primary_broken(const std::string& why) {
  primary_rings_.reset();
  peer_lost(&peers_.all().front(), why);
}

// ORDER: what a peer says in a frame rests on what stood in the rings before it.
void Replica::drain_shared_rings() {
  if (port_->trails()) {
    drain_application();
  }
  drain_primary();
}

// The primary's own supervisor is told what its application does not tell it.
void Replica::look_after_primary() {
  if (primary_rings_ != nullptr && primary_rings_->wants_attention()) {
    peers_.beat(&peers_.all().front(), core_->status().view.epoch);
  }
}

void Replica::dispatch(const epoll_event& event) {
  const uint64_t tag = event.data.u64 & kTagMask;
  const auto replica = static_cast<unit::ReplicaId>(event.data.u64 & 0xff);
  if (tag == kTagEdge) {
    edge_->process(event);
  } else if (tag == kTagLink) {
    if (link::Peer* peer = peers_.find(replica); peer != nullptr && peer->link.open()) {
      if ((event.events & EPOLLIN) != 0) {
        link::Peers::heard(peer, now_ns_);
        if (peer->silent) {
          peer->silent = false;
          core_->on_replica_heard(replica);
        }
      }
      read_link(peer);
    }
  } else if (tag == kTagPeer) {
    if (link::Peer* peer = peers_.find(replica); peer != nullptr && !peer->suspected) {
      // What it had sent before it died is still worth reading, also where that has to wait.
      peer->ended = true;
      read_link(peer);
      drain_primary();
      look_after_ended(peer);
    }
  } else if (tag == kTagStatus) {
    application_status();
  } else if (tag == kTagControl) {
    control_->process(event);
  } else if (tag == kTagKeeper) {
    keeper_died();
  } else if (tag == kTagSignals) {
    take_signals();
  }
  // kTagEvidence: check_evidence() looks anyway. kTagDoorbell: waking up was all. Its counter is
  // never read: every write raises a new edge.
}

void Replica::read_link(link::Peer* peer) {
  peer->waits = false;
  const Result<void> received = peer->link.receive([this, peer](const unit::Frame& frame) {
    if (frame.kind == unit::FrameKind::kHello) {
      const Result<link::Hello> hello = link::decode_hello(frame.bytes);
      if (hello.ok() && hello->replica == peer->replica) {
        const Result<void> renewed = link::Peers::renew(peer, *hello);
        if (!renewed.ok()) {
          event("trouble", renewed.error().message);
        }
      }
    } else if (frame.kind != unit::FrameKind::kHeartbeat) {
      drain_shared_rings();
      note_peer_failure(peer->replica, frame);
      peer->waits = !core_->on_frame(peer->replica, frame);
    }
    return !done_ && !peer->waits;
  });
  if (!received.ok() && !peer->suspected) {
    peer_lost(peer, received.error().message);
  }
}

// Frames that had to wait for something else.
void Replica::read_waiting_links() {
  for (link::Peer& peer : peers_.all()) {
    if (peer.waits && peer.link.open() && !done_) {
      read_link(&peer);
      look_after_ended(&peer);
    }
  }
}

// ORDER: "the unit has ended" may be its last word, behind frames that wait.
void Replica::look_after_ended(link::Peer* peer) {
  if (peer->ended && !peer->waits) {
    peer_lost(peer, "its supervisor died");
  }
}

void Replica::drain_application() {
  if (done_ || rings_broken_ || !core_->may_read_app_log()) {
    return;
  }
  const Result<bool> drained = port_->drain(this);
  if (!drained.ok()) {
    rings_broken_ = true;
    application_lost(drained.error().message, 1);
  } else if (port_->trails() || port_->keeps_input()) {
    port_->forget_input(core_->logged_input_bytes());
  }
  drain_own_part();
}

void Replica::run_deferred() {
  while (!deferred_.empty() && !done_) {
    std::vector<std::function<void()>> work;
    work.swap(deferred_);
    for (const std::function<void()>& step : work) {
      step();
    }
  }
}

// Clients wait while a peer is behind with what was read from them, or the primary is.
bool Replica::must_not_read() {
  const std::vector<link::Peer>& peers = peers_.all();
  return !core_->may_read_input() ||
         std::any_of(peers.begin(), peers.end(), [](const link::Peer& peer) {
           return peer.link.open() && peer.link.queued_bytes() > link::kLinkHighWaterBytes;
         });
}

void Replica::flush_links() {
  for (link::Peer& peer : peers_.all()) {
    if (!peer.link.open()) {
      continue;
    }
    const Result<void> flushed = peer.link.flush();
    if (!flushed.ok() && !peer.suspected) {
      peer_lost(&peer, flushed.error().message);
    }
  }
  edge_->pause(must_not_read());
}

void Replica::tick() {
  check_lost();
  check_application();
  deliver_application_end();
  check_calls();
  const uint64_t epoch = core_->status().view.epoch;
  for (const unit::ReplicaId silent : peers_.tick(now_ns_, options_.time_out_ms, epoch)) {
    peers_.find(silent)->silent = true;
    core_->on_replica_suspected(silent, fmt::format("silent for {} ms", options_.time_out_ms),
                                unit::Suspicion::kSilent);
  }
  core_->on_tick();
  next_tick_ns_ = peers_.next_tick_ns(now_ns_, options_.time_out_ms);
  if (quarantine_over_ns_ != 0 && now_ns_ >= quarantine_over_ns_) {
    quarantine_over_ns_ = 0;
    core_->on_quarantine_over();
  }
  edge_->part(now_ns_);
  edge_->retry_locks();
  look_after_files();
  if (held_words_.is_due(now_ns_)) {
    say_held_words();
  }
  if (control_ != nullptr) {
    control_->resume();
  }
  flush_links();
  if (++ticks_ % kDropTicks == 0) {
    edge_->drop_released();
  }
}

std::string Replica::handle_command(const std::string& line) {
  const Result<ControlRequest> request = decode_request(line);
  if (!request.ok()) {
    return encode_refusal(request.error().message);
  }
  switch (request->command) {
    case ControlCommand::kStatus:
      drain_shared_rings();
      return status_json();
    case ControlCommand::kSignal: {
      const uint32_t sequence = request->sequence != 0 ? request->sequence : memory_.next_signal();
      core_->on_signal(sequence, request->number);
      return fmt::format(R"({{"ok":true,"seq":{}}})", sequence);
    }
    case ControlCommand::kSwitchover:
      return hand_over(*request);
    case ControlCommand::kStop:
      event("stopped", "by the operator");
      done_ = true;
      break;
  }
  return R"({"ok":true})";
}

std::string Replica::hand_over(const ControlRequest& request) {
  const std::optional<unit::ReplicaId> to = arbiter::replica_from_name(request.to);
  if (!to) {
    return encode_refusal(request.to + " is no replica's name");
  }
  const bool of_primary = request.role == "primary";
  const unit::Status status = core_->status();
  if (of_primary ? !status.primary : !status.sender) {
    return encode_refusal(fmt::format("this replica is not the {}", request.role));
  }
  const std::string refused =
      of_primary ? core_->on_hand_over_primary(*to) : core_->on_hand_over(*to);
  if (!refused.empty()) {
    return encode_refusal(fmt::format("replica {}: {}", request.to, refused));
  }
  event("switchover", fmt::format("the {}'s part goes to replica {}", request.role, request.to));
  return R"({"ok":true})";
}

std::string Replica::status_json() const {
  const unit::Status status = core_->status();
  const bool failed =
      status.state == unit::State::kAppFailed || status.state == unit::State::kExcluded;
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  const nlohmann::json answer = {
      {"unit", options_.unit},
      {"id", arbiter::replica_name(options_.replica)},
      {"role", status.primary ? "primary" : "secondary"},
      {"sender", status.sender},
      {"state", failed        ? "failed"
                : status.live ? "live"
                              : "replaying"},
      {"app_pid", application_.application_pid},
      {"init_pid", application_.init_pid},
      {"supervisor_pid", getpid()},
      {"keeper_pid", keeper_pid_},
      {"host", host},
      {"lsn", status.lsn},
      {"lag_records", status.lag_records},
      {"received", status.received},
      {"replayed", status.replayed},
      {"kept_bytes", status.kept_bytes},
      {"unlogged_input_bytes", status.unlogged_input_bytes},
      {"pending_output_bytes", status.pending_output_bytes},
      {"turn_bytes_sent", status.turn_bytes_sent},
      {"input_bytes_sent", status.input_bytes_sent},
      {"slowest", status.slowest == unit::kNoReplica ? "" : arbiter::replica_name(status.slowest)},
      {"slowest_lag_bytes", status.slowest_lag_bytes},
      {"waits", status.primary && !core_->may_read_app_log()},
      {"stays_primary", stays_why_},
      {"log_bytes", port_->control()->log_position.load(std::memory_order_relaxed)},
      {"input_bytes", port_->control()->input_bytes.load(std::memory_order_relaxed)},
      {"kernel_calls", port_->control()->kernel_calls.load(std::memory_order_relaxed)},
      {"wake_calls", port_->control()->wake_calls.load(std::memory_order_relaxed)},
      {"spin_calls", port_->control()->spin_calls.load(std::memory_order_relaxed)},
      {"no_calls_ms", computation_.lasts_ns() / 1'000'000},
      {"no_calls_in", computation_.place()},
      {"connections", status.connections},
      {"epoch", status.view.epoch},
      {"primary",
       status.primary_id == unit::kNoReplica ? "" : arbiter::replica_name(status.primary_id)},
      {"settled", status.state == unit::State::kRunning},
      {"topology", options_.topology == unit::Topology::kFanout ? "fanout" : "chain"},
      {"tolerance", options_.tolerance},
      {"view", arbiter::encode_view(status.view)},
      {"protection", status.view.replicas.size() >= 2 && !failed ? "protected" : "unprotected"}};
  return dump_json(answer);
}

}  // namespace ftrun
