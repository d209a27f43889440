// SPDX-License-Identifier: Apache-2.0
// The application's process from its birth to execve (see init.h for what may be called: plain
// system calls on prepared memory). Whatever fails is reported to the supervisor by step and errno.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "eventlog/shared_region.h"
#include "supervisor/process/call_wall.h"
#include "supervisor/process/init.h"

namespace ftrun::process {
namespace {

// Where the status socket stands until execve closes it.
constexpr int kStatusFd = kRegionFd + 1;

[[noreturn]] void fail(int status_fd, InitStep step, int detail = 0) {
  send_init_message(
      status_fd,
      {.kind = InitMessageKind::kFailed, .step = step, .value = errno, .detail = detail});
  _exit(127);
}

// Puts every descriptor at its place and closes all others.
void place_descriptors(const InitPlan& plan) {
  const rlimit wide{plan.descriptors_hard_max, plan.descriptors_hard_max};
  if (setrlimit(RLIMIT_NOFILE, &wide) != 0) {
    fail(plan.status_fd, InitStep::kDescriptors);
  }
  // ORDER: first all out of the way of every target, then to the targets; a source could stand on
  // another's place.
  const int status = fcntl(plan.status_fd, F_DUPFD_CLOEXEC, kStatusFd + 1);
  const int region = fcntl(plan.region_fd, F_DUPFD_CLOEXEC, kStatusFd + 1);
  const int doorbell = fcntl(plan.doorbell_fd, F_DUPFD_CLOEXEC, kStatusFd + 1);
  const int output = fcntl(plan.early_output_fd, F_DUPFD_CLOEXEC, kStatusFd + 1);
  if (status < 0 || region < 0 || doorbell < 0 || output < 0) {
    fail(plan.status_fd, InitStep::kDescriptors);
  }
  const int opened = open("/dev/null", O_RDWR | O_CLOEXEC);
  const int null = fcntl(opened, F_DUPFD_CLOEXEC, kStatusFd + 1);
  if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 ||
      dup2(region, kRegionFd) < 0 || dup2(region, plan.doorbell_number - 1) < 0 ||
      dup2(doorbell, plan.doorbell_number) < 0 || dup3(status, kStatusFd, O_CLOEXEC) < 0) {
    fail(status, InitStep::kDescriptors);
  }
  const unsigned number = static_cast<unsigned>(plan.doorbell_number);
  if (syscall(SYS_close_range, 3U, unsigned{kRegionFd} - 1, 0) != 0 ||
      syscall(SYS_close_range, unsigned{kStatusFd} + 1, number - 2, 0) != 0 ||
      syscall(SYS_close_range, number + 1, ~0U, 0) != 0) {
    fail(kStatusFd, InitStep::kDescriptors);
  }
}

void set_limits(const InitPlan& plan) {
  for (int resource = 0; resource < static_cast<int>(RLIM_NLIMITS); ++resource) {
    if (setrlimit(static_cast<__rlimit_resource_t>(resource), &plan.limits[resource]) != 0) {
      fail(kStatusFd, InitStep::kLimits, resource);
    }
  }
}

}  // namespace

void become_application(const InitPlan& plan) {
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
    fail(plan.status_fd, InitStep::kTraceMe);
  }
  if (setsid() < 0) {
    fail(plan.status_fd, InitStep::kSession);
  }
  place_descriptors(plan);
  set_limits(plan);
  umask(plan.mask);
  // By name and after the mounts: a directory descriptor would lead below them.
  if (chdir(plan.directory) != 0) {
    fail(kStatusFd, InitStep::kDirectory);
  }
  const int current = personality(0xffffffff);
  if (current < 0 || personality(static_cast<unsigned>(current) | ADDR_NO_RANDOMIZE) < 0) {
    fail(kStatusFd, InitStep::kPersonality);
  }
  send_init_message(kStatusFd, {.kind = InitMessageKind::kHello});
  // The supervisor opens our pidfd before it says go: the number cannot have been reused.
  char go = 0;
  ssize_t received = 0;
  do {
    received = recv(kStatusFd, &go, sizeof go, 0);
  } while (received < 0 && errno == EINTR);
  if (received != sizeof go) {
    _exit(127);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // ORDER: last; until here this process does what the filter forbids, and the program's image is
  // the first that must not.
  if (const int error = plan.wall == nullptr ? 0 : raise_call_wall(*plan.wall)) {
    errno = error;
    fail(kStatusFd, InitStep::kWall);
  }
  execve(plan.path, plan.arguments, plan.environment);
  fail(kStatusFd, InitStep::kExec);
}

}  // namespace ftrun::process
