// SPDX-License-Identifier: Apache-2.0
// An ordinary program: clocks, random numbers, files that are read, pipes, polling, memory, and a
// system call instruction and RDTSC of its own. Prints only what is the same in every run.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

namespace {

void clocks() {
  timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (int i = 0; i < 1000; ++i) {
    clock_gettime(CLOCK_MONOTONIC, &b);
    if (b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec)) {
      printf("the clock went back\n");
    }
    a = b;
  }
  const timespec nap = {0, 2'000'000};
  const unsigned long long tsc = __builtin_ia32_rdtsc();
  nanosleep(&nap, nullptr);
  clock_gettime(CLOCK_MONOTONIC, &b);
  const long slept = (b.tv_sec - a.tv_sec) * 1'000'000'000 + b.tv_nsec - a.tv_nsec;
  printf("slept 2 ms or more: %d, tsc moved: %d\n", slept >= 2'000'000,
         __builtin_ia32_rdtsc() > tsc);
  printf("time: %d\n", time(nullptr) > 1'500'000'000);
}

void descriptors() {
  int fds[2];
  (void)!pipe(fds);
  const int event = eventfd(3, EFD_NONBLOCK);
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  const itimerspec in_5_ms = {{0, 0}, {0, 5'000'000}};
  timerfd_settime(timer, 0, &in_5_ms, nullptr);
  const int poller = epoll_create1(0);
  epoll_event watch = {EPOLLIN, {.u64 = 1}};
  epoll_ctl(poller, EPOLL_CTL_ADD, event, &watch);
  watch.data.u64 = 2;
  epoll_ctl(poller, EPOLL_CTL_ADD, timer, &watch);
  printf("numbers: %d %d %d %d %d\n", fds[0], fds[1], event, timer, poller);
  epoll_event got[4];
  printf("ready: %d, which %d\n", epoll_wait(poller, got, 4, -1),
         static_cast<int>(got[0].data.u64));
  unsigned long value = 0;
  (void)!read(event, &value, sizeof(value));
  printf("eventfd %lu, then ready: %d", value, epoll_wait(poller, got, 4, 1000));
  printf(", which %d\n", static_cast<int>(got[0].data.u64));
  pollfd polled = {fds[0], POLLIN, 0};
  printf("poll times out: %d\n", poll(&polled, 1, 1));
  (void)!write(fds[1], "hello", 5);
  printf("poll: %d %d\n", poll(&polled, 1, -1), polled.revents);
  close(fds[0]);
  printf("lowest free number: %d\n", dup(1));
}

void files() {
  char line[256] = {};
  FILE* status = fopen("/proc/self/status", "r");
  printf("/proc opens: %d, first line: %s", status != nullptr, fgets(line, sizeof(line), status));
  fclose(status);
  const int fd = open("/usr/include/stdio.h", O_RDONLY);
  struct stat st;
  fstat(fd, &st);
  const ssize_t n = read(fd, line, sizeof(line));
  void* map = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  printf("file: regular %d, read %zd, mapped the same: %d\n", S_ISREG(st.st_mode), n,
         memcmp(map, line, sizeof(line)) == 0);
  close(fd);
}

void calls() {
  char bytes[16];
  printf("getrandom: %zd\n", getrandom(bytes, sizeof(bytes), 0));
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_getpid) : "rcx", "r11", "memory");
  printf("own syscall instruction: %d\n", result == getpid());
  utsname name;
  uname(&name);
  printf("uname: %s\n", name.sysname);
  rusage usage;
  printf("getrusage: %d\n", getrusage(RUSAGE_SELF, &usage));
  void* block = malloc(64 << 20);
  memset(block, 7, 64 << 20);
  block = realloc(block, 128 << 20);
  printf("realloc keeps: %d\n", static_cast<char*>(block)[(64 << 20) - 1]);
  free(block);
  printf("bad descriptor: %d %s\n", close(777), strerror(errno));
}

}  // namespace

int main() {
  clocks();
  descriptors();
  files();
  calls();
  return 0;
}
