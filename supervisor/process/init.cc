// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/init.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eventlog/shared_region.h"

namespace ftrun::process {
namespace {

constexpr long kWord = sizeof(long);
// More than ARG_MAX can hold: a walk that goes on longer is not on a stack that execve made.
constexpr long kStackWordsMax = 1 << 20;

[[noreturn]] void fail(int status_fd, InitStep step, int value, int detail = 0) {
  send_init_message(
      status_fd,
      {.kind = InitMessageKind::kFailed, .step = step, .value = value, .detail = detail});
  _exit(127);
}

bool write_file(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    return false;
  }
  const ssize_t length = static_cast<ssize_t>(strlen(text));
  const bool written = write(fd, text, static_cast<size_t>(length)) == length;
  const int saved = errno;
  close(fd);
  errno = saved;
  return written;
}

bool set_read_only(const char* path, unsigned flags, bool read_only) {
  mount_attr attributes{};
  (read_only ? attributes.attr_set : attributes.attr_clr) = MOUNT_ATTR_RDONLY;
  return syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof attributes) == 0;
}

void mount_state_directories(const InitPlan& plan) {
  for (size_t i = 0; i < plan.mount_count; ++i) {
    const InitMount& entry = plan.mounts[i];
    if (mount(entry.source, entry.target, nullptr, MS_BIND | MS_REC, nullptr) != 0) {
      fail(plan.status_fd, InitStep::kMount, errno, static_cast<int>(i));
    }
  }
  // Everything else becomes read-only: a write that slipped through the shim (a symbolic link that
  // leads out of a state directory) is the kernel's to refuse. ORDER: after the binds, which would
  // inherit it.
  if (!set_read_only("/", AT_RECURSIVE, true)) {
    fail(plan.status_fd, InitStep::kReadOnly, errno);
  }
  for (size_t i = 0; i < plan.mount_count; ++i) {
    if (!set_read_only(plan.mounts[i].target, 0, false)) {
      fail(plan.status_fd, InitStep::kMount, errno, static_cast<int>(i));
    }
  }
}

// What a program reads about itself under /proc must be about the process that getpid() names: a
// /proc of this PID namespace goes over the host's. Where that is forbidden (a container's masked
// /proc, in a user namespace) the host's stays, and the supervisor says so.
void mount_own_proc(const InitPlan& plan) {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount("proc", "/proc", "proc", kFlags, nullptr) != 0) {
    send_init_message(plan.status_fd, {.kind = InitMessageKind::kHostProc, .value = errno});
    return;
  }
  // The kernel's settings stay as they were mounted: read-only beside state directories.
  if (plan.mount_count != 0 && (mount("/proc/sys", "/proc/sys", nullptr, MS_BIND, nullptr) != 0 ||
                                !set_read_only("/proc/sys", 0, true))) {
    fail(plan.status_fd, InitStep::kReadOnly, errno);
  }
}

void enter_namespaces(const InitPlan& plan) {
  if (plan.uid_map != nullptr) {
    // ORDER: setgroups must be denied before an unprivileged process may write gid_map
    // (user_namespaces(7)).
    if (!write_file("/proc/self/uid_map", plan.uid_map) ||
        !write_file("/proc/self/setgroups", "deny") ||
        !write_file("/proc/self/gid_map", plan.gid_map)) {
      fail(plan.status_fd, InitStep::kMapUser, errno);
    }
  }
  // Without state directories what the host mounts later is still seen.
  const unsigned long propagation = plan.mount_count == 0 ? MS_SLAVE : MS_PRIVATE;
  if (mount("none", "/", nullptr, MS_REC | propagation, nullptr) != 0) {
    fail(plan.status_fd, InitStep::kPrivateTree, errno);
  }
  if (plan.mount_count != 0) {
    mount_state_directories(plan);
  }
  // ORDER: last; it stays writable for what processes may write about themselves.
  mount_own_proc(plan);
}

void tie_to_supervisor(const InitPlan& plan) {
  // ORDER: the death signal is armed before the supervisor is looked at; a death in between is seen
  // by one of the two. getppid() does not help: it is 0 in here whoever lives.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
    fail(plan.status_fd, InitStep::kLifeline, errno);
  }
  pollfd supervisor{plan.supervisor_fd, POLLIN, 0};
  if (poll(&supervisor, 1, 0) != 0) {
    _exit(127);
  }
}

void reset_signals() {
  struct sigaction standard;
  memset(&standard, 0, sizeof standard);
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) {
    sigaction(number, &standard, nullptr);  // fails for SIGKILL, SIGSTOP and libc's two: no matter
  }
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
}

// Closes everything but the descriptors of the plan: sockets and links of the supervisor must not
// live on in here. The five are in no particular order.
void close_foreign_descriptors(const InitPlan& plan) {
  int kept[] = {plan.status_fd, plan.supervisor_fd, plan.region_fd, plan.doorbell_fd,
                plan.early_output_fd};
  for (int& value : kept) {
    for (int& other : kept) {
      if (&other > &value && other < value) {
        const int swap = value;
        value = other;
        other = swap;
      }
    }
  }
  unsigned first = 0;
  for (const int fd : kept) {
    if (static_cast<unsigned>(fd) > first) {
      syscall(SYS_close_range, first, static_cast<unsigned>(fd) - 1, 0);
    }
    first = static_cast<unsigned>(fd) + 1;
  }
  syscall(SYS_close_range, first, ~0U, 0);
}

bool peek(pid_t pid, unsigned long address, unsigned long* word) {
  errno = 0;
  *word = static_cast<unsigned long>(ptrace(PTRACE_PEEKDATA, pid, address, nullptr));
  return errno == 0;
}

// Walks argc, argv, envp of a process at its exec stop; leaves `*cursor` at the auxiliary vector.
bool find_auxiliary_vector(pid_t pid, unsigned long* cursor) {
  user_regs_struct registers;
  if (ptrace(PTRACE_GETREGS, pid, nullptr, &registers) != 0) {
    return false;
  }
  unsigned long word = 0;
  if (!peek(pid, registers.rsp, &word) || word > static_cast<unsigned long>(kStackWordsMax)) {
    return false;
  }
  *cursor = registers.rsp + static_cast<unsigned long>(kWord) * (word + 2);  // argc, argv, null
  for (long i = 0; i < kStackWordsMax; ++i) {
    if (!peek(pid, *cursor, &word)) {
      return false;
    }
    *cursor += kWord;
    if (word == 0) {
      return true;
    }
  }
  return false;
}

// Overwrites AT_RANDOM, from which the loader takes stack guard and pointer guard: a constructor
// would come too late for both. Refuses AT_SECURE, and programs without a loader.
void patch_at_exec_stop(const InitPlan& plan, pid_t pid) {
  unsigned long cursor = 0;
  if (!find_auxiliary_vector(pid, &cursor)) {
    fail(plan.status_fd, InitStep::kPatch, errno);
  }
  unsigned long random_address = 0;
  for (long i = 0; i < kStackWordsMax; ++i) {
    unsigned long type = 0;
    unsigned long value = 0;
    if (!peek(pid, cursor, &type) || !peek(pid, cursor + kWord, &value)) {
      fail(plan.status_fd, InitStep::kPatch, errno);
    }
    cursor += 2 * kWord;
    if (type == AT_NULL) {
      break;
    }
    if (type == AT_BASE && value == 0) {
      fail(plan.status_fd, InitStep::kStaticExec, 0);
    }
    if (type == AT_SECURE && value != 0) {
      fail(plan.status_fd, InitStep::kSecureExec, 0);
    }
    random_address = type == AT_RANDOM ? value : random_address;
  }
  unsigned long halves[2];
  static_assert(sizeof halves == sizeof plan.at_random);
  memcpy(halves, plan.at_random, sizeof halves);
  if (random_address == 0 || ptrace(PTRACE_POKEDATA, pid, random_address, halves[0]) != 0 ||
      ptrace(PTRACE_POKEDATA, pid, random_address + kWord, halves[1]) != 0) {
    fail(plan.status_fd, InitStep::kPatch, errno);
  }
}

// Follows the application to its exec stop and lets it go.
void release_at_exec(const InitPlan& plan, pid_t pid) {
  for (;;) {
    int status = 0;
    if (waitpid(pid, &status, __WALL) != pid) {
      if (errno == EINTR) {
        continue;
      }
      fail(plan.status_fd, InitStep::kPatch, errno);
    }
    if (!WIFSTOPPED(status)) {
      // It has said why, unless somebody killed it; the first message counts.
      fail(plan.status_fd, InitStep::kDiedEarly, status);
    }
    if (WSTOPSIG(status) == SIGTRAP) {
      break;
    }
    ptrace(PTRACE_CONT, pid, nullptr, static_cast<long>(WSTOPSIG(status)));
  }
  patch_at_exec_stop(plan, pid);
  // ORDER: "running" is said while the application still stands, so it is the first thing that the
  // supervisor hears of a process that ends at once.
  send_init_message(plan.status_fd, {.kind = InitMessageKind::kRunning});
  if (ptrace(PTRACE_DETACH, pid, nullptr, nullptr) != 0 && errno != ESRCH) {
    fail(plan.status_fd, InitStep::kPatch, errno);
  }
}

// The stop of an application that is traced: it has asked for that (PTRACE_TRACEME) and is about to
// execute another program. False: it is not traced, it was stopped like any other process.
bool follow_exec(const InitPlan& plan, pid_t pid, int signal) {
  user_regs_struct registers;
  if (ptrace(PTRACE_GETREGS, pid, nullptr, &registers) != 0) {
    return false;
  }
  if (signal == SIGTRAP) {
    patch_at_exec_stop(plan, pid);
  } else if (signal != kExecFailedSignal) {
    ptrace(PTRACE_CONT, pid, nullptr, static_cast<long>(signal));
    return true;
  }
  if (ptrace(PTRACE_DETACH, pid, nullptr, nullptr) != 0 && errno != ESRCH) {
    fail(plan.status_fd, InitStep::kPatch, errno);
  }
  return true;
}

[[noreturn]] void report_until_exit(const InitPlan& plan, pid_t application) {
  for (;;) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WUNTRACED | WCONTINUED | __WALL);
    if (pid < 0 && errno != EINTR) {
      fail(plan.status_fd, InitStep::kDiedEarly, 0);  // the application cannot have gone unseen
    }
    if (pid != application) {
      continue;  // an orphan, reaped
    }
    if (WIFSTOPPED(status) && follow_exec(plan, pid, WSTOPSIG(status))) {
      continue;
    }
    InitMessage message{.kind = InitMessageKind::kExited, .value = status};
    if (WIFSTOPPED(status)) {
      message = {.kind = InitMessageKind::kStopped, .value = WSTOPSIG(status)};
    } else if (WIFCONTINUED(status)) {
      message = {.kind = InitMessageKind::kContinued, .value = SIGCONT};
    }
    send_init_message(plan.status_fd, message);
    if (message.kind == InitMessageKind::kExited) {
      _exit(0);  // the kernel ends what is left in the namespace
    }
  }
}

}  // namespace

void send_init_message(int status_fd, const InitMessage& message) {
  while (send(status_fd, &message, sizeof message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

void run_init(const InitPlan& plan) {
  reset_signals();
  close_foreign_descriptors(plan);
  enter_namespaces(plan);
  // ORDER: after the namespaces, because a change of credentials clears the death signal
  // (prctl(2)).
  tie_to_supervisor(plan);
  prctl(PR_SET_NAME, "ftrun-init", 0, 0, 0);
  setsid();
  // The raw call: libc's fork would take locks of a process that this one is a copy of.
  const pid_t child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child < 0) {
    fail(plan.status_fd, InitStep::kFork, errno);
  }
  if (child == 0) {
    become_application(plan);
  }
  close(plan.region_fd);
  close(plan.doorbell_fd);
  close(plan.early_output_fd);
  close(plan.supervisor_fd);
  release_at_exec(plan, child);
  report_until_exit(plan, child);
}

}  // namespace ftrun::process
