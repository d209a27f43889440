// SPDX-License-Identifier: Apache-2.0
#include "cli/supervisors.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <fstream>
#include <iterator>

#include "fmt/format.h"
#include "supervisor/arbiter/views.h"
#include "supervisor/base/signals.h"

namespace ftrun::cli {
namespace {

constexpr size_t kLogTailBytes = 4096;

std::string milliseconds(double seconds) {
  return std::to_string(static_cast<int64_t>(seconds * 1000));
}

// In the child: only async-signal-safe calls on prepared memory.
[[noreturn]] void become_supervisor(const char* path, char* const* arguments, int log,
                                    const Founding& founding, unit::ReplicaId replica) {
  founding.pass_on(replica);
  setsid();
  // Those that are the program's wait until the supervisor takes them; all others are not blocked.
  const sigset_t waiting = passed_on_signals();
  sigprocmask(SIG_SETMASK, &waiting, nullptr);
  signal(SIGPIPE, SIG_DFL);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0 && dup2(null, 0) >= 0 && dup2(log, 1) >= 0 && dup2(log, 2) >= 0) {
    execv(path, arguments);
  }
  _exit(127);
}

}  // namespace

Result<std::string> find_supervisor() {
  char self[PATH_MAX] = {};
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length <= 0) {
    return system_error("/proc/self/exe", errno);
  }
  const std::string directory(self, std::string_view(self).rfind('/'));
  const std::array<std::string, 2> places = {directory + "/ftrun-supervisor",
                                             directory + "/../lib/ftrun/ftrun-supervisor"};
  for (const std::string& place : places) {
    if (access(place.c_str(), X_OK) == 0) {
      return place;
    }
  }
  return Error{
      fmt::format("ftrun-supervisor is missing: looked for {} and {}", places[0], places[1]),
      ENOENT};
}

std::vector<std::string> supervisor_arguments(const std::string& path, const RunOptions& options,
                                              const std::string& run_dir, const std::string& id) {
  std::vector<std::string> arguments = {path,
                                        "--unit",
                                        options.unit,
                                        "--run-dir",
                                        run_dir,
                                        "--replica",
                                        id,
                                        "--replicas",
                                        std::to_string(options.replicas),
                                        "--topology",
                                        options.topology,
                                        "--input",
                                        options.input,
                                        "--logging",
                                        options.logging == "early" ? "early" : "late",
                                        "--promote",
                                        options.promote,
                                        "--tolerance",
                                        std::to_string(options.tolerance),
                                        "--time-out-ms",
                                        std::to_string(options.time_out_ms),
                                        "--run-ahead",
                                        std::to_string(options.run_ahead_bytes),
                                        "--input-memory",
                                        std::to_string(options.input_memory_bytes),
                                        "--orphan-memory",
                                        std::to_string(options.orphan_memory_bytes),
                                        "--sender-lag",
                                        options.sender_lag,
                                        "--on-crash",
                                        options.on_crash,
                                        "--quarantine-hold",
                                        std::to_string(options.quarantine_hold_ms),
                                        "--transport",
                                        options.transport,
                                        "--spin-limit",
                                        milliseconds(options.spin_limit_seconds),
                                        "--stop-grace",
                                        milliseconds(options.stop_grace_seconds),
                                        "--filter",
                                        options.no_filter ? "off" : "on"};
  for (const std::string& directory : options.state_dirs) {
    arguments.insert(arguments.end(), {"--state-dir", directory});
  }
  if (!options.record_log.empty()) {
    // The first primary records into the file itself; each other one, from its promotion on,
    // beside.
    arguments.insert(arguments.end(), {"--record-log", id == "a" ? options.record_log
                                                                 : options.record_log + "." + id});
  }
  return arguments;
}

Result<Supervisor> start_supervisor(const std::string& path, const RunOptions& options,
                                    const std::string& run_dir, const std::string& id,
                                    const Founding& founding) {
  const unit::ReplicaId replica = arbiter::replica_from_name(id).value_or(unit::kNoReplica);
  std::vector<std::string> arguments = supervisor_arguments(path, options, run_dir, id);
  const std::vector<std::string> inherited = founding.options(replica);
  arguments.insert(arguments.end(), inherited.begin(), inherited.end());
  std::vector<char*> pointers;
  for (std::string& argument : arguments) {
    pointers.push_back(argument.data());
  }
  pointers.push_back(nullptr);
  const std::string log_path = fmt::format("{}/sup.{}.log", run_dir, id);
  const process::Descriptor log(
      open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) {
    return system_error(log_path, errno);
  }
  Supervisor supervisor;
  supervisor.id = id;
  supervisor.pid = fork();
  if (supervisor.pid == 0) {
    become_supervisor(path.c_str(), pointers.data(), log.get(), founding, replica);
  }
  if (supervisor.pid < 0) {
    return fork_error("starting supervisor " + id, errno);
  }
  supervisor.pidfd =
      process::Descriptor(static_cast<int>(syscall(SYS_pidfd_open, supervisor.pid, 0)));
  if (!supervisor.pidfd.valid()) {
    const int number = errno;
    kill_supervisor(&supervisor);
    return system_error("pidfd_open of supervisor " + id, number);
  }
  return supervisor;
}

void poll_supervisor(Supervisor* supervisor) {
  int status = 0;
  if (!supervisor->wait_status && waitpid(supervisor->pid, &status, WNOHANG) == supervisor->pid) {
    supervisor->wait_status = status;
    supervisor->pidfd.reset();
  }
}

void kill_supervisor(Supervisor* supervisor) {
  if (supervisor->wait_status) {
    return;
  }
  // Our child and not waited for yet: the pid is still its.
  kill(supervisor->pid, SIGKILL);
  int status = 0;
  while (waitpid(supervisor->pid, &status, 0) < 0 && errno == EINTR) {
  }
  supervisor->wait_status = status;
  supervisor->pidfd.reset();
}

std::string supervisor_log_tail(const std::string& run_dir, const std::string& id) {
  std::ifstream file(fmt::format("{}/sup.{}.log", run_dir, id));
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.size() > kLogTailBytes) {
    text.erase(0, text.size() - kLogTailBytes);
  }
  return text;
}

}  // namespace ftrun::cli
