// SPDX-License-Identifier: Apache-2.0
// An ordinary program: pipes, event counters and socket pairs, waited for by every call that can.
// Prints only what is the same in each run.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr timespec kShort = {0, 2'000'000};

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}

void pipes() {
  int p[2];
  say("pipe2", pipe2(p, O_NONBLOCK | O_CLOEXEC));
  char buffer[8192] = {};
  say("empty", read(p[0], buffer, 1));
  long filled = 0;
  for (long n = write(p[1], buffer, sizeof(buffer)); n > 0;
       n = write(p[1], buffer, sizeof(buffer))) {
    filled += n;
  }
  printf("filled %ld: %s\n", filled, strerror(errno));
  int queued = 0;
  ioctl(p[0], FIONREAD, &queued);
  printf("queued %d\n", queued);
  pollfd both[2] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}};
  printf("poll: %d", poll(both, 2, 0));
  printf(" %d %d\n", both[0].revents, both[1].revents);
  say("wrong end", read(p[1], buffer, 1));
  close(p[1]);
  long drained = 0;
  for (long n = read(p[0], buffer, sizeof(buffer)); n > 0; n = read(p[0], buffer, sizeof(buffer))) {
    drained += n;
  }
  printf("drained %ld, then %zd\n", drained, read(p[0], buffer, 1));
  printf("poll at the end: %d", poll(both, 1, -1));
  printf(" %d\n", both[0].revents);
  close(p[0]);
  (void)!pipe(p);
  close(p[0]);
  signal(SIGPIPE, SIG_IGN);
  say("nobody reads", write(p[1], "x", 1));
  close(p[1]);
}

void pairs() {
  int s[2];
  say("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  iovec parts[2] = {{const_cast<char*>("ab"), 2}, {const_cast<char*>("cd"), 2}};
  say("writev", writev(s[0], parts, 2));
  char in[8] = {};
  say("peek", recv(s[1], in, 3, MSG_PEEK));
  msghdr message = {};
  iovec into = {in, sizeof(in)};
  message.msg_iov = &into;
  message.msg_iovlen = 1;
  say("recvmsg", recvmsg(s[1], &message, 0));
  printf("got %s\n", in);
  say("dontwait", recv(s[1], in, 1, MSG_DONTWAIT));
  say("shutdown", shutdown(s[0], SHUT_WR));
  say("end", read(s[1], in, 1));
  say("nosignal", send(s[0], in, 1, MSG_NOSIGNAL));
  say("other way", write(s[1], "x", 1));
  pollfd one = {s[0], POLLIN | POLLRDHUP, 0};
  printf("poll: %d", poll(&one, 1, 0));
  printf(" %d\n", one.revents & POLLIN);
  close(s[0]);
  close(s[1]);
}

void counters() {
  uint64_t value = 5;
  const int plain = eventfd(2, EFD_NONBLOCK);
  (void)!write(plain, &value, sizeof(value));
  (void)!read(plain, &value, sizeof(value));
  printf("counter %lu", value);
  printf(", again %zd %s\n", read(plain, &value, sizeof(value)), strerror(errno));
  value = UINT64_MAX;
  say("too much", write(plain, &value, sizeof(value)));
  const int semaphore = eventfd(2, EFD_SEMAPHORE);
  (void)!read(semaphore, &value, sizeof(value));
  printf("semaphore %lu\n", value);
  say("short", read(semaphore, &value, 4));
  close(plain);
  close(semaphore);
}

// Every call that waits, on a descriptor that is not ready, is, and is not there.
void waits() {
  int p[2];
  (void)!pipe(p);
  sigset_t none;
  sigemptyset(&none);
  const int poller = epoll_create(8);
  epoll_event event = {EPOLLIN, {.fd = p[0]}};
  epoll_ctl(poller, EPOLL_CTL_ADD, p[0], &event);
  say("added twice", epoll_ctl(poller, EPOLL_CTL_ADD, p[0], &event));
  for (int ready = 0; ready < 2; ++ready) {
    pollfd one = {p[0], POLLIN, 0};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    timeval brief = {0, 2000};
    printf("ready %d:", ready);
    printf(" poll %d", poll(&one, 1, 2));
    printf(" ppoll %d", ppoll(&one, 1, &kShort, &none));
    printf(" select %d", select(p[0] + 1, &set, nullptr, nullptr, &brief));
    FD_SET(p[0], &set);
    printf(" pselect %d", pselect(p[0] + 1, &set, nullptr, nullptr, &kShort, &none));
    printf(" epoll_wait %d", epoll_wait(poller, &event, 1, 2));
    printf(" epoll_pwait %d", epoll_pwait(poller, &event, 1, 2, &none));
    printf(" epoll_pwait2 %ld\n",
           syscall(SYS_epoll_pwait2, poller, &event, 1, &kShort, nullptr, 8));
    (void)!write(p[1], "x", 1);
  }
  event.events = EPOLLIN | EPOLLONESHOT;
  say("modify", epoll_ctl(poller, EPOLL_CTL_MOD, p[0], &event));
  printf("once: %d", epoll_wait(poller, &event, 1, 0));
  printf(" %d\n", epoll_wait(poller, &event, 1, 0));
  event.events = EPOLLIN | EPOLLET;
  epoll_ctl(poller, EPOLL_CTL_MOD, p[0], &event);
  printf("edge: %d", epoll_wait(poller, &event, 1, 0));
  printf(" %d", epoll_wait(poller, &event, 1, 0));
  (void)!write(p[1], "y", 1);
  printf(" %d\n", epoll_wait(poller, &event, 1, 0));
  say("removed", epoll_ctl(poller, EPOLL_CTL_DEL, p[0], nullptr));
  say("removed twice", epoll_ctl(poller, EPOLL_CTL_DEL, p[0], nullptr));
  close(p[0]);
  pollfd gone = {p[0], POLLIN, 0};
  printf("closed: poll %d", poll(&gone, 1, 0));
  printf(" %d", gone.revents == POLLNVAL);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(p[0], &set);
  say(", select", select(p[0] + 1, &set, nullptr, nullptr, nullptr));
  close(p[1]);
  close(poller);
}

int handover[2];
void* writer(void*) {
  for (int i = 0; i < 5; ++i) {
    usleep(500);
    (void)!write(handover[1], "t", 1);
  }
  return nullptr;
}

void across_threads() {
  (void)!pipe(handover);
  pthread_t thread;
  pthread_create(&thread, nullptr, writer, nullptr);
  char byte = 0;
  int got = 0;
  while (got < 5 && read(handover[0], &byte, 1) == 1) {
    got++;
  }
  pthread_join(thread, nullptr);
  printf("from the thread: %d\n", got);
}

}  // namespace

int main() {
  pipes();
  pairs();
  counters();
  waits();
  across_threads();
  return 0;
}
