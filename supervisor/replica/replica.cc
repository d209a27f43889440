// SPDX-License-Identifier: Apache-2.0
// A replica's start: see replica.h. Runs in the supervisor, before its event loop.
#include "supervisor/replica/replica.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "supervisor/base/tags.h"
#include "supervisor/edge/keeper.h"

namespace ftrun {

namespace {

// Shorter than the applications': who serves clients has the sockets to wait for besides.
constexpr int64_t kSpinNs = 50'000;

}  // namespace

Replica::Replica(ReplicaOptions options)
    : options_(std::move(options)),
      run_dir_(options_.run_dir, arbiter::replica_name(options_.replica)),
      memory_(options_.inherited.memory),
      views_(options_.run_dir),
      console_(options_.inherited.console),
      app_watch_(options_.time_out_ms),
      computation_({options_.spin_limit_ms, options_.stop_grace_ms},
                   [this](std::string_view kind, const std::string& text) { event(kind, text); }),
      state_copies_(options_.state_dirs, options_.unit, arbiter::replica_name(options_.replica)),
      spinner_(kSpinNs),
      placement_(options_.replicas) {}

Replica::~Replica() {
  process::end(&application_);
  if (keeper_.valid()) {
    [[maybe_unused]] const bool ended = edge::kill_and_wait(keeper_.get(), 1000).ok();
  }
}

Result<void> Replica::watch(int fd, uint64_t tag, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return system_error("epoll_ctl", errno);
  }
  return {};
}

Result<void> Replica::start_own_keeper() {
  Result<pid_t> keeper = edge::start_keeper(keeper_watch_);
  if (!keeper.ok()) {
    return keeper.error();
  }
  keeper_pid_ = *keeper;
  keeper_.reset(static_cast<int>(syscall(SYS_pidfd_open, keeper_pid_, 0)));
  if (!keeper_.valid()) {
    const Error error = system_error("pidfd_open of the keeper", errno);
    kill(keeper_pid_, SIGKILL);  // our child and not waited for: the pid is its
    waitpid(keeper_pid_, nullptr, 0);
    return error;
  }
  return watch(keeper_.get(), kTagKeeper, EPOLLIN | EPOLLET);
}

Result<void> Replica::start_application(process::Inheritance inheritance) {
  const bool primary = options_.replica == 0;
  Result<Region> region =
      Region::create(primary ? Role::kPrimary : Role::kSecondary, memory_.random());
  if (!region.ok()) {
    return region.error();
  }
  region_ = std::move(*region);
  region_.control()->logs_early = logs_early() ? 1 : 0;
  const bool trails = options_.shared_rings && options_.replicas > 1 && primary;
  // Over links, what an application was fed and has not logged has to be known when a sender dies.
  const bool keeps = !options_.shared_rings && options_.replicas > 1;
  port_ = std::make_unique<AppPort>(&region_, trails  ? AppPort::Part::kTrails
                                              : keeps ? AppPort::Part::kServesAndKeeps
                                                      : AppPort::Part::kServes);
  doorbell_.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!doorbell_.valid()) {
    return system_error("eventfd", errno);
  }
  if (!trails) {
    FTRUN_TRY(watch(doorbell_.get(), kTagDoorbell, EPOLLIN | EPOLLET));
  }
  process::LaunchPlan plan;
  plan.path = options_.program;
  plan.arguments = options_.inherited.program;
  plan.preload_path = options_.preload;
  plan.inheritance = std::move(inheritance);
  plan.filter = options_.filter;
  plan.region_fd = region_.fd();
  plan.doorbell_fd = doorbell_.get();
  plan.control = region_.control();
  FTRUN_TRY(state_copies_.make(&plan, region_.control()));
  Result<process::Application> application = process::launch(plan);
  if (!application.ok()) {
    return application.error();
  }
  application_ = std::move(*application);
  if (application_.proc_error != 0) {
    event("trouble",
          system_error("the program sees the host's /proc, in which its process id is another's: a "
                       "/proc of its own cannot be mounted here",
                       application_.proc_error)
              .message);
  }
  return watch(application_.status.get(), kTagStatus, EPOLLIN | EPOLLRDHUP);
}

Result<link::Hello> Replica::own_hello() const {
  link::Hello hello;
  hello.replica = options_.replica;
  hello.unit = options_.unit;
  const auto name = [](pid_t pid, link::ProcessName* into) -> Result<void> {
    const Result<uint64_t> started = edge::process_start_time(pid);
    if (!started.ok()) {
      return started.error();
    }
    *into = {pid, *started};
    return {};
  };
  FTRUN_TRY(name(getpid(), &hello.supervisor));
  FTRUN_TRY(name(keeper_pid_, &hello.keeper));
  FTRUN_TRY(name(application_.init_pid, &hello.init));
  hello.region_fd = static_cast<uint32_t>(region_.fd());
  hello.doorbell_fd = static_cast<uint32_t>(doorbell_.get());
  return hello;
}

Result<void> Replica::meet_peers() {
  Result<link::Hello> hello = own_hello();
  if (!hello.ok()) {
    return hello.error();
  }
  FTRUN_TRY(peers_.meet(std::move(options_.inherited.links), *hello));
  for (link::Peer& peer : peers_.all()) {
    keeper_watch_.add(peer.supervisor.get());
    FTRUN_TRY(
        watch(peer.link.fd(), kTagLink | peer.replica, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
    FTRUN_TRY(watch(peer.supervisor.get(), kTagPeer | peer.replica, EPOLLIN | EPOLLET));
  }
  return {};
}

// Where the sender's supervisor is this one, on the primary's host.
Result<void> Replica::open_primary_rings(const unit::View& view) {
  const link::Peer* primary = peers_.find(view.replicas.front());
  if (!options_.shared_rings || view.sender != options_.replica || primary == nullptr) {
    return {};
  }
  Result<std::unique_ptr<PrimaryRings>> rings = PrimaryRings::open(*primary);
  if (!rings.ok()) {
    return Error{rings.error().message + " (--transport=tcp goes without)"};
  }
  primary_rings_ = std::move(*rings);
  return watch(primary_rings_->doorbell(), kTagDoorbell, EPOLLIN | EPOLLET);
}

Result<void> Replica::start(process::Inheritance inheritance) {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) {
    return system_error("epoll_create1", errno);
  }
  FTRUN_TRY(watch_signals());
  run_dir_.events().open();
  const Result<std::string> unit_file = run_dir_.read(run_dir_.file("unit.json"));
  unit_file_ = unit_file.ok() ? *unit_file : "";
  Result<edge::KeeperWatch> watched = edge::KeeperWatch::create();
  if (!watched.ok()) {
    return watched.error();
  }
  keeper_watch_ = std::move(*watched);
  // ORDER: the keeper first, while there is little memory that it would hold on to.
  FTRUN_TRY(start_own_keeper());
  const unit::View view = arbiter::first_view(options_.replicas);
  const Result<unit::View> published = memory_.publish(view);
  if (!published.ok()) {
    return published.error();
  }
  const Result<unit::View> shown = views_.publish(view);
  if (!shown.ok()) {
    return shown.error();
  }
  if (*published != view || *shown != view) {
    return Error{run_dir_.path() + ": is in use by another unit"};
  }
  if (!options_.record_log.empty()) {
    record_log_.reset(
        open(options_.record_log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!record_log_.valid()) {
      return system_error(options_.record_log, errno);
    }
  }
  FTRUN_TRY(start_application(std::move(inheritance)));
  Result<std::unique_ptr<edge::Edge>> edge = edge::Edge::create(epoll_.get(), kTagEdge, this);
  if (!edge.ok()) {
    return edge.error();
  }
  edge_ = std::move(*edge);
  edge_->limit_orphan_bytes(options_.orphan_memory_bytes);
  edge_->set_application(application_.application.get());
  FTRUN_TRY(meet_peers());
  FTRUN_TRY(open_primary_rings(view));
  unit::CoreConfig config;
  config.self = options_.replica;
  config.view = view;
  config.topology = options_.topology;
  config.promotion = options_.promotion;
  config.input = options_.input;
  config.logging = options_.logging;
  config.tolerance = options_.tolerance;
  config.sender_serves_primary = options_.shared_rings;
  config.log_run_ahead_bytes_max = options_.run_ahead_bytes;
  config.progress_report_bytes =
      std::min<uint64_t>(unit::kProgressReportBytes, options_.run_ahead_bytes / 4);
  config.input_store_bytes_max = options_.input_memory_bytes;
  config.standby_lags = options_.standby_lags;
  core_.reset(new unit::UnitCore(config, this));  // make_unique cannot see the private base
  FTRUN_TRY(start_control());
  // ORDER: last; by this file the others know that this supervisor has started, and has a socket.
  FTRUN_TRY(publish_pids());
  view_shown_ = true;
  event("started",
        fmt::format("supervisor {}, application {}", getpid(), application_.application_pid));
  return {};
}

}  // namespace ftrun
