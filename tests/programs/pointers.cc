// SPDX-License-Identifier: Apache-2.0
// An ordinary program that gives bad pointers to every system call that takes one, one argument at
// a time: the kernel answers EFAULT (or does not look), and so must the shim. Then buffers that
// begin well and end where there is nothing. Prints only what is the same in each run.
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
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
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

constexpr size_t kPageBytes = 4096;

// What calls may be given; filled anew before each.
struct Good {
  int file;
  int directory;
  int pipe[2];
  int listener;
  int pair[2];
  int poll;
  int event;
  int timer;
  char* page;        // zeros
  char* bad_page;    // right behind `page`; nobody may touch it
  const char* path;  // of a file
  iovec iov;
  msghdr message;
  sockaddr_in address;
  uint32_t length;
  timespec none;
  itimerspec later;
  epoll_event interest;
  pollfd watched;
  open_how how;
  uint32_t capability[2];
  uint64_t mask[2];  // a set of signals; pselect6 has its address and size
};
Good g;

long to_long(const void* pointer) {
  return reinterpret_cast<long>(pointer);
}

// A call with good arguments. Bit n of `pointers`: argument n is one, and is spoilt in turn.
struct Call {
  const char* name;
  long number;
  unsigned pointers;
  long a[6];
};

void prepare() {
  memset(g.page, 0, kPageBytes);
  g.iov = {g.page, 8};
  g.message = {};
  g.message.msg_iov = &g.iov;
  g.message.msg_iovlen = 1;
  g.address = {};
  g.address.sin_family = AF_INET;
  g.length = sizeof(g.address);
  g.none = {0, 0};
  g.later = {{0, 0}, {1000, 0}};
  g.interest = {EPOLLIN, {0}};
  g.watched = {g.pipe[0], POLLIN, 0};
  g.how = {};
  g.capability[0] = 0x20080522;
  g.capability[1] = 0;
  g.mask[0] = 0;
  g.mask[1] = 0;
  // One message to read everywhere.
  char drain[256];
  while (read(g.pipe[0], drain, sizeof(drain)) > 0) {
  }
  while (recv(g.pair[0], drain, sizeof(drain), MSG_DONTWAIT) > 0) {
  }
  while (recv(g.pair[1], drain, sizeof(drain), MSG_DONTWAIT) > 0) {
  }
  eventfd_write(g.event, 3);
  if (write(g.pipe[1], "12345678", 8) != 8 || send(g.pair[1], "12345678", 8, 0) != 8) {
    printf("cannot prepare\n");
  }
}

void open_all() {
  g.path = "/proc/self/exe";
  g.file = open(g.path, O_RDONLY);
  g.directory = open("/proc/self", O_RDONLY | O_DIRECTORY);
  const int ok = pipe2(g.pipe, O_NONBLOCK) | socketpair(AF_UNIX, SOCK_STREAM, 0, g.pair);
  g.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  g.poll = epoll_create1(0);
  g.event = eventfd(0, EFD_NONBLOCK);
  g.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  epoll_event interest = {EPOLLIN, {0}};
  epoll_ctl(g.poll, EPOLL_CTL_ADD, g.pipe[0], &interest);
  g.page = static_cast<char*>(
      mmap(nullptr, 4 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  g.bad_page = g.page + kPageBytes;
  mprotect(g.bad_page, kPageBytes, PROT_NONE);
  printf("ready: %d\n", ok == 0 && g.file >= 0 && g.directory >= 0 && g.timer >= 0);
}

void try_call(const Call& call) {
  const long non_canonical = static_cast<long>(uint64_t{1} << 63);
  const struct {
    const char* what;
    long address;
  } bads[] = {{"unmapped", 8},
              {"protected", to_long(g.bad_page)},
              {"the kernel's", -4096 * 16},
              {"non-canonical", non_canonical}};
  for (int argument = 0; argument < 6; ++argument) {
    if ((call.pointers >> argument & 1) == 0) {
      continue;
    }
    printf("%s %d:", call.name, argument);
    for (const auto& bad : bads) {
      prepare();
      long a[6];
      memcpy(a, call.a, sizeof(a));
      a[argument] = bad.address;
      errno = 0;
      const long result = syscall(call.number, a[0], a[1], a[2], a[3], a[4], a[5]);
      if (result < 0) {
        printf(" %s", strerrorname_np(errno));
      } else {
        printf(" %s", result == 0 ? "0" : "more");
      }
    }
    printf("\n");
  }
}

#define P(pointer) to_long(pointer)

void files() {
  const Call calls[] = {
      {"read file", SYS_read, 2, {g.file, P(g.page), 8}},
      {"pread64", SYS_pread64, 2, {g.file, P(g.page), 8, 0}},
      {"readv file", SYS_readv, 2, {g.file, P(&g.iov), 1}},
      {"preadv", SYS_preadv, 2, {g.file, P(&g.iov), 1, 0}},
      {"preadv2", SYS_preadv2, 2, {g.file, P(&g.iov), 1, 0, 0, 0}},
      {"open", SYS_open, 1, {P(g.path), O_RDONLY}},
      {"creat", SYS_creat, 1, {P(g.path), 0600}},
      {"openat", SYS_openat, 2, {AT_FDCWD, P(g.path), O_RDONLY}},
      {"openat2", SYS_openat2, 6, {AT_FDCWD, P(g.path), P(&g.how), sizeof(g.how)}},
      {"stat", SYS_stat, 3, {P(g.path), P(g.page)}},
      {"lstat", SYS_lstat, 3, {P(g.path), P(g.page)}},
      {"fstat", SYS_fstat, 2, {g.file, P(g.page)}},
      {"fstat pipe", SYS_fstat, 2, {g.pipe[0], P(g.page)}},
      {"newfstatat", SYS_newfstatat, 6, {AT_FDCWD, P(g.path), P(g.page), 0}},
      {"access", SYS_access, 1, {P(g.path), R_OK}},
      {"faccessat", SYS_faccessat, 2, {AT_FDCWD, P(g.path), R_OK}},
      {"statfs", SYS_statfs, 3, {P(g.path), P(g.page)}},
      {"fstatfs", SYS_fstatfs, 2, {g.file, P(g.page)}},
      {"readlink", SYS_readlink, 3, {P(g.path), P(g.page), 100}},
      {"readlinkat", SYS_readlinkat, 6, {AT_FDCWD, P(g.path), P(g.page), 100}},
      {"getcwd", SYS_getcwd, 1, {P(g.page), 4096}},
      {"getdents64", SYS_getdents64, 2, {g.directory, P(g.page), 2048}},
      {"getxattr", SYS_getxattr, 3, {P(g.path), P("user.x"), P(g.page), 100}},
      {"chdir", SYS_chdir, 1, {P("/")}},
      {"mkdir", SYS_mkdir, 1, {P("/proc/x"), 0700}},
      {"rmdir", SYS_rmdir, 1, {P("/proc/x")}},
      {"unlink", SYS_unlink, 1, {P("/proc/x")}},
      {"unlinkat", SYS_unlinkat, 2, {AT_FDCWD, P("/proc/x"), 0}},
      {"rename", SYS_rename, 1, {P("/proc/x"), P("/proc/y")}},
      {"symlink", SYS_symlink, 2, {P("/proc/x"), P("/proc/y")}},
      {"link", SYS_link, 1, {P("/proc/x"), P("/proc/y")}},
      {"chmod", SYS_chmod, 1, {P("/proc/x"), 0600}},
      {"chown", SYS_chown, 1, {P("/proc/x"), 0, 0}},
      {"truncate", SYS_truncate, 1, {P("/proc/x"), 0}},
      {"fcntl", SYS_fcntl, 4, {g.file, F_GETLK, P(g.page)}},
      {"sendfile", SYS_sendfile, 4, {g.pipe[1], g.file, P(g.page), 8}},
      {"execve", SYS_execve, 1, {P("/proc/x"), 0, 0}},
  };
  for (const Call& call : calls) {
    try_call(call);
  }
}

void objects() {
  const Call calls[] = {
      {"read pipe", SYS_read, 2, {g.pipe[0], P(g.page), 8}},
      {"write pipe", SYS_write, 2, {g.pipe[1], P(g.page), 8}},
      {"readv pipe", SYS_readv, 2, {g.pipe[0], P(&g.iov), 1}},
      {"writev pipe", SYS_writev, 2, {g.pipe[1], P(&g.iov), 1}},
      {"read event", SYS_read, 2, {g.event, P(g.page), 8}},
      {"write event", SYS_write, 2, {g.event, P(g.page), 8}},
      {"write console", SYS_write, 2, {1, P(g.page), 8}},
      {"FIONREAD", SYS_ioctl, 4, {g.pipe[0], FIONREAD, P(g.page)}},
      {"FIONBIO", SYS_ioctl, 4, {g.pair[0], FIONBIO, P(g.page)}},
      {"pipe", SYS_pipe, 1, {P(g.page)}},
      {"pipe2", SYS_pipe2, 1, {P(g.page), 0}},
      {"socketpair", SYS_socketpair, 8, {AF_UNIX, SOCK_STREAM, 0, P(g.page)}},
      {"bind", SYS_bind, 2, {g.listener, P(&g.address), sizeof(g.address)}},
      {"connect", SYS_connect, 2, {g.listener, P(&g.address), sizeof(g.address)}},
      {"getsockname", SYS_getsockname, 6, {g.listener, P(&g.address), P(&g.length)}},
      {"getsockopt",
       SYS_getsockopt,
       24,
       {g.listener, SOL_SOCKET, SO_TYPE, P(g.page), P(&g.length)}},
      {"setsockopt", SYS_setsockopt, 8, {g.listener, SOL_SOCKET, SO_REUSEADDR, P(g.page), 4}},
      {"sendto", SYS_sendto, 2, {g.pair[0], P(g.page), 8, 0, 0, 0}},
      {"recvfrom", SYS_recvfrom, 2 | 32, {g.pair[0], P(g.page), 8, 0, P(&g.address), P(&g.length)}},
      {"sendmsg", SYS_sendmsg, 2, {g.pair[0], P(&g.message), 0}},
      {"recvmsg", SYS_recvmsg, 2, {g.pair[0], P(&g.message), 0}},
      {"poll", SYS_poll, 1, {P(&g.watched), 1, 0}},
      {"ppoll", SYS_ppoll, 13, {P(&g.watched), 1, P(&g.none), P(g.mask), 8}},
      {"select", SYS_select, 30, {3, P(g.page), P(g.page + 8), P(g.page + 16), P(&g.none)}},
      {"pselect6",
       SYS_pselect6,
       62,
       {3, P(g.page), P(g.page + 8), P(g.page + 16), P(&g.none), P(g.mask)}},
      {"epoll_ctl", SYS_epoll_ctl, 8, {g.poll, EPOLL_CTL_MOD, g.pipe[0], P(&g.interest)}},
      {"epoll_wait", SYS_epoll_wait, 2, {g.poll, P(g.page), 4, 0}},
      {"epoll_pwait", SYS_epoll_pwait, 2 | 16, {g.poll, P(g.page), 4, 0, P(g.mask), 8}},
      {"epoll_pwait2", SYS_epoll_pwait2, 26, {g.poll, P(g.page), 4, P(&g.none), P(g.mask), 8}},
      {"timerfd_settime", SYS_timerfd_settime, 12, {g.timer, 0, P(&g.later), P(g.page)}},
      {"timerfd_gettime", SYS_timerfd_gettime, 2, {g.timer, P(g.page)}},
  };
  for (const Call& call : calls) {
    try_call(call);
  }
}

void process() {
  const long own = getpid();
  const Call calls[] = {
      {"rt_sigaction", SYS_rt_sigaction, 6, {SIGUSR1, P(g.page), P(g.page + 100), 8}},
      {"rt_sigprocmask", SYS_rt_sigprocmask, 6, {SIG_BLOCK, P(g.mask), P(g.page), 8}},
      {"rt_sigprocmask how", SYS_rt_sigprocmask, 2, {-1, P(g.mask), 0, 8}},
      {"rt_sigpending", SYS_rt_sigpending, 1, {P(g.page), 8}},
      {"rt_sigtimedwait", SYS_rt_sigtimedwait, 5, {P(g.mask), 0, P(&g.none), 8}},
      {"rt_sigsuspend", SYS_rt_sigsuspend, 1, {P(g.mask), 8}},
      {"rt_sigqueueinfo", SYS_rt_sigqueueinfo, 4, {own, 0, P(g.page)}},
      {"sigaltstack", SYS_sigaltstack, 3, {0, P(g.page)}},
      {"nanosleep", SYS_nanosleep, 3, {P(&g.none), P(g.page)}},
      {"clock_nanosleep", SYS_clock_nanosleep, 4, {CLOCK_MONOTONIC, 0, P(&g.none), 0}},
      {"clock_gettime", SYS_clock_gettime, 2, {CLOCK_MONOTONIC, P(g.page)}},
      {"clock_gettime CPU", SYS_clock_gettime, 2, {CLOCK_PROCESS_CPUTIME_ID, P(g.page)}},
      {"clock_getres", SYS_clock_getres, 2, {CLOCK_MONOTONIC, P(g.page)}},
      {"gettimeofday", SYS_gettimeofday, 3, {P(g.page), P(g.page + 100)}},
      {"time", SYS_time, 1, {P(g.page)}},
      {"getitimer", SYS_getitimer, 2, {0, P(g.page)}},
      {"setitimer", SYS_setitimer, 6, {0, P(g.page), P(g.page + 100)}},
      {"futex wait", SYS_futex, 9, {P(g.page), FUTEX_WAIT, 1, P(&g.none)}},
      {"futex wake", SYS_futex, 1, {P(g.page), FUTEX_WAKE, 1}},
      {"futex requeue", SYS_futex, 1, {P(g.page), FUTEX_CMP_REQUEUE, 1, 1, P(g.page + 8), 0}},
      {"futex op", SYS_futex, 16, {P(g.page), FUTEX_WAKE_OP, 1, 1, P(g.page + 8), 0}},
      {"get_robust_list", SYS_get_robust_list, 6, {0, P(g.page), P(g.page + 8)}},
      {"getrandom", SYS_getrandom, 1, {P(g.page), 8, 0}},
      {"uname", SYS_uname, 1, {P(g.page)}},
      {"sysinfo", SYS_sysinfo, 1, {P(g.page)}},
      {"times", SYS_times, 1, {P(g.page)}},
      {"getrusage", SYS_getrusage, 2, {0, P(g.page)}},
      {"getrlimit", SYS_getrlimit, 2, {RLIMIT_CORE, P(g.page)}},
      {"setrlimit", SYS_setrlimit, 2, {RLIMIT_CORE, P(g.page)}},
      {"prlimit64", SYS_prlimit64, 12, {0, RLIMIT_CORE, 0, P(g.page)}},
      {"getcpu", SYS_getcpu, 3, {P(g.page), P(g.page + 8), 0}},
      {"mincore", SYS_mincore, 4, {P(g.page), kPageBytes, P(g.page)}},
      {"getresuid", SYS_getresuid, 7, {P(g.page), P(g.page + 8), P(g.page + 16)}},
      {"getresgid", SYS_getresgid, 7, {P(g.page), P(g.page + 8), P(g.page + 16)}},
      {"capget", SYS_capget, 1, {P(g.capability), P(g.page)}},
      {"sched_getparam", SYS_sched_getparam, 2, {0, P(g.page)}},
      {"sched_setaffinity", SYS_sched_setaffinity, 4, {0, 8, P(g.page)}},
      {"sched_getaffinity", SYS_sched_getaffinity, 4, {0, 128, P(g.page)}},
      {"prctl", SYS_prctl, 2, {PR_GET_NAME, P(g.page), 0, 0, 0}},
      {"arch_prctl", SYS_arch_prctl, 2, {ARCH_GET_FS, P(g.page)}},
  };
  for (const Call& call : calls) {
    try_call(call);
  }
}

// --- buffers of which only the first bytes are there ---

constexpr size_t kGoodBytes[] = {4, kPageBytes};

long outcome(long result) {
  return result < 0 ? -errno : result;
}

void read_partly(const char* what, int from, int to) {
  for (const size_t good : kGoodBytes) {
    char bytes[6000];
    memset(bytes, 'x', sizeof(bytes));
    const long sent = outcome(write(to, bytes, sizeof(bytes)));
    char* begin = g.bad_page - good;
    const long first = outcome(read(from, begin, 6000));
    long rest = outcome(read(from, g.page, kPageBytes));
    const long more = outcome(read(from, g.page, kPageBytes));
    printf("%s of %ld, %zu there: %ld, then %ld %ld\n", what, sent, good, first, rest, more);
  }
}

void write_partly(const char* what, int from, int to) {
  for (const size_t good : kGoodBytes) {
    const long sent = outcome(write(to, g.bad_page - good, 6000));
    printf("%s, %zu there: %ld", what, good, sent);
    printf(", arrived %ld\n", outcome(read(from, g.page, kPageBytes)));
  }
}

void partly() {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK) == 0) {
    read_partly("pipe read", ends[0], ends[1]);
    write_partly("pipe write", ends[0], ends[1]);
  }
  const struct {
    const char* name;
    int type;
  } kinds[] = {{"stream", SOCK_STREAM}, {"packets", SOCK_SEQPACKET}, {"datagrams", SOCK_DGRAM}};
  for (const auto& kind : kinds) {
    int pair[2];
    if (socketpair(AF_UNIX, kind.type | SOCK_NONBLOCK, 0, pair) == 0) {
      read_partly(kind.name, pair[0], pair[1]);
      write_partly(kind.name, pair[0], pair[1]);
    }
  }
  lseek(g.file, 0, SEEK_SET);
  const long some = outcome(read(g.file, g.bad_page - 100, 4096));
  printf("file: %ld, at %ld\n", some, static_cast<long>(lseek(g.file, 0, SEEK_CUR)));
  const iovec iov[2] = {{g.bad_page - 16, 16}, {g.bad_page, 16}};
  printf("two buffers: %ld", outcome(readv(g.file, iov, 2)));
  printf(" %ld\n", outcome(writev(ends[1], iov, 2)));
  epoll_event interest = {EPOLLOUT, {0}};
  const int poll = epoll_create1(0);
  epoll_ctl(poll, EPOLL_CTL_ADD, g.pair[0], &interest);
  epoll_ctl(poll, EPOLL_CTL_ADD, g.pair[1], &interest);
  auto* events = reinterpret_cast<epoll_event*>(g.bad_page - sizeof(epoll_event));
  printf("epoll: %ld\n", outcome(epoll_wait(poll, events, 4, 0)));
  mprotect(g.page, kPageBytes, PROT_READ);
  printf("read-only: %ld", outcome(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, g.page)));
  printf(" %ld\n", outcome(write(ends[1], g.page, 8)));
  mprotect(g.page, kPageBytes, PROT_READ | PROT_WRITE);
}

// A file that is shorter than its mapping: the kernel answers EFAULT where a program gets SIGBUS.
void beyond_the_end() {
  const int fd = open(program_invocation_name, O_RDONLY | O_CLOEXEC);
  const size_t size = static_cast<size_t>(lseek(fd, 0, SEEK_END));
  const size_t pages = (size + kPageBytes - 1) / kPageBytes;
  auto* map =
      static_cast<char*>(mmap(nullptr, (pages + 1) * kPageBytes, PROT_READ, MAP_PRIVATE, fd, 0));
  char* end = map + pages * kPageBytes;
  int ends[2];
  if (pipe(ends) == 0) {
    printf("beyond the end: %ld", outcome(write(ends[1], end, 8)));
    printf(" %ld\n", outcome(write(ends[1], end - 8, 8)));
  }
}

}  // namespace

int main() {
  open_all();
  files();
  objects();
  process();
  // Faults of the kernel's copies are nobody's signals: neither blocked nor handled ones matter.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, nullptr);
  signal(SIGSEGV, SIG_IGN);
  signal(SIGBUS, SIG_IGN);
  prepare();
  partly();
  beyond_the_end();
  return 0;
}
