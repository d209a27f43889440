// SPDX-License-Identifier: Apache-2.0
// See check.h.
#include "cli/check.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "cli/control_client.h"
#include "cli/unit_dir.h"
#include "supervisor/members/peers.h"
#include "supervisor/process/proc_info.h"
#include "supervisor/process/running_place.h"

namespace ftrun::cli {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kObjectsEveryNs = kSecondNs / 4;  // libraries may come and go
constexpr int64_t kStopPatienceNs = 10 * kSecondNs;

std::string executable_of(pid_t pid) {
  char path[PATH_MAX] = {};
  const ssize_t length =
      readlink(("/proc/" + std::to_string(pid) + "/exe").c_str(), path, sizeof path - 1);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : "";
}

}  // namespace

Check::Check(const RunOptions& options, std::string run_dir)
    : run_dir_(std::move(run_dir)), for_ns_(static_cast<int64_t>(options.check_seconds * 1e9)) {
  findings_.program = options.command[0];
}

void Check::look() {
  const int64_t now_ns = link::monotonic_ns();
  const Result<UnitStatus> status = read_unit_status(run_dir_);
  if (status.ok() && !status->replicas.empty() && status->replicas[0].app_pid > 0) {
    watch(status->replicas[0], now_ns);
  }
  watch_time(now_ns);
}

void Check::watch(const ReplicaStatus& replica, int64_t now_ns) {
  if (application_ == 0) {
    if (executable_of(replica.app_pid).empty()) {
      return;
    }
    application_ = replica.app_pid;
    started_ns_ = now_ns;
  }
  last_ns_ = now_ns;
  LogVolume& volume = findings_.volume;
  volume.records = std::max(volume.records, replica.lsn);
  volume.log_bytes = std::max(volume.log_bytes, replica.log_bytes);
  volume.input_bytes = std::max(volume.input_bytes, replica.input_bytes);
  ActivityLook seen;
  seen.now_ns = now_ns;
  seen.cpu_ns = process::process_cpu_ns(application_);
  seen.records = replica.lsn;
  seen.log_bytes = replica.log_bytes;
  seen.kernel_calls = replica.kernel_calls;
  if (spins_.add(seen) && !stacks_wanted_) {
    stacks_wanted_ = stacks_.start(application_).ok();
  }
  if (stacks_wanted_) {
    stacks_.read();
    if (!stacks_.running()) {
      stacks_wanted_ = false;
      const std::string place = process::running_place(stacks_.text()).place;
      findings_.spin_places[place] += place.empty() ? 0 : 1;
    }
  }
  if (now_ns - looked_for_objects_ns_ >= kObjectsEveryNs) {
    looked_for_objects_ns_ = now_ns;
    if (std::string program = executable_of(application_); !program.empty()) {
      findings_.program = std::move(program);  // an exec may have changed it
    }
    for (std::string& object : mapped_objects(application_)) {
      if (std::find(paths_.begin(), paths_.end(), object) == paths_.end()) {
        paths_.push_back(std::move(object));
      }
    }
  }
}

void Check::watch_time(int64_t now_ns) {
  if (for_ns_ == 0 || started_ns_ == 0) {
    return;
  }
  if (stopped_ns_ == 0 && now_ns - started_ns_ >= for_ns_) {
    std::vector<std::string> unreached;
    if (send_signal(run_dir_, SIGTERM, 0, &unreached).ok()) {
      stopped_ns_ = now_ns;
      findings_.stop_signal = SIGTERM;
    }
  } else if (stopped_ns_ != 0 && now_ns - stopped_ns_ >= kStopPatienceNs &&
             !findings_.ended_by_force) {
    findings_.ended_by_force = true;
    kill(application_, SIGKILL);
  }
}

void Check::scan_objects() {
  for (const std::string& path : paths_) {
    Result<ObjectScan> scan = scan_object(path);
    if (scan.ok()) {
      findings_.objects.push_back(std::move(*scan));
    } else {
      findings_.unread_objects.push_back(scan.error().message);
    }
  }
}

CheckReport Check::finish(int asked_by) {
  findings_.spin_places.erase("");
  findings_.spins = spins_.stretches();
  findings_.longest_spin_ms = spins_.longest_ms();
  findings_.spin_at_end_ms = spins_.present_ms();
  findings_.exit_status = read_exit_status(run_dir_);
  if (findings_.stop_signal == 0) {
    findings_.stop_signal = asked_by;
  }
  if (started_ns_ != 0) {
    findings_.volume.seconds = static_cast<double>(last_ns_ - started_ns_) / 1e9;
  }
  findings_.calls = read_call_findings(run_dir_, &findings_.failure);
  if (paths_.empty()) {  // it ended before anybody looked
    paths_.push_back(findings_.program);
  }
  scan_objects();
  return check_report(findings_);
}

}  // namespace ftrun::cli
