// SPDX-License-Identifier: Apache-2.0
// The application of the launch tests: an ordinary dynamic program that writes down what it finds
// itself in, or behaves as its first argument says. Its second argument is the file it writes.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "eventlog/shared_region.h"
#include "supervisor/process/call_wall.h"

extern char** environ;

namespace {

void print_descriptors(FILE* out) {
  std::fprintf(out, "descriptors");
  DIR* directory = opendir("/proc/self/fd");
  bool open[70000] = {};
  while (const dirent* entry = readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] != '.' && fd != dirfd(directory) && fd != fileno(out)) {
      open[fd] = true;
    }
  }
  closedir(directory);
  for (int fd = 0; fd < 70000; ++fd) {
    if (open[fd]) {
      std::fprintf(out, " %d", fd);
    }
  }
  std::fprintf(out, "\n");
}

void print_signals(FILE* out) {
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  int blocked = 0;
  int changed = 0;
  for (int number = 1; number < 65; ++number) {
    blocked += sigismember(&mask, number) == 1;
    struct sigaction action {};
    changed += sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_DFL;
  }
  std::fprintf(out, "signals blocked %d changed %d\n", blocked, changed);
}

int report(const char* path) {
  FILE* out = std::fopen(path, "we");
  std::fprintf(out, "pid %d ppid %d sid %d\n", getpid(), getppid(), getsid(0));
  print_descriptors(out);
  print_signals(out);
  std::fprintf(out, "random ");
  const auto* bytes = reinterpret_cast<const unsigned char*>(getauxval(AT_RANDOM));
  for (int i = 0; i < 16; ++i) {
    std::fprintf(out, "%02x", bytes[i]);
  }
  unsigned long guard = 0;
  asm("mov %%fs:0x28, %0" : "=r"(guard));
  std::fprintf(out, "\nguard %lx\n", guard);
  std::fprintf(out, "stack %p code %p\n", static_cast<void*>(&guard),
               reinterpret_cast<void*>(&report));
  std::fprintf(out, "personality %x\n", static_cast<unsigned>(personality(0xffffffff)));
  std::fprintf(out, "uid %u %u gid %u %u\n", getuid(), geteuid(), getgid(), getegid());
  const mode_t mask = umask(0);
  char directory[4096];
  std::fprintf(out, "umask %o cwd %s\n", mask, getcwd(directory, sizeof directory));
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  std::fprintf(out, "nofile %lu %lu\n", limit.rlim_cur, limit.rlim_max);
  std::fprintf(out, "seccomp %d\n", prctl(PR_GET_SECCOMP));
  std::fprintf(out, "preloaded %d\n", dlsym(RTLD_DEFAULT, "ftrun_stub_preloaded") != nullptr);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::fprintf(out, "env %s\n", *entry);
  }
  std::fclose(out);
  return 7;
}

// Makes calls that the second wall refuses, and some like them that it lets through, with arguments
// that do nothing. Their errnos go into the file.
int walled(const char* path) {
  FILE* out = std::fopen(path, "we");
  const auto call = [out](const char* name, long number, long a = -1, long b = -1, long c = -1) {
    errno = 0;
    const long result = syscall(number, a, b, c, -1, -1, -1);
    std::fprintf(out, "%s %s\n", name, result >= 0 ? "done" : strerrorname_np(errno));
  };
  for (const int number : ftrun::process::kWalledCalls) {
    call(("walled " + std::to_string(number)).c_str(), number);
  }
  call("ptrace", SYS_ptrace, PTRACE_ATTACH, 0);
  call("traceme", SYS_ptrace, PTRACE_TRACEME, 0);
  call("user", SYS_clone, CLONE_NEWUSER | CLONE_VM, 0, 0);
  call("readv", SYS_process_vm_readv, 0, 0, 0);
  std::fclose(out);
  return 0;
}

// The parent ends at once; its child must not be taken for the application.
int orphan(const char* path) {
  if (fork() == 0) {
    if (fork() == 0) {
      while (getppid() != 1) {
      }
      FILE* out = std::fopen(path, "we");
      std::fprintf(out, "orphan of %d\n", getppid());
      std::fclose(out);
    }
    _exit(0);
  }
  for (;;) {  // the orphan's file says that it was adopted
    struct stat info {};
    if (stat(path, &info) == 0 && info.st_size > 0) {
      wait(nullptr);
      return 3;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "report") {
    return report(argv[2]);
  }
  if (mode == "again") {  // again FILE: report from the image of another exec
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execl("/proc/self/exe", "probe", "report", argv[2], nullptr);
  }
  if (mode == "execute") {  // execute PROGRAM; if that fails it goes on, and ends with 8
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execl(argv[2], argv[2], nullptr);
    raise(ftrun::kExecFailedSignal);
    raise(SIGCONT);  // does nothing, unless this process is still traced
    return 8;
  }
  if (mode == "walled") {
    return walled(argv[2]);
  }
  if (mode == "abort") {
    std::abort();
  }
  if (mode == "orphan") {
    return orphan(argv[2]);
  }
  if (mode == "terminate") {
    raise(SIGTERM);
    return 1;
  }
  if (mode == "wait") {
    for (;;) {
      pause();
    }
  }
  if (mode == "append") {  // append FILE TEXT: one line at the end of FILE
    FILE* out = std::fopen(argv[2], "ae");
    return out != nullptr && std::fprintf(out, "%s\n", argv[3]) > 0 && std::fclose(out) == 0 ? 0
                                                                                             : 1;
  }
  return 99;
}
