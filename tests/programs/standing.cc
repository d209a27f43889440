// SPDX-License-Identifier: Apache-2.0
// An ordinary program that changes its own standing: users and groups, sessions, capabilities,
// priorities and policies of scheduling, of memory and of disks. By number, since C libraries
// change all threads. Prints only what is the same in each run; as the superuser it loses that.
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace {

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "",
         result < 0 ? strerrorname_np(errno) : "");
}

void show_users() {
  unsigned id[6] = {};
  syscall(SYS_getresuid, id, id + 1, id + 2);
  syscall(SYS_getresgid, id + 3, id + 4, id + 5);
  printf("users %u %u %u groups %u %u %u\n", id[0], id[1], id[2], id[3], id[4], id[5]);
}

void scheduling() {
  sched_param parameter = {};
  say("most", syscall(SYS_sched_get_priority_max, SCHED_FIFO));
  say("least", syscall(SYS_sched_get_priority_min, SCHED_RR));
  say("of no policy", syscall(SYS_sched_get_priority_max, 99));
  say("batch", syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &parameter));
  say("is", syscall(SYS_sched_getscheduler, 0) == SCHED_BATCH);
  say("parameter", syscall(SYS_sched_setparam, 0, &parameter));
  parameter.sched_priority = 7;
  say("wrong parameter", syscall(SYS_sched_setparam, 0, &parameter));
  say("no policy", syscall(SYS_sched_setscheduler, 0, 99, &parameter));
  say("nicer", syscall(SYS_setpriority, PRIO_PROCESS, 0, 5));
  say("is", syscall(SYS_getpriority, PRIO_PROCESS, 0));
  say("of what", syscall(SYS_setpriority, 9, 0, 5));
  constexpr int kBestEffort = 2 << 13;
  say("disks", syscall(SYS_ioprio_set, 1, 0, kBestEffort | 6));
  say("is", syscall(SYS_ioprio_get, 1, 0));
  say("disks, wrongly", syscall(SYS_ioprio_set, 1, 0, 7 << 13));
}

// Where a thread runs, as it has asked for.
void processors() {
  cpu_set_t all;
  say("affinity", sched_getaffinity(0, sizeof(all), &all));
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &all)) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(i, &one);
      say("one processor", sched_setaffinity(0, sizeof(one), &one));
      unsigned cpu = 9999;
      syscall(SYS_getcpu, &cpu, nullptr, nullptr);
      printf("there: %d %d\n", static_cast<int>(cpu) == i, sched_getcpu() == i);
    }
  }
  cpu_set_t none;
  CPU_ZERO(&none);
  say("none", sched_setaffinity(0, sizeof(none), &none));
  say("of nobody", sched_setaffinity(12345, sizeof(all), &all));
  say("all", sched_setaffinity(0, sizeof(all), &all));
}

// What the host's clock is like; changing it is not tried.
void clock_state() {
  timex state = {};
  const int result = adjtimex(&state);
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  printf("clock: %d, time agrees: %d\n", result >= 0, now.tv_sec - state.time.tv_sec <= 1);
  state = {};
  say("clock_adjtime", clock_adjtime(CLOCK_REALTIME, &state) >= 0);
  say("of another clock", clock_adjtime(CLOCK_MONOTONIC, &state));
  say("nowhere", syscall(SYS_adjtimex, 8));
}

void identities() {
  say("personality", personality(0xffffffff));
  say("no randomness", personality(ADDR_NO_RANDOMIZE));
  say("is", personality(0xffffffff));
  say("as before", personality(0));
  rlimit limit;
  say("own limit", prlimit(getpid(), RLIMIT_CORE, nullptr, &limit));
  say("nobody's limit", prlimit(12345, RLIMIT_CORE, nullptr, &limit));
  // Unknown flags are gone when they are read back.
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    unsigned long mask;
  } action = {nullptr, 0x7fffffff & ~0x4000000UL, nullptr, 0};
  say("all flags", syscall(SYS_rt_sigaction, SIGUSR1, &action, nullptr, 8));
  say("read back", syscall(SYS_rt_sigaction, SIGUSR1, nullptr, &action, 8));
  printf("%lx\n", action.flags);
}

void memory() {
  constexpr size_t kBytes = 16 * 4096;
  void* some = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  say("mlock", syscall(SYS_mlock, some, 4096));
  say("mlock2", syscall(SYS_mlock2, some, 8192, MLOCK_ONFAULT));
  say("mlock2, flag", syscall(SYS_mlock2, some, 8192, 0x10));
  say("munlock", syscall(SYS_munlock, some, kBytes));
  say("mlockall, flag", syscall(SYS_mlockall, 0x10));
  say("mlockall of nothing", syscall(SYS_mlockall, MCL_ONFAULT));
  say("munlockall", syscall(SYS_munlockall));
  int mode = -1;
  // Kernels without NUMA do not know these.
  const bool has_policies = syscall(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0) == 0;
  printf("policies: %d, mode %d\n", has_policies, mode);
  say("set_mempolicy", syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0));
  say("set_mempolicy, wrongly", syscall(SYS_set_mempolicy, 99, nullptr, 0));
  say("mbind", syscall(SYS_mbind, some, kBytes, MPOL_DEFAULT, nullptr, 0, 0));
  say("mbind, flag", syscall(SYS_mbind, some, kBytes, MPOL_DEFAULT, nullptr, 0, 0x100));
  munmap(some, kBytes);
}

void links() {
  char value[8];
  say("lgetxattr", syscall(SYS_lgetxattr, "/dev/stdin", "user.none", value, sizeof(value)) < 0);
  say("llistxattr", syscall(SYS_llistxattr, "/usr/include", nullptr, 0) >= 0);
  say("lchown of none", syscall(SYS_lchown, "/nowhere", -1, -1));
  say("sync", syscall(SYS_sync));
  const int counter = static_cast<int>(syscall(SYS_eventfd, 3));
  unsigned long count = 0;
  say("eventfd", read(counter, &count, sizeof(count)));
  printf("count %lu\n", count);
  close(counter);
}

// Those that lead a session already cannot make one; what is so of this process depends on who
// started it.
void sessions() {
  say("setsid", syscall(SYS_setsid) >= 0 || errno == EPERM);
  say("leads its session", syscall(SYS_getsid, 0) == getpid());
  say("leads its group", syscall(SYS_getpgid, 0) == getpid());
  say("group of a leader", syscall(SYS_setpgid, 0, 0));
  say("group, negative", syscall(SYS_setpgid, 0, -1));
  say("group of a stranger", syscall(SYS_setpgid, 12345, 0));
}

void users() {
  show_users();
  say("setgroups", syscall(SYS_setgroups, 0, nullptr));
  say("setregid", syscall(SYS_setregid, -1, -1));
  say("setreuid", syscall(SYS_setreuid, -1, -1));
  say("setfsuid", syscall(SYS_setfsuid, -1) == geteuid());
  say("setfsgid", syscall(SYS_setfsgid, -1) == getegid());
  const unsigned group = getegid();
  const unsigned user = geteuid();
  say("setresgid", syscall(SYS_setresgid, group, group, group));
  say("setresuid", syscall(SYS_setresuid, user, user, user));
  say("setgid", syscall(SYS_setgid, group));
  say("setuid", syscall(SYS_setuid, user));
  show_users();
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  say("capset to none", syscall(SYS_capset, &header, data));
  say("capget", syscall(SYS_capget, &header, data));
  printf("left: %x\n", data[0].effective | data[0].permitted);
  data[0].effective = data[0].permitted = 1;
  say("capset to some", syscall(SYS_capset, &header, data));
  say("another user now", syscall(SYS_setresuid, user + 1, -1, -1));
}

}  // namespace

int main() {
  scheduling();
  processors();
  clock_state();
  identities();
  memory();
  links();
  sessions();
  users();
  return 0;
}
