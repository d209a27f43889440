// SPDX-License-Identifier: Apache-2.0
// An ordinary program: descriptors of all kinds duplicated, moved over each other, flagged, closed.
// Prints only what is the same in each run.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}

const char* kind(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) {
    return strerror(errno);
  }
  return S_ISREG(st.st_mode)    ? "file"
         : S_ISFIFO(st.st_mode) ? "pipe"
         : S_ISSOCK(st.st_mode) ? "socket"
         : S_ISCHR(st.st_mode)  ? "device"
         : S_ISDIR(st.st_mode)  ? "directory"
                                : "other";
}

int open_file() {
  return open("/usr/include/stdio.h", O_RDONLY);
}

void over_each_other() {
  int p[2];
  (void)!pipe(p);
  const int file = open_file();
  printf("file over pipe: %d %s\n", dup2(file, p[0]) == p[0], kind(p[0]));
  printf("pipe over file: %d %s\n", dup2(p[1], file) == file, kind(file));
  printf("itself: %d\n", dup2(file, file) == file);
  say("dup3 itself", dup3(file, file, 0));
  say("nothing", dup2(700, file));
  say("nothing on itself", dup2(700, 700));
  printf("high: %d %s\n", dup2(p[1], 200), kind(200));
  printf("high file: %d %s\n", dup3(p[0], 201, O_CLOEXEC), kind(201));
  printf("flags: %d %d\n", fcntl(200, F_GETFD), fcntl(201, F_GETFD));
  say("too high", dup2(file, 1 << 24));
  close(200);
  close(201);
  close(p[0]);
  close(p[1]);
  close(file);
}

void shared_state() {
  const int file = open_file();
  const int twin = dup(file);
  char a[16];
  char b[16];
  (void)!read(file, a, sizeof(a));
  printf("shared position: %ld\n", static_cast<long>(lseek(twin, 0, SEEK_CUR)));
  close(file);
  printf("twin lives: %zd\n", read(twin, b, sizeof(b)));
  close(twin);
  int p[2];
  (void)!pipe(p);
  const int reader = fcntl(p[0], F_DUPFD, 50);
  const int hidden = fcntl(p[0], F_DUPFD_CLOEXEC, 50);
  printf("at least: %d %d, flags %d %d\n", reader, hidden, fcntl(reader, F_GETFD),
         fcntl(hidden, F_GETFD));
  fcntl(p[0], F_SETFL, O_NONBLOCK);
  printf("shared flags: %d %d\n", (fcntl(reader, F_GETFL) & O_NONBLOCK) != 0,
         fcntl(reader, F_GETFL) & O_ACCMODE);
  close(p[0]);
  close(hidden);
  (void)!write(p[1], "z", 1);
  printf("last reader: %zd\n", read(reader, a, 1));
  close(p[1]);
  printf("end: %zd\n", read(reader, a, 1));
  close(reader);
}

void flags() {
  const int file = open_file();
  printf("file: %d %d\n", fcntl(file, F_GETFD), fcntl(file, F_GETFL) & O_ACCMODE);
  say("set", fcntl(file, F_SETFD, FD_CLOEXEC));
  printf("now: %d\n", fcntl(file, F_GETFD));
  say("clear by ioctl", ioctl(file, FIONCLEX));
  printf("now: %d\n", fcntl(file, F_GETFD));
  int s[2];
  (void)!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s);
  printf("pair: %d %d %s\n", fcntl(s[0], F_GETFD), (fcntl(s[0], F_GETFL) & O_NONBLOCK) != 0,
         kind(s[0]));
  int off = 0;
  ioctl(s[0], FIONBIO, &off);
  printf("blocking: %d\n", (fcntl(s[0], F_GETFL) & O_NONBLOCK) != 0);
  say("no terminal", ioctl(file, TCGETS, nullptr) == -1 && errno == ENOTTY);
  printf("isatty: %d\n", isatty(file));
  say("bad", fcntl(700, F_GETFL));
  say("seek a pair", lseek(s[0], 0, SEEK_CUR));
  close(s[0]);
  close(s[1]);
  close(file);
}

void inside_epoll() {
  int p[2];
  (void)!pipe(p);
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {EPOLLIN, {.u64 = 9}};
  epoll_ctl(poller, EPOLL_CTL_ADD, p[0], &event);
  const int twin = dup(p[0]);
  (void)!write(p[1], "x", 1);
  close(p[0]);
  printf("still registered: %d\n", epoll_wait(poller, &event, 1, 0));
  close(twin);
  printf("gone with the last: %d\n", epoll_wait(poller, &event, 1, 0));
  say("files cannot", epoll_ctl(poller, EPOLL_CTL_ADD, open_file(), &event));
  close(poller);
  close(p[1]);
}

void all_closed() {
  const int event = eventfd(0, 0);
  say("close_range", close_range(3, ~0U, 0));
  printf("event: %s, stdout: %d\n", kind(event), fcntl(1, F_GETFD));
  for (int fd = 3; fd < sysconf(_SC_OPEN_MAX) && fd < 70000; ++fd) {
    close(fd);
  }
  printf("first free: %d\n", open_file());
}

}  // namespace

int main() {
  over_each_other();
  shared_state();
  flags();
  inside_epoll();
  all_closed();
  return 0;
}
