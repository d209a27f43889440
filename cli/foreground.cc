// SPDX-License-Identifier: Apache-2.0
#include "cli/foreground.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "cli/control_client.h"
#include "cli/outlet.h"
#include "cli/unit_dir.h"
#include "fmt/format.h"
#include "supervisor/base/signals.h"
#include "supervisor/members/peers.h"
#include "supervisor/operator/run_dir.h"

namespace ftrun::cli {
namespace {

// The spool is memory: nobody wakes us. While there is output we look often, else less so.
constexpr int kLookMs = 10;
constexpr int kLookIdleMs = 50;
constexpr int kQuietRounds = 100;
constexpr unsigned kRunDirRounds = 16;
constexpr unsigned kFtrunClaims =
    255;  // its name among those who pass on signals; replicas' follow

// Beyond, the console stays in the spool until its reader has caught up.
constexpr size_t kConsoleWaitingBytesMax = 128 * 1024;
// For a unit that is asked to end before it has started.
constexpr auto kStartGrace = std::chrono::seconds(2);

bool asks_to_end(int number) {
  return number == SIGTERM || number == SIGINT || number == SIGQUIT;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::string last_line(std::string text) {
  text.erase(text.find_last_not_of('\n') + 1);
  return text.substr(text.rfind('\n') + 1);
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

// ORDER: the first view is known before it is published: a replica that is lost before anybody has
// looked is missed all the same.
Foreground::Foreground(std::string unit, std::string run_dir, int replicas)
    : unit_(std::move(unit)),
      run_dir_(std::move(run_dir)),
      view_(arbiter::first_view(static_cast<unsigned>(replicas))),
      events_(run_dir_ + "/events.jsonl") {}

Result<std::unique_ptr<Foreground>> Foreground::create(std::string unit, std::string run_dir,
                                                       int replicas) {
  std::unique_ptr<Foreground> foreground(
      new Foreground(std::move(unit), std::move(run_dir), replicas));
  sigset_t set = passed_on_signals();
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, nullptr);
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

// Until every supervisor has said who it is, the last thing that it does at its start. The file
// stays when it has ended.
bool Foreground::starting() {
  started_ =
      started_ ||
      std::all_of(supervisors_.begin(), supervisors_.end(), [this](const Supervisor& supervisor) {
        return access(fmt::format("{}/sup.{}.json", run_dir_, supervisor.id).c_str(), F_OK) == 0;
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

void Foreground::take_signals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    const int number = static_cast<int>(info.ssi_signo);
    if (number == SIGCHLD) {
      continue;
    }
    pending_signals_.push_back(number);
    if (asks_to_end(number)) {
      ended_by_ = number;
      asked_at_ = Clock::now();
    }
  }
}

void Foreground::pass_signals() {
  for (const int number : pending_signals_) {
    // Who signals all processes of the unit at once may have reached a supervisor first.
    if (!memory_.claim_signal(number, kFtrunClaims, link::monotonic_ns())) {
      continue;
    }
    std::vector<std::string> unreached;
    const Result<void> sent = send_signal(run_dir_, number, memory_.next_signal(), &unreached);
    if (!sent.ok() && !all_ended() && !signal_supervisors(number)) {
      say(fmt::format("signal {} was not passed on: {}", number, sent.error().message));
      for (const std::string& line : unreached) {
        say(line);
      }
    }
  }
  pending_signals_.clear();
}

// Without control sockets (somebody has removed the run directory): a supervisor takes a signal
// that is sent to itself for the program's.
bool Foreground::signal_supervisors(int number) {
  memory_.disclaim_signal(number);
  bool any = false;
  for (const Supervisor& supervisor : supervisors_) {
    any = any || (supervisor.pidfd.valid() &&
                  syscall(SYS_pidfd_send_signal, supervisor.pidfd.get(), number, nullptr, 0) == 0);
  }
  return any;
}

// The supervisors make it anew, unless another unit's stands in its place.
void Foreground::look_at_run_dir() {
  if (rounds_++ % kRunDirRounds != 0) {
    return;
  }
  struct stat now {};
  const ino_t inode = stat(run_dir_.c_str(), &now) == 0 ? now.st_ino : 0;
  if (run_dir_inode_ != 0 && inode != run_dir_inode_) {
    say(fmt::format(
        "WARNING: the run directory {} was removed; unit {} serves on and makes it anew, "
        "unless another unit takes its place: then ftctl does not reach this one",
        run_dir_, unit_));
  }
  run_dir_inode_ = inode;
}

void Foreground::follow_view() {
  const std::optional<unit::View> current = memory_.current();
  if (!current || view_ == *current) {
    return;
  }
  const unit::View now = *current;
  if (now.replicas.size() < view_.replicas.size()) {
    warn_unprotected(view_, now);
  }
  view_ = now;
}

void Foreground::say_events() {
  for (const std::string& line : events_.next()) {
    say(line);
  }
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
  // What its supervisor said at its end: a failed assertion, no memory.
  for (const unit::ReplicaId replica : gone) {
    const std::string said =
        last_line(supervisor_log_tail(run_dir_, arbiter::replica_name(replica)));
    why += said.empty() ? "" : ": " + said;
  }
  say(fmt::format("WARNING: unit {} is {}: replica {} failed ({}); replica {} serves on (view {})",
                  unit_, now.replicas.size() >= 2 ? "weakened" : "UNPROTECTED", names(gone),
                  why.empty() ? "no reason recorded" : why, names(now.replicas), now.epoch));
}

// What the sender's spool has, as far as its readers have room for it. Returns whether there was
// anything.
bool Foreground::show_console() {
  if (console_of_ != view_.sender) {
    if (view_.sender >= consoles_.size() || !console_.open(consoles_[view_.sender].fd()).ok()) {
      return false;
    }
    console_of_ = view_.sender;
  }
  bool any = false;
  int stream = 1;
  std::string bytes;
  while (outlet(1).waiting() + outlet(2).waiting() < kConsoleWaitingBytesMax) {
    uint64_t lost = 0;
    const bool more = console_.next(&stream, &bytes, &lost);
    if (lost > 0) {
      say(
          fmt::format("WARNING: {} bytes of the program's output were lost: whoever reads ftrun's "
                      "output is too slow",
                      lost));
    }
    if (!more) {
      break;
    }
    any = true;
    outlet(stream).put(stream, bytes);
  }
  for (const int which : {1, 2}) {
    if (const int error = outlet(which).take_error(); error != 0) {
      say(
          fmt::format("WARNING: standard {} cannot be written ({}): ftctl logs shows the last of "
                      "it",
                      which == 1 ? "output" : "error", std::strerror(error)));
    }
  }
  return any;
}

// Once the unit has ended: the rest of its console, for as long as somebody reads it.
void Foreground::drain_console() {
  bool more = true;
  while (more && settle_outlets() == 0) {
    more = show_console();
  }
}

// For ftctl, where the sender's supervisor was killed and could not leave it itself.
void Foreground::leave_console() const {
  const RunDir run_dir(run_dir_, arbiter::replica_name(view_.sender));
  const std::string path = run_dir.own("console");
  const auto unit = read_unit_file(run_dir_);
  if (unit.ok() && unit->ftrun == getpid() && access(path.c_str(), F_OK) != 0) {
    (void)run_dir.write(path, consoles_[view_.sender].contents());
  }
}

int Foreground::abandon_start() {
  int exit_status = kExitFailed;
  if (ended_by_ != 0) {
    say(fmt::format("unit {} did not start before it was asked to end", unit_));
    exit_status = 128 + ended_by_;
  }
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

// How the supervisors have ended, and what they said last.
std::string Foreground::supervisors_ends() const {
  std::string text;
  std::string logs;
  for (const Supervisor& supervisor : supervisors_) {
    const std::string log = supervisor_log_tail(run_dir_, supervisor.id);
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", supervisor.id,
                        process::describe_wait_status(supervisor.wait_status.value_or(0)));
    logs += log.empty() ? "" : "\n" + log;
  }
  return text + logs;
}

// In the unit's memory: there may be no room for a file.
std::optional<int> Foreground::exit_status() const {
  const std::optional<int> status = memory_.exit_status();
  return status ? status : read_exit_status(run_dir_);
}

int Foreground::final_status() {
  const std::string lost = last_event(run_dir_, {"lost"});
  const std::optional<int> status = exit_status();
  if (!lost.empty()) {
    say(fmt::format("unit {} is lost: {} ({}); its events are in {}/events.jsonl", unit_, lost,
                    first_line(last_event(run_dir_, {"app_failed"})), run_dir_));
  } else if (!status) {
    say(
        fmt::format("unit {} is lost: all its supervisors are gone; its events are in "
                    "{}/events.jsonl; {}",
                    unit_, run_dir_, supervisors_ends()));
  }
  return status.value_or(kExitFailed);
}

int Foreground::run() {
  for (;;) {
    wait_for_events();
    collect_supervisors();
    // ORDER: whether all have ended is asked before the console is read: what they wrote is there.
    const bool ended = all_ended();
    take_signals();
    if (starting() && !exit_status()) {
      const bool overdue = ended_by_ != 0 && Clock::now() - asked_at_ > kStartGrace;
      if (overdue ||
          std::any_of(supervisors_.begin(), supervisors_.end(), [](const Supervisor& supervisor) {
            return supervisor.wait_status.has_value();
          })) {
        return abandon_start();
      }
    } else {
      pass_signals();
    }
    follow_view();
    say_events();
    look_at_run_dir();
    quiet_rounds_ = show_console() ? 0 : quiet_rounds_ + 1;
    if (look_ && started_ && !ended) {
      look_();
    }
    if (ended) {
      drain_console();
      leave_console();
      return final_status();
    }
  }
}

}  // namespace ftrun::cli
