// SPDX-License-Identifier: Apache-2.0
// execve and execveat: the process goes on with another program as the same replica. Allowed while
// there is one thread and nothing virtual but the console that would have to go along; else refused
// by name. The kernel carries what it always carries (pid, directory, umask, limits, identity,
// files and their locks); carry.h has the rest.
// Runs in the application on the shim's stack with the token held; no libc.
//
// ORDER: the primary logs the result once it knows it: a failure in the old image, success as the
// first record of the new one. A secondary looks for that record before it does the same, and
// leaves it to its own new image. Both records are in the middle of a turn, so a secondary that has
// reached the end of its log never stands between the two.
//
// ORDER: the TSC trap goes before the exec, which it would outlive; the new loader has no handler.
// Then the init is asked to trace (PTRACE_TRACEME): it overwrites AT_RANDOM at the exec stop as it
// did at the first start (supervisor/process/init.cc). If the exec fails, a signal tells it so.
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <time.h>

#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/dying.h"
#include "preload/exec/carry.h"
#include "preload/exec/program.h"
#include "preload/files/paths.h"
#include "preload/guarded.h"
#include "preload/net/descriptors.h"
#include "preload/net/lock.h"
#include "preload/raw.h"
#include "preload/scheduler.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

struct ExecCall {
  long number;
  int directory_fd;
  const char* path;
  long arguments;
  char* const* environment;
  int flags;
};

// What stands in the way, and the descriptor that does.
struct Finding {
  Obstacle obstacle = Obstacle::kNone;
  int fd = -1;
};

Finding process_obstacle() {
  if (thread_count() != 1) {
    return {Obstacle::kThreads};
  }
  if (self()->tid != static_cast<int>(application_process_id())) {
    return {Obstacle::kNotFirstThread};
  }
  if (edge_lock_of_anybody_exists()) {
    return {Obstacle::kLock};
  }
  for (int fd = 0; fd < kDescriptorsMax; ++fd) {
    const File* file = virtual_file(fd);
    if (file == nullptr || file->ops->type == FileType::kConsole) {
      continue;
    }
    // The edge knows of it, or may: it would have to be closed there, too.
    if (file->ops->type == FileType::kTcp) {
      return {Obstacle::kSocket, fd};
    }
    if (file->ops->type == FileType::kFifo || (net_fcntl(fd, F_GETFD, 0) & FD_CLOEXEC) == 0) {
      return {Obstacle::kInherited, fd};
    }
  }
  return {};
}

const char* reason(Obstacle obstacle) {
  switch (obstacle) {
    case Obstacle::kStatic:
      return "it is statically linked, and nothing can be preloaded into it";
    case Obstacle::kLoader:
      return "its loader is not glibc's ld-linux-x86-64.so.2, and nothing can be preloaded into it";
    case Obstacle::kForeign:
      return "it is not a 64-bit program for x86-64";
    case Obstacle::kPrivileges:
      return "it is setuid or setgid, or has file capabilities: its loader ignores LD_PRELOAD";
    case Obstacle::kUnreadable:
      return "it may be executed, but not read and examined";
    case Obstacle::kThreads:
      return "the process has other threads";
    case Obstacle::kNotFirstThread:
      return "the calling thread is not the process's first";
    case Obstacle::kSocket:
      return "the process has begun to serve: it has a socket, descriptor ";
    case Obstacle::kInherited:
      return "it would inherit a pipe, socket pair, epoll, eventfd or timerfd, or a named pipe is "
             "open: "
             "descriptor ";
    case Obstacle::kLock:
      return "the process holds a lock on a file outside the state directories";
    case Obstacle::kTooMuch:
      return "too many signals wait, or too many state files were seen";
    case Obstacle::kNone:
      break;
  }
  return "";
}

long refuse(const ExecCall& call, Finding finding) {
  const bool privileges = finding.obstacle == Obstacle::kPrivileges;
  Text text;
  text.add("refused: ").add(call_name(call.number)).add("(").add(call.path).add("): ");
  text.add(reason(finding.obstacle));
  if (finding.fd >= 0) {
    text.add(static_cast<int64_t>(finding.fd));
  }
  text.add(privileges ? "; answered EPERM" : "; answered ENOSYS");
  text.add(" (start with ftrun what this one would have started)\n");
  shim_notice(text.c_str());
  return privileges ? -EPERM : -ENOSYS;
}

// A tool that looks at this process may be tracing it just now; it will be done soon.
void be_traced() {
  constexpr int kTries = 3000;
  const struct timespec nap = {0, 1'000'000};
  for (int i = 0; i < kTries; ++i) {
    if (raw(__NR_ptrace, PTRACE_TRACEME, 0, 0, 0) == 0) {
      return;
    }
    raw(__NR_nanosleep, &nap, nullptr);
  }
  shim_fail("the init cannot follow an exec: something else traces this process");
}

// Returns only if the exec fails.
long carry_out(const ExecCall& call, char** environment) {
  Control* control = doors_control();
  control->execs.fetch_add(1, std::memory_order_relaxed);
  raw(__NR_prctl, PR_SET_TSC, PR_TSC_ENABLE);
  be_traced();
  const long result = call.number == __NR_execve
                          ? raw(__NR_execve, call.path, call.arguments, environment)
                          : raw(__NR_execveat, call.directory_fd, call.path, call.arguments,
                                environment, call.flags);
  raw(__NR_tgkill, raw(__NR_getpid), raw(__NR_gettid), kExecFailedSignal);
  raw(__NR_prctl, PR_SET_TSC, PR_TSC_SIGSEGV);
  control->execs.fetch_sub(1, std::memory_order_relaxed);
  return result;
}

// The primary: an obstacle (> 0) or the error.
long try_exec(const ExecCall& call, char** environment) {
  const Obstacle obstacle = program_obstacle(call.directory_fd, call.path, call.flags);
  return obstacle != Obstacle::kNone ? static_cast<long>(obstacle) : carry_out(call, environment);
}

[[noreturn]] void cannot_follow(const ExecCall& call, long result) {
  Text text;
  text.add("this replica could not follow: ").add(call_name(call.number)).add("(").add(call.path);
  text.add(") gave ").add(result).add(" here and succeeded in the primary\n");
  doors_fail(ShimFailure::kDiverged, text.c_str());
}

long exec(const ExecCall& call) {
  die_if_dying();
  if (const Finding finding = process_obstacle(); finding.obstacle != Obstacle::kNone) {
    return refuse(call, finding);
  }
  char** environment = nullptr;
  if (const long error = exec_environment(call.environment, &environment); error != 0) {
    return error;
  }
  const bool decides = doors_decide();  // ORDER: before the doors are saved, who may go live here
  if (!carry_save(call.number)) {
    return refuse(call, {Obstacle::kTooMuch});
  }
  long result = 0;
  if (decides) {
    result = doors_log_choice(call.number, try_exec(call, environment), nullptr, 0);
  } else {
    result = doors_peek_choice(call.number);
    if (result == 0) {
      cannot_follow(call, carry_out(call, environment));
    }
    doors_replay_choice(call.number, nullptr, 0);
  }
  return result > 0 ? refuse(call, {static_cast<Obstacle>(result)}) : result;
}

}  // namespace

long do_execve(long number, const long* a) {
  const long arguments[6] = {AT_FDCWD, a[0], a[1], a[2], 0};
  return do_execveat(number, arguments);
}

long do_execveat(long number, const long* a) {
  char path[kPathBytesMax];
  const int directory_fd = static_cast<int>(a[0]);
  const long length = string_in(path, reinterpret_cast<const char*>(a[1]), sizeof(path));
  if (length < 0 || length == static_cast<long>(sizeof(path))) {
    return length < 0 ? length : -ENAMETOOLONG;
  }
  if (directory_fd != AT_FDCWD && path[0] != '/' && fd_kind(directory_fd) != FdKind::kNative) {
    return fd_kind(directory_fd) == FdKind::kFree ? -EBADF : path[0] == '\0' ? -EACCES : -ENOTDIR;
  }
  return exec({number, directory_fd, path, a[2], reinterpret_cast<char* const*>(a[3]),
               static_cast<int>(a[4])});
}

}  // namespace ftrun::shim
