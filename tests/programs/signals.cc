// SPDX-License-Identifier: Apache-2.0
// An ordinary program: dispositions, masks, handlers at calls, restarts, timers, waiting for
// signals.
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

volatile sig_atomic_t seen[65];
sigjmp_buf jump;

void count(int number) {
  seen[number] = seen[number] + 1;
}
void leap(int) {
  siglongjmp(jump, 7);
}
void info(int number, siginfo_t* i, void*) {
  count(number);
  printf("info: signal %d code %d from own pid %d\n", number, i->si_code, i->si_pid == getpid());
}

void install(int number, void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(number, &action, nullptr);
}

void* waiter(void*) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  int number = 0;
  sigwait(&set, &number);
  printf("sigwait: %d\n", number);
  return nullptr;
}

void alarms() {
  install(SIGALRM, count, 0);
  itimerval timer = {};
  timer.it_value.tv_usec = 20000;
  timer.it_interval.tv_usec = 10000;
  setitimer(ITIMER_REAL, &timer, nullptr);
  while (seen[SIGALRM] < 3) {
    pause();
  }
  timer = {};
  setitimer(ITIMER_REAL, &timer, nullptr);
  printf("alarms: 3 or more: %d, pause: %s\n", seen[SIGALRM] >= 3, strerror(errno));
}

void restarts() {
  int fds[2];
  if (pipe(fds) != 0) {
    return;
  }
  char byte = 0;
  install(SIGALRM, count, 0);
  ualarm(10000, 0);
  const ssize_t n = read(fds[0], &byte, 1);
  printf("read without SA_RESTART: %zd %s\n", n, strerror(errno));
  static int write_end = fds[1];
  install(
      SIGALRM, [](int) { (void)!write(write_end, "x", 1); }, SA_RESTART);
  ualarm(10000, 0);
  printf("read with SA_RESTART: %zd %c\n", read(fds[0], &byte, 1), byte);
}

}  // namespace

// What waits is gone once it is ignored, also what was sent to a thread.
void ignored_while_blocked() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const int numbers[] = {SIGUSR1, SIGRTMIN};
  for (const int number : numbers) {
    pthread_kill(pthread_self(), number);
    kill(getpid(), number);
    install(number, SIG_IGN, 0);
    install(number, count, 0);
  }
  const int before = seen[SIGUSR1];
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  printf("ignored while blocked: %d %d\n", seen[SIGUSR1] - before, seen[SIGRTMIN]);
}

// A signal without effect ends no sigsuspend.
void suspended() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  raise(SIGCHLD);
  install(SIGALRM, count, 0);
  const int before = seen[SIGALRM];
  itimerval timer = {};
  timer.it_value.tv_usec = 20000;
  setitimer(ITIMER_REAL, &timer, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigsuspend(&none);
  printf("sigsuspend with an ignored one: %d\n", seen[SIGALRM] - before);
}

int ends[2];
// Once the pipe is full: the writer waits, or is about to.
void* close_reader(void*) {
  int there = 0;
  while (ioctl(ends[0], FIONREAD, &there) == 0 && there < 65536) {
    sched_yield();
  }
  close(ends[0]);
  return nullptr;
}

// The reader goes in the midst of a write: what was written counts, and the signal comes as well.
void broken_pipe() {
  static char bytes[100000];
  install(SIGPIPE, count, 0);
  pthread_t thread;
  if (pipe(ends) != 0 || pthread_create(&thread, nullptr, close_reader, nullptr) != 0) {
    return;
  }
  const ssize_t written = write(ends[1], bytes, sizeof(bytes));
  pthread_join(thread, nullptr);
  printf("broken in the midst: %zd written, seen %d\n", written, seen[SIGPIPE]);
  close(ends[1]);
}

int word = 0;
void* wait_for_word(void*) {
  syscall(SYS_futex, &word, FUTEX_WAIT, 0, nullptr, nullptr, 0);
  return nullptr;
}

void requeued_to_itself() {
  pthread_t thread;
  pthread_create(&thread, nullptr, wait_for_word, nullptr);
  long requeued = 0;
  while (requeued == 0) {  // until it waits
    sched_yield();
    requeued = syscall(SYS_futex, &word, FUTEX_REQUEUE, 0, INT_MAX, &word, 0);
  }
  printf("requeued to itself: %ld\n", requeued);
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  pthread_join(thread, nullptr);
}

int main() {
  install(SIGUSR1, count, 0);
  raise(SIGUSR1);
  kill(getpid(), SIGUSR1);
  printf("raise and kill: %d\n", seen[SIGUSR1]);

  sigset_t set;
  sigset_t pending;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  raise(SIGUSR1);
  sigpending(&pending);
  printf("blocked: %d pending %d\n", seen[SIGUSR1], sigismember(&pending, SIGUSR1));
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  printf("unblocked: %d\n", seen[SIGUSR1]);

  struct sigaction action = {};
  action.sa_sigaction = info;
  action.sa_flags = SA_SIGINFO | SA_RESETHAND;
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  sigaction(SIGUSR1, nullptr, &action);
  printf("reset to default: %d\n", action.sa_handler == SIG_DFL);

  install(SIGTERM, leap, 0);
  if (sigsetjmp(jump, 1) == 0) {
    raise(SIGTERM);
  } else {
    printf("jumped out of a handler\n");
  }
  install(SIGPIPE, SIG_IGN, 0);
  raise(SIGPIPE);

  alarms();
  restarts();

  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  pthread_t thread;
  pthread_create(&thread, nullptr, waiter, nullptr);
  usleep(1000);
  pthread_kill(thread, SIGUSR2);
  pthread_join(thread, nullptr);

  sigset_t empty;
  sigemptyset(&empty);
  install(SIGUSR2, count, 0);
  raise(SIGUSR2);
  const int rc = sigsuspend(&empty);
  printf("sigsuspend: %d %s, seen %d\n", rc, strerror(errno), seen[SIGUSR2]);
  ignored_while_blocked();
  suspended();
  broken_pipe();
  requeued_to_itself();
  fflush(stdout);
  return 3;
}
