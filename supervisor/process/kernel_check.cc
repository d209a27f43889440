// SPDX-License-Identifier: Apache-2.0
// check_kernel() of program_check.h: each feature is tried, not guessed from the version, because
// containers take features away.
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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

Result<void> check_dispatch() {
  return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0) == 0
             ? Result<void>()
             : missing("Syscall User Dispatch", "Linux 5.11");
}

Result<void> check_close_range() {
  // An empty range above every descriptor.
  return syscall(SYS_close_range, ~0U, ~0U, 0) == 0 ? Result<void>()
                                                    : missing("close_range", "Linux 5.9");
}

Result<void> check_tsc_trap() {
  return prctl(PR_SET_TSC, PR_TSC_ENABLE) == 0 ? Result<void>()
                                               : missing("PR_SET_TSC", "x86, Linux 2.6.26");
}

Result<void> check_sealing() {
  const Descriptor file(memfd_create("ftrun-check", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  return file.valid() && fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0
             ? Result<void>()
             : missing("memfd_create with seals", "Linux 3.17");
}

constexpr KernelFeature kFeatures[] = {
    {"system call dispatch", "the program's system calls are seen (no sandbox)", &check_dispatch},
    {"TSC trap", "programs that read the processor's clock see the unit's", &check_tsc_trap},
    {"close_range", "the program inherits nothing of ftrun's", &check_close_range},
    {"sealed memory files", "rings that neither side can take away", &check_sealing},
    {"pidfd_getfd", "client connections outlive their supervisor", &check_pidfd_getfd},
    {"SO_PEEK_OFF for TCP", "input stays in the kernel until both replicas have it",
     &check_peek_offset},
    {"namespaces", "equal process ids, private copies of state directories", &check_namespaces},
};

}  // namespace

std::span<const KernelFeature> kernel_features() {
  return kFeatures;
}

Result<void> check_kernel() {
  for (const KernelFeature& feature : kFeatures) {
    FTRUN_TRY(feature.probe());
  }
  return {};
}

}  // namespace ftrun::process
