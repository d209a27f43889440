// SPDX-License-Identifier: Apache-2.0
// check_kernel() of program_check.h: each feature is tried, not guessed from the version, because
// containers take features away.
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "fmt/format.h"
#include "supervisor/process/launch.h"
#include "supervisor/process/launch_error.h"
#include "supervisor/process/program_check.h"

namespace ftrun::process {
namespace {

// 0 or the errno of creating these namespaces.
int try_namespaces(uint64_t flags) {
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = SIGCHLD;
  const long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) {
    _exit(0);
  }
  if (pid < 0) {
    return errno;
  }
  while (waitpid(static_cast<pid_t>(pid), nullptr, 0) < 0 && errno == EINTR) {
  }
  return 0;
}

Result<void> check_namespaces() {
  int number = try_namespaces(CLONE_NEWPID | CLONE_NEWNS);
  bool user = false;
  if (number == EPERM) {
    user = true;
    number = try_namespaces(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS);
  }
  return number == 0 ? Result<void>() : namespace_error(number, user);
}

Result<void> missing(const char* feature, const char* since) {
  const int number = errno;
  return Error{
      fmt::format("this kernel does not offer {} ({}): {}", feature, since, std::strerror(number)),
      number};
}

Result<void> check_pidfd_getfd() {
  const Descriptor self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self.valid()) {
    return missing("pidfd_open", "Linux 5.3");
  }
  const Descriptor taken(static_cast<int>(syscall(SYS_pidfd_getfd, self.get(), self.get(), 0)));
  return taken.valid() ? Result<void>() : missing("pidfd_getfd", "Linux 5.6, ptrace permission");
}

Result<void> check_peek_offset() {
  const Descriptor socket_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket_fd.valid()) {
    return missing("TCP sockets", "AF_INET");
  }
  const int offset = 0;
  return setsockopt(socket_fd.get(), SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0
             ? Result<void>()
             : missing("SO_PEEK_OFF for TCP", "Linux 6.9");
}

}  // namespace

Result<void> check_kernel() {
  const uint32_t trap = SECCOMP_RET_TRAP;
  if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) != 0) {
    return missing("seccomp filters with SECCOMP_RET_TRAP", "CONFIG_SECCOMP_FILTER, Linux 4.14");
  }
  // An empty range above every descriptor.
  if (syscall(SYS_close_range, ~0U, ~0U, 0) != 0) {
    return missing("close_range", "Linux 5.9");
  }
  FTRUN_TRY(check_pidfd_getfd());
  FTRUN_TRY(check_peek_offset());
  return check_namespaces();
}

}  // namespace ftrun::process
