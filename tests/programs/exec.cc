// SPDX-License-Identifier: Apache-2.0
// An ordinary program that executes others in its own process, itself among them, and looks at what
// went along: exec SCRIPT. Prints only what is the same in every run.
//   exec chain N PROGRAM [ARGUMENTS]   executes itself N times, then the program
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <string>

namespace {

std::string own_path() {
  char path[4096] = {};
  const ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
  return std::string(path, n > 0 ? static_cast<size_t>(n) : 0);
}

void tried(const char* what, long result) {
  printf("%s: %ld %s\n", what, result, strerror(errno));
}

// Each must leave the program as it was.
void failing_execs() {
  char* const arguments[] = {const_cast<char*>("nobody"), nullptr};
  char* const none[] = {nullptr};
  tried("missing", execve("/nowhere/program", arguments, none));
  tried("not executable", execve("/etc/passwd", arguments, none));
  tried("a directory", execve("/usr", arguments, none));
  tried("below a file", execve("/etc/passwd/program", arguments, none));
  tried("no name", execve("", arguments, none));
  tried("not found", execvp("no-such-program-anywhere", arguments));
  static char large[256 * 1024];
  memset(large, 'x', sizeof(large) - 1);
  char* const too_much[] = {large, nullptr};
  tried("too large", execve("/bin/true", too_much, none));
  tried("no descriptor", syscall(SYS_execveat, 777, "", arguments, none, AT_EMPTY_PATH));
  tried("unknown flags", syscall(SYS_execveat, AT_FDCWD, "/bin/true", arguments, none, 0x40000000));
}

void say_descriptors() {
  for (int fd = 0; fd < 24; ++fd) {
    const int flags = fcntl(fd, F_GETFD);
    if (flags >= 0) {
      struct stat about = {};
      fstat(fd, &about);
      const long at = S_ISREG(about.st_mode) ? lseek(fd, 0, SEEK_CUR) : 0;
      printf("descriptor %d: close-on-exec %d, at %ld, pipe %d\n", fd, flags, at,
             S_ISFIFO(about.st_mode));
    }
  }
}

void say_signals() {
  struct sigaction action;
  sigset_t set;
  for (const int number : {SIGPIPE, SIGUSR1, SIGHUP, SIGCHLD}) {
    sigaction(number, nullptr, &action);
    printf("signal %d: ignored %d, default %d\n", number, action.sa_handler == SIG_IGN,
           action.sa_handler == SIG_DFL);
  }
  sigprocmask(SIG_BLOCK, nullptr, &set);
  printf("blocked: USR2 %d, TERM %d, RT %d\n", sigismember(&set, SIGUSR2),
         sigismember(&set, SIGTERM), sigismember(&set, SIGRTMIN + 1));
  sigpending(&set);
  printf("pending: USR2 %d, HUP %d, RT %d\n", sigismember(&set, SIGUSR2), sigismember(&set, SIGHUP),
         sigismember(&set, SIGRTMIN + 1));
}

void say_process(const char* pid) {
  char directory[4096];
  char name[17] = {};
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  prctl(PR_GET_NAME, name);
  const mode_t mask = umask(0);
  umask(mask);
  printf("same pid %d, directory %s, umask %o, descriptors %lu, name %s\n", atoi(pid) == getpid(),
         getcwd(directory, sizeof(directory)), mask, static_cast<unsigned long>(limit.rlim_cur),
         name);
}

void say_words(char** argv) {
  for (char** word = argv; *word != nullptr; ++word) {
    const bool is_number = strspn(*word, "0123456789") == strlen(*word);
    printf("%s%s", word == argv ? "arguments: " : ", ",
           is_number                       ? "(a number)"
           : strchr(*word, '/') != nullptr ? "(a path)"
                                           : *word);
  }
  printf("\nenvironment: MARK=%s HOME=%s\n", getenv("MARK"), getenv("HOME") ? "set" : "unset");
}

void say_clock(const char* before) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const long long ns = now.tv_sec * 1'000'000'000LL + now.tv_nsec;
  printf("the clock went on: %d, alarm is set: %d, tsc: %d\n", ns > atoll(before), alarm(0) > 0,
         __builtin_ia32_rdtsc() != 0);
}

std::string clock_now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::to_string(now.tv_sec * 1'000'000'000LL + now.tv_nsec);
}

void* thread_main(void* argument) {
  const timespec nap = {0, 1'000'000};
  nanosleep(&nap, nullptr);
  *static_cast<long*>(argument) = syscall(SYS_gettid);
  return nullptr;
}

void threads() {
  pthread_t threads[4];
  long tids[4] = {};
  for (int i = 0; i < 4; ++i) {
    pthread_create(&threads[i], nullptr, &thread_main, &tids[i]);
  }
  bool all = true;
  for (int i = 0; i < 4; ++i) {
    pthread_join(threads[i], nullptr);
    all = all && tids[i] != 0;
  }
  printf("threads ran: %d\n", all);
}

void prepare() {
  umask(027);
  (void)!chdir("/usr");
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(SIGUSR1, [](int) {});
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  sigaddset(&blocked, SIGRTMIN + 1);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  raise(SIGUSR2);
  sigval value;
  value.sival_int = 41;
  sigqueue(getpid(), SIGRTMIN + 1, value);
  value.sival_int = 42;
  sigqueue(getpid(), SIGRTMIN + 1, value);
  alarm(1000);
  prctl(PR_SET_NAME, "another name");
  const int file = open("/usr/include/stdio.h", O_RDONLY);
  char bytes[100];
  (void)!read(file, bytes, sizeof(bytes));
  dup(file);
  (void)open("/usr/include/stdlib.h", O_RDONLY | O_CLOEXEC);
  fcntl(open("/usr/include/string.h", O_RDONLY), F_SETFD, FD_CLOEXEC);
  dup(1);
  fcntl(1, F_DUPFD_CLOEXEC, 0);
  (void)epoll_create1(EPOLL_CLOEXEC);
  int ends[2];
  (void)!pipe2(ends, O_CLOEXEC);
  const rlimit few = {100, 100};  // fewer than the number at which ftrun keeps its own
  setrlimit(RLIMIT_NOFILE, &few);
}

void queued_signal() {
  sigset_t set;
  siginfo_t info;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  for (int i = 0; i < 2; ++i) {
    sigwaitinfo(&set, &info);
    printf("queued signal: %d\n", info.si_value.sival_int);
  }
}

[[noreturn]] void run(const std::string& path, std::initializer_list<std::string> arguments,
                      bool by_descriptor) {
  fflush(stdout);
  char* pointers[16] = {};
  size_t count = 0;
  for (const std::string& argument : arguments) {
    pointers[count++] = const_cast<char*>(argument.c_str());
  }
  // No LD_PRELOAD: what is preloaded must not depend on what is passed on.
  char* const environment[] = {const_cast<char*>("MARK=one"),
                               const_cast<char*>("PATH=/usr/bin:/bin"), nullptr};
  if (by_descriptor) {
    fexecve(open(path.c_str(), O_PATH | O_CLOEXEC), pointers, environment);
  } else {
    execve(path.c_str(), pointers, environment);
  }
  perror("exec");
  exit(9);
}

void look(char** argv, const char* pid, const char* clock) {
  say_words(argv);
  say_process(pid);
  say_signals();
  say_descriptors();
  say_clock(clock);
  queued_signal();
  threads();
}

int chain(int argc, char** argv) {
  const int left = atoi(argv[2]);
  const std::string next = std::to_string(left - 1);
  if (argc < 4) {
    return 2;
  }
  if (left > 0) {
    argv[2] = const_cast<char*>(next.c_str());
    execv("/proc/self/exe", argv);
  } else {
    execvp(argv[3], argv + 3);
  }
  perror("exec");
  return 9;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2 && strcmp(argv[1], "chain") == 0) {
    return chain(argc, argv);
  }
  if (argc == 2) {  // the first image
    failing_execs();
    prepare();
    say_descriptors();
    run(own_path(), {"second", std::to_string(getpid()), clock_now(), argv[1]}, false);
  }
  if (argc == 4) {
    look(argv, argv[1], argv[2]);
    // A script, whose interpreter is found by env; it executes this program again.
    run(argv[3], {"third", own_path(), argv[1], "last"}, false);
  }
  say_process(argv[1]);
  say_words(argv);
  if (argc == 3) {
    run(own_path(), {"fourth", argv[1], "a", "b", "c"}, true);
  }
  return 0;
}
