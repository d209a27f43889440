// SPDX-License-Identifier: Apache-2.0
// An ordinary program: what listen() answers, under signals and beside other threads too.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>

namespace {

constexpr int kRounds = 50;

volatile sig_atomic_t alarms;
std::atomic<bool> stop{false};

void count(int) {
  alarms = alarms + 1;
}

const char* said(int result) {
  return result == 0 ? "ok" : strerror(errno);
}

int bound_socket(sockaddr_in* address) {
  const int one = 1;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  socklen_t length = sizeof(*address);
  if (bind(fd, reinterpret_cast<sockaddr*>(address), length) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(address), &length) != 0) {
    printf("bind: %s\n", strerror(errno));
  }
  return fd;
}

sockaddr_in any_port() {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sockaddr_in name_of(int fd) {
  sockaddr_in name = {};
  socklen_t length = sizeof(name);
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
  return name;
}

int listens(int fd) {
  int value = 0;
  socklen_t length = sizeof(value);
  getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length);
  return value;
}

void one_port_two_sockets() {
  sockaddr_in address = any_port();
  const int first = bound_socket(&address);
  const int second = bound_socket(&address);
  printf("first: %s", said(listen(first, 5)));
  printf(" again: %s", said(listen(first, 0)));
  printf(" second: %s", said(listen(second, 5)));
  printf(" listens: %d", listens(second));
  printf(" accept: %s\n", said(accept(second, nullptr, nullptr)));
  close(first);
  printf("alone: %s", said(listen(second, -1)));
  printf(" listens: %d\n", listens(second));
  close(second);
}

// Neither call waits, so no signal interrupts it.
void under_signals() {
  struct sigaction action = {};
  action.sa_handler = count;  // no SA_RESTART
  sigaction(SIGALRM, &action, nullptr);
  itimerval timer = {};
  timer.it_value.tv_usec = timer.it_interval.tv_usec = 500;
  setitimer(ITIMER_REAL, &timer, nullptr);
  int failures = 0;
  for (int i = 0; i < kRounds || alarms < 10; ++i) {
    sockaddr_in address = any_port();
    const int fd = bound_socket(&address);
    failures += listen(fd, 5) != 0 ? 1 : 0;
    failures += listen(fd, 6) != 0 ? 1 : 0;
    close(fd);
  }
  timer = {};
  setitimer(ITIMER_REAL, &timer, nullptr);
  printf("under signals: %d failed\n", failures);
}

// A port that the kernel has chosen goes with the listening, though it is shown; the address stays.
void shut_down() {
  sockaddr_in address = any_port();
  const int fd = bound_socket(&address);
  printf("bind: %s", said(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address))));
  printf(" listen: %s", said(listen(fd, 5)));
  printf(" shutdown: %s", said(shutdown(fd, SHUT_RD)));
  printf(" same port: %d", name_of(fd).sin_port == address.sin_port);
  printf(" listen: %s", said(listen(fd, 5)));
  printf(" a port: %d address: %x", name_of(fd).sin_port != 0, ntohl(name_of(fd).sin_addr.s_addr));
  printf(" shutdown: %s", said(shutdown(fd, SHUT_RD)));
  printf(" bind: %s", said(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address))));
  printf(" listen: %s", said(listen(fd, 5)));
  printf(" shutdown: %s", said(shutdown(fd, SHUT_RD)));
  printf(" same port: %d", name_of(fd).sin_port == address.sin_port);
  printf(" bind: %s\n", said(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address))));
  close(fd);
}

void* listen_again(void* fd) {
  long failures = 0;
  while (!stop) {
    failures += listen(*static_cast<int*>(fd), 3) != 0 ? 1 : 0;
  }
  return reinterpret_cast<void*>(failures);
}

void shut_down_by_another_thread() {
  sockaddr_in address = any_port();
  close(bound_socket(&address));
  int fd = bound_socket(&address);  // this port
  printf("listen: %s", said(listen(fd, 5)));
  pthread_t thread;
  pthread_create(&thread, nullptr, listen_again, &fd);
  int failures = 0;
  for (int i = 0; i < kRounds; ++i) {
    failures += shutdown(fd, SHUT_RDWR) != 0 ? 1 : 0;
    failures += listen(fd, 4) != 0 ? 1 : 0;
  }
  stop = true;
  void* others = nullptr;
  pthread_join(thread, &others);
  printf(" %d and %ld failed, listens: %d, same port: %d\n", failures,
         reinterpret_cast<long>(others), listens(fd), name_of(fd).sin_port == address.sin_port);
  close(fd);
}

}  // namespace

int main() {
  one_port_two_sockets();
  under_signals();
  shut_down();
  shut_down_by_another_thread();
  return 0;
}
