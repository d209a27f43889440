// SPDX-License-Identifier: Apache-2.0
// See call_wall.h. The supervisor builds and probes; raise_call_wall() runs in a copy of its
// process (init.h says what may be called there).
#include "supervisor/process/call_wall.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

#include "supervisor/process/launch.h"

namespace ftrun::process {
namespace {

using Context = std::unique_ptr<void, decltype(&seccomp_release)>;

// A negative errno, or 0.
int add_rules(scmp_filter_ctx context) {
  constexpr uint32_t kRefused = SCMP_ACT_ERRNO(EPERM);
  int error = 0;
  for (const int number : kWalledCalls) {
    error = error != 0 ? error : seccomp_rule_add_exact(context, kRefused, number, 0);
  }
  const scmp_arg_cmp not_traceme = SCMP_A0_64(SCMP_CMP_NE, PTRACE_TRACEME);
  error =
      error != 0 ? error : seccomp_rule_add_exact(context, kRefused, SYS_ptrace, 1, not_traceme);
  for (const uint64_t flag : {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWUTS,
                              CLONE_NEWIPC, CLONE_NEWCGROUP}) {
    const scmp_arg_cmp has_flag = SCMP_A0_64(SCMP_CMP_MASKED_EQ, flag, flag);
    error = error != 0 ? error : seccomp_rule_add_exact(context, kRefused, SYS_clone, 1, has_flag);
  }
  return error;
}

Result<std::vector<sock_filter>> export_rules(scmp_filter_ctx context) {
  const Descriptor file(memfd_create("ftrun-filter", MFD_CLOEXEC));
  const int error = file.valid() ? seccomp_export_bpf(context, file.get()) : -errno;
  struct stat info {};
  if (error != 0 || fstat(file.get(), &info) != 0) {
    return system_error("exporting the filter of system calls", error != 0 ? -error : errno);
  }
  std::vector<sock_filter> program(static_cast<size_t>(info.st_size) / sizeof(sock_filter));
  const auto bytes = static_cast<ssize_t>(program.size() * sizeof(sock_filter));
  if (pread(file.get(), program.data(), static_cast<size_t>(bytes), 0) != bytes) {
    return system_error("reading the filter of system calls", errno);
  }
  return program;
}

}  // namespace

Result<std::vector<sock_filter>> build_call_wall() {
  const Context context(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release);
  if (context == nullptr) {
    return Error{"libseccomp cannot make a filter of system calls"};
  }
  // Calls of other ABIs are the shim's to refuse; a binary tree, as there are many rules.
  int error = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
  error = error != 0 ? error : seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  error = error != 0 ? error : add_rules(context.get());
  return error == 0 ? export_rules(context.get())
                    : system_error("a rule for the filter of system calls", -error);
}

int raise_call_wall(const sock_fprog& wall) {
  // SPEC_ALLOW: it is no sandbox, and mitigations would cost the program more than the filter.
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &wall) == 0
             ? 0
             : errno;
}

Result<void> probe_call_wall() {
  auto program = build_call_wall();
  FTRUN_TRY(program);
  const sock_fprog wall{static_cast<unsigned short>(program->size()), program->data()};
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);  // in place of the capability that an init has
    _exit(raise_call_wall(wall));
  }
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  const int error = pid < 0 ? errno : WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
  return error == 0 ? Result<void>() : fork_error("a filter of system calls", error);
}

}  // namespace ftrun::process
