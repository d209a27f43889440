// SPDX-License-Identifier: Apache-2.0
// An ordinary program: who it is, where it runs, what it may use. Prints only what is the same in
// each run.
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

void ids() {
  printf("pid is tid: %d, parent: %d\n", getpid() == gettid(), getppid() > 0);
  // Both are 0 where the leader lives outside of the process' namespace.
  printf("group: %d, session: %d\n", getpgrp() == getpgid(0), getsid(0) == getsid(getpid()));
  printf("user: %d, group: %d\n", getuid() == geteuid(), getgid() == getegid());
  uid_t r, e, s;
  printf("getresuid: %d", getresuid(&r, &e, &s));
  printf(" %d\n", r == getuid() && e == r && s == r);
  gid_t groups[64];
  printf("groups: %d\n", getgroups(64, groups) >= 0);
  printf("become what one is: %d %d\n", setuid(getuid()), setgid(getgid()));
  printf("no children: %d", waitpid(-1, nullptr, WNOHANG));
  printf(" %s\n", strerror(errno));
  printf("nobody there: %d", kill(0x7ffffff0, 0));
  printf(" %s\n", strerror(errno));
}

void* of_thread(void* main_tid) {
  printf("thread: same pid, other tid: %d\n",
         gettid() != *static_cast<pid_t*>(main_tid) && getpid() == *static_cast<pid_t*>(main_tid));
  prctl(PR_SET_NAME, "second");
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  printf("name: %s\n", name);
  return nullptr;
}

void host() {
  utsname name;
  printf("uname: %d", uname(&name));
  printf(" %s %s\n", name.sysname, name.machine);
  char hostname[256] = {};
  printf("hostname: %d", gethostname(hostname, sizeof(hostname)));
  printf(" %d\n", strcmp(hostname, name.nodename));
  struct sysinfo info;
  printf("sysinfo: %d", sysinfo(&info));
  printf(" %d\n", info.totalram > 0 && info.uptime > 0);
  printf("processors: %d %d\n", sysconf(_SC_NPROCESSORS_ONLN) > 0, get_nprocs() > 0);
  printf("page: %ld\n", sysconf(_SC_PAGESIZE));
  cpu_set_t set;
  CPU_ZERO(&set);
  printf("affinity: %d", sched_getaffinity(0, sizeof(set), &set));
  printf(" %d\n", CPU_COUNT(&set) > 0);
  printf("set affinity: %d\n", sched_setaffinity(0, sizeof(set), &set));
  printf("cpu: %d\n", sched_getcpu() >= 0);
  printf("scheduler: %d, priority %d\n", sched_getscheduler(0), getpriority(PRIO_PROCESS, 0));
}

void limits() {
  rlimit limit = {};
  const int got = getrlimit(RLIMIT_NOFILE, &limit);
  printf("getrlimit: %d %d\n", got, limit.rlim_cur > 16);
  limit.rlim_cur = 64;
  printf("setrlimit: %d", setrlimit(RLIMIT_NOFILE, &limit));
  rlimit seen;
  printf(" %d", prlimit(0, RLIMIT_NOFILE, nullptr, &seen));
  printf(" %ld\n", static_cast<long>(seen.rlim_cur));
  int last = 0;
  for (int fd = dup(1); fd >= 0; fd = dup(1)) {
    last = fd;
  }
  const int number = errno;
  printf("last descriptor: %d %s\n", last, strerror(number));
  int fds[2];
  printf("none left: %d", pipe(fds));
  printf(" %s\n", strerror(errno));
  limit.rlim_cur = 128;
  printf("prlimit: %d\n", prlimit(getpid(), RLIMIT_NOFILE, &limit, &seen));
  printf("more: %d\n", dup(1));
  printf("closed: %d\n", close_range(10, ~0U, 0));
  printf("core: %d\n", getrlimit(RLIMIT_CORE, &limit));
  printf("other's: %d", prlimit(1, RLIMIT_NOFILE, nullptr, &seen) <= 0);
  printf("\n");
}

void random_bytes() {
  char bytes[300];
  printf("getrandom: %zd", getrandom(bytes, sizeof(bytes), 0));
  printf(" %zd", getrandom(bytes, 16, GRND_NONBLOCK));
  printf(" %d", getentropy(bytes, 256));
  printf(" wrong: %zd", getrandom(bytes, 16, 0xff00));
  printf(" %s\n", strerror(errno));
  FILE* device = fopen("/dev/urandom", "rb");
  printf("urandom: %zu\n", fread(bytes, 1, sizeof(bytes), device));
  fclose(device);
}

}  // namespace

int main() {
  ids();
  pid_t own = gettid();
  pthread_t thread;
  pthread_create(&thread, nullptr, of_thread, &own);
  pthread_join(thread, nullptr);
  host();
  random_bytes();
  limits();
  return 0;
}
