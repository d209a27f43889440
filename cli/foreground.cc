// SPDX-License-Identifier: Apache-2.0
#include "cli/foreground.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "cli/control_client.h"
#include "cli/unit_dir.h"
#include "fmt/format.h"

namespace ftrun::cli {
namespace {

// The spool is memory: nobody wakes us. While there is output we look often, else less so.
constexpr int kLookMs = 10;
constexpr int kLookIdleMs = 50;
constexpr int kQuietRounds = 100;

constexpr int kPassedOn[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT};

void say(const std::string& text) {
  fmt::print(stderr, "ftrun: {}\n", text);
}

std::string names(const std::vector<unit::ReplicaId>& replicas) {
  std::string text;
  for (const unit::ReplicaId replica : replicas) {
    text += (text.empty() ? "" : ", ") + arbiter::replica_name(replica);
  }
  return text;
}

}  // namespace

std::string last_event(const std::string& run_dir, const std::vector<std::string>& kinds) {
  std::ifstream file(run_dir + "/events.jsonl");
  const std::string lines{std::istreambuf_iterator<char>(file), {}};
  return last_event_in(lines, kinds);
}

Result<std::unique_ptr<Foreground>> Foreground::create(std::string unit, std::string run_dir) {
  std::unique_ptr<Foreground> foreground(new Foreground());
  foreground->unit_ = std::move(unit);
  foreground->run_dir_ = std::move(run_dir);
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kPassedOn) {
    sigaddset(&set, number);
  }
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  foreground->signals_ = process::Descriptor(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!foreground->signals_.valid()) {
    return system_error("signalfd", errno);
  }
  return foreground;
}

bool Foreground::all_ended() const {
  return std::all_of(supervisors_.begin(), supervisors_.end(),
                     [](const Supervisor& supervisor) { return supervisor.wait_status; });
}

// Until every supervisor listens on its control socket, the last thing that it does at its start.
bool Foreground::starting() {
  started_ =
      started_ ||
      std::all_of(supervisors_.begin(), supervisors_.end(), [this](const Supervisor& supervisor) {
        return access(fmt::format("{}/sup.{}.sock", run_dir_, supervisor.id).c_str(), F_OK) == 0;
      });
  return !started_;
}

void Foreground::wait_for_events() {
  std::vector<pollfd> waited = {{signals_.get(), POLLIN, 0}};
  for (const Supervisor& supervisor : supervisors_) {
    if (!supervisor.wait_status) {
      waited.push_back({supervisor.pidfd.get(), POLLIN, 0});
    }
  }
  poll(waited.data(), waited.size(), quiet_rounds_ < kQuietRounds || look_ ? kLookMs : kLookIdleMs);
}

void Foreground::collect_supervisors() {
  for (Supervisor& supervisor : supervisors_) {
    poll_supervisor(&supervisor);
  }
}

void Foreground::pass_signals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo != SIGCHLD) {
      pending_signals_.push_back(static_cast<int>(info.ssi_signo));
    }
  }
  if (!started_) {
    return;
  }
  for (const int number : pending_signals_) {
    ended_by_ = number == SIGTERM || number == SIGINT || number == SIGQUIT ? number : ended_by_;
    std::vector<std::string> unreached;
    const Result<void> sent = send_signal(run_dir_, number, &unreached);
    if (!sent.ok() && !all_ended()) {
      say(fmt::format("signal {} was not passed on: {}", number, sent.error().message));
      for (const std::string& line : unreached) {
        say(line);
      }
    }
  }
  pending_signals_.clear();
}

void Foreground::follow_view() {
  const auto current = arbiter::Views(run_dir_).current();
  if (!current.ok() || !current->has_value() || view_ == **current) {
    return;  // a trouble with the run directory is the supervisors' to report
  }
  const unit::View now = **current;
  if (view_ && now.replicas.size() < view_->replicas.size()) {
    warn_unprotected(*view_, now);
  }
  view_ = now;
}

void Foreground::warn_unprotected(const unit::View& before, const unit::View& now) {
  std::vector<unit::ReplicaId> gone;
  for (const unit::ReplicaId replica : before.replicas) {
    if (std::find(now.replicas.begin(), now.replicas.end(), replica) == now.replicas.end()) {
      gone.push_back(replica);
    }
  }
  // The event names the replica again: "replica b: its supervisor died".
  std::string why = last_event(run_dir_, {"suspected", "suspect", "app_failed", "diverged"});
  const std::string prefix = fmt::format("replica {}: ", names(gone));
  why.erase(0, why.starts_with(prefix) ? prefix.size() : 0);
  say(fmt::format("WARNING: unit {} is {}: replica {} failed ({}); replica {} serves on (view {})",
                  unit_, now.replicas.size() >= 2 ? "weakened" : "UNPROTECTED", names(gone),
                  why.empty() ? "no reason recorded" : why, names(now.replicas), now.epoch));
}

// Everything that the sender's spool has. Returns whether there was anything.
bool Foreground::show_console() {
  if (!view_) {
    return false;
  }
  const std::string sender = arbiter::replica_name(view_->sender);
  if (console_of_ != sender) {
    if (!console_.open(fmt::format("{}/console.{}", run_dir_, sender)).ok()) {
      return false;  // not made yet: looked for again in the next round
    }
    console_of_ = sender;
  }
  bool any = false;
  int stream = 1;
  std::string bytes;
  for (;;) {
    uint64_t lost = 0;
    const bool more = console_.next(&stream, &bytes, &lost);
    if (lost > 0) {
      say(
          fmt::format("WARNING: {} bytes of the program's output were lost: whoever reads ftrun's "
                      "output is too slow",
                      lost));
    }
    if (!more) {
      return any;
    }
    any = true;
    show(stream, bytes);
  }
}

void Foreground::show(int stream, const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size() && !broken_[stream]) {
    const ssize_t written = write(stream, bytes.data() + done, bytes.size() - done);
    if (written >= 0) {
      done += static_cast<size_t>(written);
    } else if (errno == EAGAIN) {
      pollfd writable{stream, POLLOUT, 0};
      poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      // The unit serves on; only its console has no reader.
      broken_[stream] = true;
    }
  }
}

int Foreground::abandon_start() {
  int exit_status = kExitFailed;
  for (Supervisor& supervisor : supervisors_) {
    if (supervisor.wait_status) {
      const std::string log = supervisor_log_tail(run_dir_, supervisor.id);
      say(fmt::format("unit {} did not start: supervisor {} ended with {}{}{}", unit_,
                      supervisor.id, process::describe_wait_status(*supervisor.wait_status),
                      log.empty() ? "" : ":\n", log));
      exit_status = kExitCannotRun;
    }
  }
  for (Supervisor& supervisor : supervisors_) {
    kill_supervisor(&supervisor);
  }
  return exit_status;
}

int Foreground::final_status() {
  const std::string lost = last_event(run_dir_, {"lost"});
  const std::optional<int> status = read_exit_status(run_dir_);
  if (!lost.empty() || !status) {
    say(fmt::format("unit {} is lost: {}; its events are in {}/events.jsonl", unit_,
                    lost.empty() ? "all its supervisors are gone" : lost, run_dir_));
  }
  return status.value_or(kExitFailed);
}

int Foreground::run() {
  for (;;) {
    wait_for_events();
    collect_supervisors();
    // ORDER: whether all have ended is asked before the console is read: what they wrote is there.
    const bool ended = all_ended();
    if (starting() && !read_exit_status(run_dir_) &&
        std::any_of(supervisors_.begin(), supervisors_.end(),
                    [](const Supervisor& supervisor) { return supervisor.wait_status; })) {
      return abandon_start();
    }
    pass_signals();
    follow_view();
    quiet_rounds_ = show_console() ? 0 : quiet_rounds_ + 1;
    if (look_ && started_ && !ended) {
      look_();
    }
    if (ended) {
      return final_status();
    }
  }
}

}  // namespace ftrun::cli
