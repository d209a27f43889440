// SPDX-License-Identifier: Apache-2.0
// An ordinary program that gives calls their flags, known and unknown ones, and looks at all that
// they write beside what they return. By number where the C library would decide itself. Prints
// only what is the same in each run.
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

namespace {

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}
// For results that differ from run to run.
void says(const char* what, long result) {
  printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
}

// Memory that a call writes into, with a pattern around and under it.
struct Frame {
  unsigned char bytes[4096];
  Frame() { memset(bytes, 0xa5, sizeof(bytes)); }
  void* at() { return bytes + 512; }
  // How far from its start the memory has been written.
  long written() const {
    long last = 0;
    for (long i = 0; i < 3584; ++i) {
      last = bytes[512 + i] != 0xa5 ? i + 1 : last;
    }
    return last;
  }
};

constexpr unsigned kCloseOnExec = 4;  // CLOSE_RANGE_CLOEXEC
constexpr unsigned kUnshare = 2;      // CLOSE_RANGE_UNSHARE

void ranges() {
  int fds[5];
  fds[0] = socket(AF_INET, SOCK_STREAM, 0);
  (void)!pipe(fds + 1);
  fds[3] = open("/usr/include/stdio.h", O_RDONLY);
  fds[4] = eventfd(0, 0);
  const int spare = 50;
  dup2(fds[3], spare);
  say("close_range marks", syscall(SYS_close_range, fds[0], 49, kCloseOnExec));
  for (const int fd : fds) {
    printf("%d ", fcntl(fd, F_GETFD));
  }
  printf("and %d\n", fcntl(spare, F_GETFD));
  say("both flags", syscall(SYS_close_range, spare, spare, kCloseOnExec | kUnshare));
  printf("marked %d\n", fcntl(spare, F_GETFD));
  say("unknown flag", syscall(SYS_close_range, fds[0], 49, 8));
  say("backwards", syscall(SYS_close_range, 9, 8, 0));
  say("unshared", syscall(SYS_close_range, fds[0], fds[2], kUnshare));
  for (const int fd : fds) {
    printf("%d ", fcntl(fd, F_GETFD));
  }
  say("and the rest", syscall(SYS_close_range, 3, ~0U, 0));
}

void duplicates() {
  int p[2];
  (void)!pipe2(p, O_CLOEXEC);
  say("dup3, unknown flag", syscall(SYS_dup3, p[0], 60, O_NONBLOCK));
  say("dup3, nothing onto itself", syscall(SYS_dup3, 700, 700, 0));
  say("dup3, too high", syscall(SYS_dup3, p[0], -1, 0));
  say("dup3", syscall(SYS_dup3, p[0], 60, O_CLOEXEC));
  say("flag", fcntl(60, F_GETFD));
  say("dup2", dup2(p[0], 60));
  say("flag", fcntl(60, F_GETFD));
  const int file = open("/usr/include/stdio.h", O_RDONLY | O_CLOEXEC);
  say("dup3 of a file", syscall(SYS_dup3, file, 60, O_CLOEXEC));
  say("flag", fcntl(60, F_GETFD));
  say("dup3 of a file, unknown flag", syscall(SYS_dup3, file, 60, 1));
  say("owner", fcntl(file, F_GETOWN));
  say("signal", fcntl(file, F_GETSIG));
  say("lease", fcntl(file, F_GETLEASE) == F_UNLCK);
  say("not a pipe", fcntl(file, F_GETPIPE_SZ));
  say("not a pipe", fcntl(file, F_SETPIPE_SZ, 4096));
  say("least number", fcntl(file, F_DUPFD, 70));
  say("least number, marked", fcntl(file, F_DUPFD_CLOEXEC, 70));
  printf("flags %d %d\n", fcntl(70, F_GETFD), fcntl(71, F_GETFD));
  say("negative number", fcntl(file, F_DUPFD, -1));
  say("negative number", fcntl(p[0], F_DUPFD, -1));
  int on = 1;
  say("does not wait", ioctl(file, FIONBIO, &on));
  printf("flag %d\n", (fcntl(file, F_GETFL) & O_NONBLOCK) != 0);
  syscall(SYS_close_range, 3, ~0U, 0);
}

void pipes() {
  int p[2];
  say("unknown flag", pipe2(p, O_APPEND));
  say("packets", pipe2(p, O_DIRECT | O_NONBLOCK));
  (void)!write(p[1], "one", 3);
  (void)!write(p[1], "three", 5);
  char in[16];
  say("first", read(p[0], in, sizeof(in)));
  say("second, cut", read(p[0], in, 2));
  say("the rest is gone", read(p[0], in, 2));
  close(p[0]);
  close(p[1]);
  (void)!pipe(p);
  say("capacity", fcntl(p[0], F_GETPIPE_SZ));
  say("smaller", fcntl(p[1], F_SETPIPE_SZ, 5000));
  say("smallest", fcntl(p[1], F_SETPIPE_SZ, 0));
  say("is", fcntl(p[0], F_GETPIPE_SZ));
  say("odd", fcntl(p[0], F_SETPIPE_SZ, 100'000));
  char much[40'000] = {};
  (void)!write(p[1], much, sizeof(much));
  say("in use", fcntl(p[0], F_SETPIPE_SZ, 4096));
  say("more than others have", fcntl(p[0], F_SETPIPE_SZ, 1 << 21));
  say("too much", fcntl(p[0], F_SETPIPE_SZ, 0x80000001u));
  say("is", fcntl(p[0], F_GETPIPE_SZ));
  close(p[0]);
  close(p[1]);
}

void unknown_flags() {
  int s[2];
  say("eventfd", eventfd(0, 0x100));
  say("timerfd_create", timerfd_create(CLOCK_MONOTONIC, 0x100));
  say("timerfd_create, clock", timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
  say("epoll_create1", epoll_create1(1));
  say("socket", socket(AF_INET, SOCK_STREAM | 0x100, 0));
  say("socketpair", socketpair(AF_UNIX, SOCK_STREAM | 0x100, 0, s));
  (void)!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s);
  say("accept4", accept4(s[0], nullptr, nullptr, 0x100));
  epoll_event event = {};
  sigset_t none;
  sigemptyset(&none);
  const int poller = epoll_create1(0);
  say("epoll_pwait, size", syscall(SYS_epoll_pwait, poller, &event, 1, 0, &none, 4));
  say("epoll_pwait2, size", syscall(SYS_epoll_pwait2, poller, &event, 1, nullptr, &none, 4));
  say("epoll_pwait, no mask", syscall(SYS_epoll_pwait, poller, &event, 1, 0, nullptr, 4));
  say("ppoll, size", syscall(SYS_ppoll, nullptr, 0, nullptr, &none, 4));
  const struct {
    const sigset_t* set;
    size_t size;
  } mask = {&none, 4};
  say("pselect6, size", syscall(SYS_pselect6, 0, nullptr, nullptr, nullptr, nullptr, &mask));
  say("sigprocmask, size", syscall(SYS_rt_sigprocmask, SIG_BLOCK, &none, nullptr, 4));
  say("sigprocmask, how", syscall(SYS_rt_sigprocmask, 9, &none, nullptr, 8));
  say("sigaction, size", syscall(SYS_rt_sigaction, SIGUSR1, nullptr, nullptr, 4));
  say("sigsuspend, size", syscall(SYS_rt_sigsuspend, &none, 4));
  say("sigtimedwait, size", syscall(SYS_rt_sigtimedwait, &none, nullptr, nullptr, 4));
  say("kill, own group", kill(-getpgrp(), 0));
  say("kill, no such group", kill(-12345, 0));
  say("tgkill, no thread", syscall(SYS_tgkill, getpid(), 0, 0));
  say("tgkill, no group", syscall(SYS_tgkill, 0, gettid(), 0));
  say("tkill, no thread", syscall(SYS_tkill, -1, 0));
  say("tgkill", syscall(SYS_tgkill, getpid(), gettid(), 0));
  say("tgkill, no signal", syscall(SYS_tgkill, getpid(), gettid(), 65));
  say("robust list, size", syscall(SYS_set_robust_list, nullptr, 23));
  say("wait4", syscall(SYS_wait4, -1, nullptr, 0x100, nullptr));
  say("wait4, nobody", syscall(SYS_wait4, -1, nullptr, WNOHANG, nullptr));
  say("waitid, for nothing", syscall(SYS_waitid, P_ALL, 0, nullptr, WNOHANG, nullptr));
  say("waitid, nobody", syscall(SYS_waitid, P_ALL, 0, nullptr, WEXITED, nullptr));
  say("mmap", reinterpret_cast<long>(mmap(nullptr, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0)));
  say("mremap", syscall(SYS_mremap, nullptr, 4096, 4096, 0x100));
  say("madvise", madvise(&s, 0, 12345));
  say("msync", msync(nullptr, 0, 0x100));
  uint32_t word = 0;
  say("futex, unknown", syscall(SYS_futex, &word, 99, 0, nullptr, nullptr, 0));
  say("futex, not aligned",
      syscall(SYS_futex, reinterpret_cast<char*>(&word) + 1, FUTEX_WAKE, 1, nullptr, nullptr, 0));
  say("futex, no bits", syscall(SYS_futex, &word, FUTEX_WAKE_BITSET, 1, nullptr, nullptr, 0));
  say("futex, requeue less than none", syscall(SYS_futex, &word, FUTEX_REQUEUE, 1, -1, &word, 0));
  say("futex, unknown comparison",
      syscall(SYS_futex, &word, FUTEX_WAKE_OP, 1, 1, &word, FUTEX_OP(0, 1, 9, 0)));
  say("clone", syscall(SYS_clone, CLONE_THREAD, nullptr, nullptr, nullptr, nullptr));
  say("death signal", prctl(PR_SET_PDEATHSIG, 99));
  syscall(SYS_close_range, 3, ~0U, 0);
}

// Descriptors that are no files where calls take a directory or a file.
void no_files() {
  int p[2];
  (void)!pipe(p);
  struct stat st;
  say("openat", openat(p[0], "etc/passwd", O_RDONLY));
  say("openat, absolute", openat(p[0], "/", O_RDONLY | O_DIRECTORY) >= 0);
  say("fstatat", fstatat(p[0], "etc", &st, 0));
  say("fchdir", fchdir(p[0]));
  say("faccessat", faccessat(p[0], "etc", F_OK, 0));
  say("ftruncate", ftruncate(p[1], 0));
  say("fsync", fsync(p[1]));
  syscall(SYS_close_range, 3, ~0U, 0);
}

// What is written beside the result, and how much of it.
void capabilities() {
  __user_cap_header_struct header = {0, 0};
  __user_cap_data_struct data[2];
  say("which version", syscall(SYS_capget, &header, nullptr));
  printf("%x\n", header.version);
  header.version = 7;
  say("which version, with data", syscall(SYS_capget, &header, data));
  printf("%x\n", header.version);
  for (const unsigned version : {0x19980330u, 0x20071026u, 0x20080522u}) {
    Frame frame;
    header = {version, 0};
    say("capget", syscall(SYS_capget, &header, frame.at()));
    printf("%x, %ld bytes\n", header.version, frame.written());
  }
  header = {0x20080522, 0};
  say("capget, only the header", syscall(SYS_capget, &header, nullptr));
  header.pid = -1;
  say("capget, whose", syscall(SYS_capget, &header, data));
  header.pid = 12345;
  say("capget, of nobody", syscall(SYS_capget, &header, data));
}

void scheduling() {
  Frame affinity;
  const long bytes = syscall(SYS_sched_getaffinity, 0, 2048, affinity.at());
  printf("affinity fits: %d\n", bytes >= affinity.written());
  say("affinity, odd size", syscall(SYS_sched_getaffinity, 0, 7, affinity.at()));
  say("affinity of nobody", syscall(SYS_sched_getaffinity, 12345, 128, affinity.at()));
  for (const unsigned size : {48u, 56u, 100u}) {
    Frame frame;
    say("sched_getattr", syscall(SYS_sched_getattr, 0, frame.at(), size, 0));
    uint32_t told = 0;
    memcpy(&told, frame.at(), sizeof(told));
    printf("%u of %u, %ld bytes\n", told, size, frame.written());
  }
  Frame frame;
  say("sched_getattr, small", syscall(SYS_sched_getattr, 0, frame.at(), 47, 0));
  say("sched_getattr, flag", syscall(SYS_sched_getattr, 0, frame.at(), 48, 1));
  say("sched_getattr, nowhere", syscall(SYS_sched_getattr, 0, nullptr, 48, 0));
  say("sched_setattr, nothing", syscall(SYS_sched_setattr, 0, nullptr, 0));
  Frame parameter;
  say("sched_getparam", syscall(SYS_sched_getparam, 0, parameter.at()));
  say("bytes", parameter.written());
  say("sched_getparam, nowhere", syscall(SYS_sched_getparam, 0, nullptr));
  Frame interval;
  say("sched_rr_get_interval", syscall(SYS_sched_rr_get_interval, 0, interval.at()));
  say("bytes", interval.written());
  say("sched_getscheduler", sched_getscheduler(0));
  say("getpriority", syscall(SYS_getpriority, PRIO_PROCESS, 0));
  say("getpriority, of what", syscall(SYS_getpriority, 9, 0));
  says("ioprio_get", syscall(SYS_ioprio_get, 1, 0));
  Frame cpu;
  auto* words = static_cast<unsigned*>(cpu.at());
  say("getcpu", syscall(SYS_getcpu, words, words + 2, nullptr));
  say("bytes", cpu.written());
}

void facts() {
  Frame frame;
  struct rlimit limit = {};
  getrlimit(RLIMIT_CORE, &limit);
  const struct rlimit none = {0, limit.rlim_max};
  struct rlimit old = {1, 1};
  say("prlimit", prlimit(0, RLIMIT_CORE, &none, &old));
  printf("old %d\n", old.rlim_cur == limit.rlim_cur && old.rlim_max == limit.rlim_max);
  say("prlimit", prlimit(0, RLIMIT_CORE, nullptr, &old));
  printf("new %d\n", old.rlim_cur == 0 && old.rlim_max == limit.rlim_max);
  say("prlimit, of what", prlimit(0, static_cast<__rlimit_resource>(99), nullptr, &old));
  say("sysinfo", syscall(SYS_sysinfo, frame.at()));
  Frame name;
  say("uname", syscall(SYS_uname, name.at()));
  Frame usage;
  say("getrusage", syscall(SYS_getrusage, RUSAGE_SELF, usage.at()));
  says("times of nobody", times(nullptr));
  int death = -1;
  say("death signal", prctl(PR_SET_PDEATHSIG, SIGUSR1));
  say("read back", prctl(PR_GET_PDEATHSIG, &death) != 0 || death != SIGUSR1);
  int counter = -1;
  say("time stamps", prctl(PR_GET_TSC, &counter));
  printf("%d, seccomp %d\n", counter, prctl(PR_GET_SECCOMP));
  char comm[16] = {};
  say("name", prctl(PR_GET_NAME, comm));
  void* head = nullptr;
  size_t length = 0;
  say("robust list", syscall(SYS_get_robust_list, 0, &head, &length));
  printf("%d %zu\n", head != nullptr, length);
}

// What other threads must see at once: with one running at a time, they do.
void barriers() {
  const long known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  printf("barriers: %lx\n", static_cast<unsigned long>(known));
  say("not registered", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
  say("registered", syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
  say("barrier", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
  say("flag", syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 8, 0));
  say("no such command", syscall(SYS_membarrier, 1 << 20, 0, 0));
}

// Options of the process: those that every Linux has, and none.
void process_options() {
  for (const int option : {PR_GET_DUMPABLE, PR_GET_KEEPCAPS, PR_GET_TIMING, PR_GET_TIMERSLACK,
                           PR_GET_NO_NEW_PRIVS, PR_GET_CHILD_SUBREAPER, PR_MCE_KILL_GET,
                           PR_TASK_PERF_EVENTS_DISABLE, PR_GET_THP_DISABLE, PR_GET_FPEXC, 12345}) {
    int value = 0;
    printf("prctl %d", option);
    says("", option == PR_GET_CHILD_SUBREAPER ? prctl(option, &value) : prctl(option, 0, 0, 0, 0));
  }
  say("another way of timing", prctl(PR_SET_TIMING, 1, 0, 0, 0));
  int* address = nullptr;
  say("thread's word", prctl(PR_GET_TID_ADDRESS, &address));
  printf("there: %d\n", address != nullptr && *address == gettid());
}

void messages() {
  int s[2];
  (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  (void)!write(s[0], "abcdefgh", 8);
  char in[16] = {};
  iovec iov[2] = {{in, 1}, {in + 1, 2}};
  msghdr message = {};
  message.msg_iov = iov;
  message.msg_iovlen = 2;
  message.msg_namelen = 7;
  message.msg_controllen = 0;
  message.msg_flags = -1;
  say("recvmsg", recvmsg(s[1], &message, MSG_CMSG_CLOEXEC));
  printf("name %u, control %zu, flags %x\n", message.msg_namelen, message.msg_controllen,
         message.msg_flags);
  sockaddr_storage name = {};
  message.msg_name = &name;
  message.msg_namelen = sizeof(name);
  say("recvmsg", recvmsg(s[1], &message, 0));
  printf("name %u, flags %x\n", message.msg_namelen, message.msg_flags);
  socklen_t length = 5;
  say("recvfrom", recvfrom(s[1], in, 1, 0, nullptr, &length));
  printf("length %u\n", length);
  say("recvfrom", recvfrom(s[1], in, 1, 0, reinterpret_cast<sockaddr*>(&name), &length));
  printf("length %u\n", length);
  int type = -1;
  length = 2;
  say("getsockopt, short", getsockopt(s[0], SOL_SOCKET, SO_TYPE, &type, &length));
  printf("length %u\n", length);
  length = 64;
  say("getsockopt, long", getsockopt(s[0], SOL_SOCKET, SO_TYPE, &type, &length));
  printf("length %u, type %d\n", length, type);
  close(s[0]);
  close(s[1]);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  Frame frame;
  length = 6;
  say("getsockname, short", getsockname(listener, static_cast<sockaddr*>(frame.at()), &length));
  printf("length %u, %ld bytes\n", length, frame.written());
  length = static_cast<socklen_t>(-1);
  say("getsockname, negative", getsockname(listener, static_cast<sockaddr*>(frame.at()), &length));
  close(listener);
}

siginfo_t queued;
void signals_with_values() {
  struct sigaction action = {};
  action.sa_sigaction = [](int, siginfo_t* info, void*) { queued = *info; };
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, nullptr);
  siginfo_t info = {};
  info.si_code = SI_QUEUE;
  info.si_value.sival_int = 77;
  say("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info));
  printf("number %d, code %d, value %d\n", queued.si_signo, queued.si_code,
         queued.si_value.sival_int);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  say("rt_tgsigqueueinfo", syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, &info));
  siginfo_t taken = {};
  say("rt_sigtimedwait", syscall(SYS_rt_sigtimedwait, &set, &taken, nullptr, 8));
  printf("number %d, code %d, value %d\n", taken.si_signo, taken.si_code, taken.si_value.sival_int);
}

}  // namespace

int main() {
  ranges();
  duplicates();
  pipes();
  unknown_flags();
  no_files();
  capabilities();
  scheduling();
  facts();
  barriers();
  process_options();
  messages();
  signals_with_values();
  return 0;
}
