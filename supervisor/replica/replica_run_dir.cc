// SPDX-License-Identifier: Apache-2.0
// A replica and the outside of its unit: signals that are sent to the supervisor itself, and the
// run directory while the unit runs. What could not be written there is tried again every second,
// and what somebody removed is made anew. Nothing of it is needed to serve clients or to take over.
// See replica.h. Runs in the supervisor's event loop.
#include <fmt/format.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "supervisor/base/memory_reserve.h"
#include "supervisor/base/signals.h"
#include "supervisor/base/tags.h"
#include "supervisor/replica/replica.h"

namespace ftrun {

namespace {
constexpr int64_t kLookAfterNs = 1'000'000'000;
}

std::string Replica::pids_text() const {
  const nlohmann::json pids = {{"supervisor", getpid()},
                               {"keeper", keeper_pid_},
                               {"init", application_.init_pid},
                               {"application", application_.application_pid}};
  return pids.dump() + "\n";
}

Result<void> Replica::publish_pids() const {
  return run_dir_.write(run_dir_.own("sup", ".json"), pids_text());
}

Result<void> Replica::start_control() {
  // ORDER: the old one first: its end removes the name.
  control_.reset();
  Result<std::unique_ptr<ControlServer>> control = ControlServer::create(
      run_dir_.own("sup", ".sock"), epoll_.get(), kTagControl,
      [this](const std::string& line) { return handle_command(line); },
      [this](const std::string& text) { event("control", text); });
  if (!control.ok()) {
    return control.error();
  }
  control_ = std::move(*control);
  return {};
}

// --- signals ---

// A service manager's stop sends its signal to every process of the unit at once: it is the
// program's, and must not end those that keep it. Keepers and inits block it; this is the
// supervisors' part.
Result<void> Replica::watch_signals() {
  const sigset_t set = passed_on_signals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  return signals_.valid() ? watch(signals_.get(), kTagSignals, EPOLLIN)
                          : system_error("signalfd", errno);
}

void Replica::take_signals() {
  signalfd_siginfo info{};
  while (!done_ && read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    const int number = static_cast<int>(info.ssi_signo);
    if (memory_.claim_signal(number, options_.replica, now_ns_)) {
      event("signal", fmt::format("signal {} was sent to the supervisor by process {}; the program "
                                  "gets it",
                                  number, info.ssi_pid));
      core_->on_signal(memory_.next_signal(), number);
    }
  }
}

// --- the run directory ---

// The view is decided in the unit's memory; its file is for the tools and can wait for room.
void Replica::show_view() {
  view_shown_ = views_.publish(core_->status().view).ok();
}

// Once a second. Copies of state are marked also between changes of view, so that of two of one
// view the newer one is known.
void Replica::look_after_files() {
  if (now_ns_ - files_looked_after_ns_ >= kLookAfterNs) {
    files_looked_after_ns_ = now_ns_;
    mark_state_copies();
    look_after_run_dir();
  }
}

void Replica::look_after_run_dir() {
  const bool reserved = keep_memory_reserve();
  if (!reserved && !memory_short_) {
    event("trouble",
          "the address space is used up, the reserve for a takeover as well (ulimit -v)");
  }
  memory_short_ = !reserved;
  run_dir_.events().retry();
  if (keeper_wanted_) {
    replace_keeper();
  }
  if (control_ == nullptr || !control_->reachable()) {
    const Result<void> restored = restore_run_dir();
    const std::string trouble = restored.ok() ? "" : restored.error().message;
    if (restored.ok()) {
      event("run_dir", "the run directory had been removed, or files in it: they are made anew");
    } else if (trouble != run_dir_trouble_) {
      event("trouble", "the run directory is gone and cannot be made anew: " + trouble);
    }
    run_dir_trouble_ = trouble;
    return;
  }
  if (!view_shown_ || !views_.current().ok()) {
    show_view();
  }
  mend_file(run_dir_.own("sup", ".json"), pids_text());
  mend_file(run_dir_.file("unit.json"), unit_file_);
}

// What is not there as it should be, since there was no room or somebody has damaged it.
void Replica::mend_file(const std::string& path, const std::string& text) const {
  const Result<std::string> found = run_dir_.read(path);
  if (!found.ok() || *found != text) {
    (void)run_dir_.write(path, text);
  }
}

// Another unit may have been started in its place meanwhile: that one's stays as it is.
Result<void> Replica::restore_run_dir() {
  const std::string& path = run_dir_.path();
  const std::string parent = path.substr(0, path.rfind('/'));
  if (mkdir(path.c_str(), 0700) != 0 && errno == ENOENT && mkdir(parent.c_str(), 0700) == 0) {
    mkdir(path.c_str(), 0700);
  }
  struct stat made {};
  if (lstat(path.c_str(), &made) != 0) {
    return system_error(path, errno);
  }
  if (!S_ISDIR(made.st_mode) || made.st_uid != geteuid() || (made.st_mode & 077) != 0) {
    return Error{path + " is not a directory of ours alone"};
  }
  const std::string name = run_dir_.file("unit.json");
  const Result<std::string> unit_file = run_dir_.read(name);
  if (unit_file.ok() && *unit_file != unit_file_) {
    return Error{path + " belongs to another unit now"};
  }
  FTRUN_TRY(run_dir_.write(name, unit_file_));
  run_dir_.events().open();
  FTRUN_TRY(publish_pids());
  const Result<unit::View> shown = views_.publish(core_->status().view);
  if (!shown.ok()) {
    return shown.error();
  }
  return start_control();
}

}  // namespace ftrun
