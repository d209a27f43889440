// SPDX-License-Identifier: Apache-2.0
// A replica when something has died: a peer, the own application, the keeper; and its own end. See
// replica.h. Runs in the supervisor's event loop.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "supervisor/base/memory_reserve.h"
#include "supervisor/base/tags.h"
#include "supervisor/edge/keeper.h"
#include "supervisor/process/proc_info.h"
#include "supervisor/replica/replica.h"

namespace ftrun {

namespace {
constexpr int kKillDeadlineMs = 10'000;  // for a killed process to be gone,
constexpr int kHarmlessMs = 1'000;       // where nothing depends on it
constexpr int kLastFlushMs = 1'000;      // for the last frames at the end
constexpr int kLostMsMax = 1'000;        // for a lost unit's last output
constexpr int kPeerEndMs = 5'000;        // for the other applications to be gone at a clean end
}  // namespace

void Replica::peer_lost(link::Peer* peer, const std::string& why) {
  if (peer->suspected || done_) {
    return;
  }
  peer->suspected = true;
  core_->on_replica_suspected(peer->replica, why, unit::Suspicion::kFailed);
}

bool Replica::must_end(const process::Descriptor& process, unit::ReplicaId member, const char* what,
                       int patience_ms) {
  const Result<void> ended = edge::kill_and_wait(process.get(), patience_ms);
  if (!ended.ok()) {
    event("trouble", fmt::format("replica {}'s {}: {}", arbiter::replica_name(member), what,
                                 ended.error().message));
  }
  return ended.ok();
}

// A view without `member` is current. Every supervisor that is left sees to it that it is dead.
// ORDER: its supervisor is dead and our end of its link is closed before any position is read from
// the kernel (nothing that it relayed can be read twice); what it had fed to our own application or
// read there is read to the end before the core hears of it. Only the supervisor must be gone: a
// keeper or an init that the kernel takes long to end runs no more code; all that waits for it is
// the end of connections that we close meanwhile.
void Replica::end_member(unit::ReplicaId member) {
  link::Peer* peer = peers_.find(member);
  FTRUN_ASSERT(peer != nullptr);
  peer->suspected = true;
  use_memory_reserve();
  if (!must_end(peer->supervisor, member, "supervisor", kKillDeadlineMs)) {
    // It may still write to clients: nothing may be touched. The unit cannot go on here.
    exit_code_ = 1;
    done_ = true;
    return;
  }
  peer->link.close();
  primary_rings_.reset();
  must_end(peer->init, member, "init", kHarmlessMs);
  if (port_->trails()) {
    drain_application();
  }
  hold_words_of(member);
  core_->on_member_gone(member);
}

// ORDER: its sockets are in our table, and named there.
void Replica::end_keeper(unit::ReplicaId member) {
  must_end(peers_.find(member)->keeper, member, "keeper", kHarmlessMs);
}

void Replica::take_connections(const std::vector<unit::ReplicaId>& from) {
  // ORDER: its own first: of two descriptors of one socket the first is kept, and that is in the
  // table.
  std::vector<edge::TakenSocket> sockets = edge_->take_back();
  for (const unit::ReplicaId member : from) {
    const link::Peer* peer = peers_.find(member);
    if (peer == nullptr) {
      continue;  // this one
    }
    Result<std::vector<edge::TakenSocket>> taken =
        edge::take_sockets(peer->hello.keeper.pid, peer->keeper.get());
    if (!taken.ok()) {
      event("trouble", fmt::format("no sockets from replica {}'s keeper: {}",
                                   arbiter::replica_name(member), taken.error().message));
      continue;
    }
    for (const edge::TakenSocket& socket : *taken) {
      edge::add_taken(socket, &sockets);
    }
  }
  const edge::Edge::Adopted adopted = edge_->take(std::move(sockets));
  event("takeover", fmt::format("{} connections, {} listeners", adopted.connections.size(),
                                adopted.listeners.size()));
  core_->on_edge_adopted(adopted.connections, adopted.listeners);
}

void Replica::application_status() {
  while (!app_gone_ && application_.status.valid()) {
    const auto status = process::read_status(application_.status.get());
    if (!status.ok()) {
      application_lost(status.error().message, 128 + SIGKILL);
      return;
    }
    if (!status->has_value()) {
      return;
    }
    const process::StatusEvent& event_now = **status;
    if (event_now.kind == process::StatusKind::kExited) {
      app_gone_ = true;
      app_end_why_ = process::describe_wait_status(event_now.value);
      app_end_status_ = process::exit_status_of(event_now.value);
      app_killed_ = !WIFEXITED(event_now.value);
    } else if (event_now.kind == process::StatusKind::kStopped) {
      application_stopped(event_now.value);
    } else {
      app_watch_.continued();
      event("continued", "the application goes on");
    }
  }
}

// Alone, nothing will be decided: nobody can take over.
void Replica::application_stopped(int signal) {
  app_watch_.stopped(signal, now_ns_);
  if (core_->status().view.replicas.size() == 1) {
    event("stopped", "the application was stopped by a signal; nobody can take over");
  }
}

void Replica::check_application() {
  if (app_gone_ || evidence_.collects() || core_->status().view.replicas.size() == 1) {
    return;
  }
  const std::optional<Loss> loss =
      app_watch_.tick(now_ns_, peers_.late(now_ns_), application_.application_pid, *port_);
  if (loss.has_value()) {
    application_lost(loss->why, loss->status);
  }
}

void Replica::check_calls() {
  Computation::Look look;
  const Control* shared = port_->control();
  look.sample.may_run = !app_gone_ && !evidence_.collects() && !app_watch_.is_stopped() &&
                        shared->crash.load(std::memory_order_relaxed) == 0 &&
                        !port_->app_asleep() && (core_->live() || port_->app_has_work());
  look.sample.calls = shared->lsn.load(std::memory_order_relaxed);
  look.sample.cpu_ns =
      look.sample.may_run ? process::process_cpu_ns(application_.application_pid) : 0;
  look.application = application_.application_pid;
  look.gone = app_gone_;
  look.end_signal = core_->status().end_signal;
  const std::optional<Loss> loss = computation_.tick(now_ns_, look);
  if (!loss.has_value()) {
    return;
  }
  keep_report(core_->status().view.epoch, loss->why + "\n\n" + computation_.stacks(), "");
  given_up_ = true;
  application_lost(loss->why, loss->status);
}

// The application is no longer usable: ends what is left of it.
void Replica::application_lost(const std::string& why, int status) {
  if (app_gone_) {
    return;
  }
  process::end(&application_);
  app_gone_ = true;
  app_end_why_ = why;
  app_end_status_ = status;
  app_killed_ = true;
  exit_entry_seen_ = false;
}

// ORDER: whatever the application had published comes before its end. Where the core does not want
// to read on yet, nobody has seen the rest: an exit waits for it, a death does not.
void Replica::deliver_application_end() {
  if (!app_gone_ || app_end_delivered_ || done_) {
    return;
  }
  if (rings_have_output()) {
    drain_application();
    if (rings_have_output() && !app_killed_) {
      return;
    }
  }
  app_end_delivered_ = true;
  const Control* shared = port_->control();
  const ShimFailure failure = shared->failure.load(std::memory_order_acquire);
  if (failure != ShimFailure::kNone) {
    const char* text = shared->failure_text;
    app_end_why_ = std::string(text, strnlen(text, kFailureTextBytes));
    exit_entry_seen_ = false;
  } else if (shared->ready.load(std::memory_order_acquire) == 0) {
    const std::string words = process::early_words(application_);
    app_end_why_ += " before it had started" + (words.empty() ? "" : ": " + words);
  }
  if (exit_entry_seen_) {
    core_->on_app_exited(app_end_status_);
  } else {
    keep_last_words();
    if (given_up_ || crash() != 0) {
      leave_last_words();
    }
    report_crash();
    core_->on_app_failed(app_end_why_, app_end_status_, suspect());
    lost_ns_ = core_->status().view.replicas.size() == 1 ? now_ns_ : 0;
  }
}

// A lost unit gives its clients what the sockets take now; whoever does not read keeps nothing
// open.
void Replica::check_lost() {
  if (lost_ns_ != 0 && !done_ && now_ns_ - lost_ns_ >= int64_t{kLostMsMax} * 1'000'000) {
    finished(app_end_status_);
  }
}

// How our application has crashed while it was live, by its own account (shared_region.h); 0: it
// has ended otherwise.
uint64_t Replica::crash() const {
  return is_crash_signal(app_end_status_ - 128) && core_->live()
             ? port_->control()->crash.load(std::memory_order_acquire)
             : 0;
}

// The connection whose input has crashed it; 0: none is known, or nobody wants to know.
ConnectionId Replica::suspect() const {
  return options_.quarantine ? crash_suspect(crash()) : 0;
}

// Without a keeper the clients would not survive us: start another and tell the peers.
void Replica::keeper_died() {
  waitpid(keeper_pid_, nullptr, WNOHANG);
  replace_keeper();
}

// Tried again every second (look_after_run_dir()) while there is no room for a process.
void Replica::replace_keeper() {
  const Result<void> started = start_own_keeper();
  if (!started.ok()) {
    if (!keeper_wanted_) {
      event("trouble", "the keeper died and no other could be started: " + started.error().message +
                           "; until one can, the death of this supervisor would cost its clients "
                           "their connections");
    }
    keeper_wanted_ = true;
    return;
  }
  keeper_wanted_ = false;
  event("keeper", "the keeper died; another one was started");
  const Result<link::Hello> hello = own_hello();
  (void)publish_pids();  // else in a second
  if (!hello.ok()) {
    return;
  }
  const std::string payload = link::encode_hello(*hello);
  unit::Frame frame;
  frame.kind = unit::FrameKind::kHello;
  frame.bytes = {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()};
  for (const link::Peer& peer : peers_.all()) {
    send(peer.replica, frame);
  }
}

void Replica::mark_state_copies() {
  const unit::Status status = core_->status();
  const std::string trouble = state_copies_.mark(status.view.epoch, status.lsn);
  if (!trouble.empty()) {
    event("trouble", trouble);
  }
}

// Whether every other replica's application is gone: nobody may write to what is exchanged or
// removed. Waits a while; at a clean end all end together.
bool Replica::peers_have_ended() {
  for (const link::Peer& peer : peers_.all()) {
    if (!edge::wait_for_end(peer.init.get(), kPeerEndMs)) {
      event("trouble", fmt::format("replica {} has not ended; all copies of state directories stay",
                                   arbiter::replica_name(peer.replica)));
      return false;
    }
  }
  return true;
}

// After any other end than a clean one copies stay: the operator chooses (--recover).
void Replica::settle_state_copies() {
  if (state_copies_.none() || !ended_cleanly_ || !core_->status().sender || !peers_have_ended()) {
    return;
  }
  mark_state_copies();
  const Result<void> settled = state_copies_.adopt();
  if (!settled.ok()) {
    event("trouble", settled.error().message);
  }
}

// The replica's end: last frames out, application and keeper gone.
void Replica::wind_up() {
  settle_evidence();
  process::end(&application_);
  if (core_->status().state == unit::State::kExcluded) {
    // Whoever excluded us takes the clients from our keeper: it and every socket must stay. The
    // caller leaves by _exit(), which closes nothing that the keeper holds.
    return;
  }
  const int64_t deadline_ns = link::monotonic_ns() + int64_t{kLastFlushMs} * 1'000'000;
  for (link::Peer& peer : peers_.all()) {
    while (peer.link.open() && !peer.suspected && peer.link.flush().ok() &&
           peer.link.queued_bytes() > 0 && link::monotonic_ns() < deadline_ns) {
      pollfd writable{peer.link.fd(), POLLOUT, 0};
      poll(&writable, 1, 10);
    }
  }
  settle_state_copies();
  // Where the run directory is full, ftrun has shown it.
  (void)run_dir_.write(run_dir_.own("console"), console_.contents());
  control_.reset();
  // ORDER: the keeper last; when we exit, the descriptors are closed for good.
  if (keeper_.valid()) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, keeper_.get(), nullptr);
    [[maybe_unused]] const bool ended = edge::kill_and_wait(keeper_.get(), kKillDeadlineMs).ok();
  }
}

}  // namespace ftrun
