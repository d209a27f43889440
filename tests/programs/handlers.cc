// SPDX-License-Identifier: Apache-2.0
// An ordinary program: handlers on alternate stacks, queued signals with values, waiting for
// signals, masks of handlers, faults. Prints only what is the same in each run.
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

namespace {

char alternate[64 * 1024];
volatile sig_atomic_t on_alternate = -1;
int values[16];
volatile sig_atomic_t count = 0;
sigjmp_buf after_fault;

// `also_blocked`: 0 for nothing else, -1 for every signal.
void handle(int number, void (*handler)(int, siginfo_t*, void*), int flags, int also_blocked = 0) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigemptyset(&action.sa_mask);
  if (also_blocked > 0) {
    sigaddset(&action.sa_mask, also_blocked);
  } else if (also_blocked < 0) {
    sigfillset(&action.sa_mask);
  }
  sigaction(number, &action, nullptr);
}

void where(int, siginfo_t*, void*) {
  char here;
  on_alternate = &here >= alternate && &here < alternate + sizeof(alternate);
}

void keep(int number, siginfo_t* info, void*) {
  if (count < 16) {
    values[count] = number * 1000 + info->si_value.sival_int;
  }
  count = count + 1;
}

void stacks() {
  stack_t stack = {alternate, 0, sizeof(alternate)};
  stack_t old = {};
  printf("sigaltstack: %d", sigaltstack(&stack, &old));
  printf(" was off %d\n", (old.ss_flags & SS_DISABLE) != 0);
  handle(SIGUSR1, where, SA_ONSTACK);
  raise(SIGUSR1);
  printf("on it: %d\n", on_alternate);
  handle(SIGUSR1, where, 0);
  raise(SIGUSR1);
  printf("not on it: %d\n", on_alternate);
  sigaltstack(nullptr, &old);
  printf("still set: %d\n", old.ss_sp == alternate && old.ss_size == sizeof(alternate));
  stack.ss_size = 100;
  printf("too small: %d", sigaltstack(&stack, nullptr));
  printf(" %s\n", strerror(errno));
}

void queued() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  sigaddset(&set, SIGRTMIN + 2);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  handle(SIGRTMIN + 1, keep, 0, -1);
  handle(SIGRTMIN + 2, keep, 0, -1);
  handle(SIGUSR2, keep, 0, -1);
  for (int i = 1; i <= 3; ++i) {
    sigqueue(getpid(), SIGRTMIN + 2, {.sival_int = i});
    sigqueue(getpid(), SIGRTMIN + 1, {.sival_int = i});
    sigqueue(getpid(), SIGUSR2, {.sival_int = i});
  }
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  printf("delivered %d:", count);
  for (int i = 0; i < count && i < 16; ++i) {
    printf(" %d", values[i]);
  }
  printf("\n");
}

void waited() {
  sigset_t set;
  sigset_t old;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigaddset(&set, SIGRTMIN + 3);
  sigprocmask(SIG_BLOCK, &set, &old);
  const timespec brief = {0, 2'000'000};
  const timespec zero = {0, 0};
  siginfo_t info = {};
  printf("nothing: %d", sigtimedwait(&set, &info, &brief));
  printf(" %s", strerror(errno));
  printf(", at once: %d", sigtimedwait(&set, &info, &zero));
  printf(" %s\n", strerror(errno));
  sigqueue(getpid(), SIGUSR2, {.sival_int = 42});
  printf("queued: %d", sigwaitinfo(&set, &info) == SIGUSR2);
  printf(" value %d code %d own %d\n", info.si_value.sival_int, info.si_code == SI_QUEUE,
         info.si_pid == getpid());
  sigqueue(getpid(), SIGRTMIN + 3, {.sival_int = 1});
  sigqueue(getpid(), SIGRTMIN + 3, {.sival_int = 2});
  for (int i = 0; i < 2; ++i) {
    printf("in order: %d", sigtimedwait(&set, &info, &brief) == SIGRTMIN + 3);
    printf(" %d\n", info.si_value.sival_int);
  }
  printf("then nothing: %d\n", sigtimedwait(&set, &info, &zero));
  sigset_t pending;
  raise(SIGUSR2);
  sigpending(&pending);
  printf("pending: %d\n", sigismember(&pending, SIGUSR2));
  count = 0;
  printf("sigsuspend: %d", sigsuspend(&old));
  printf(" %s, handled %d\n", strerror(errno), count);
  sigprocmask(SIG_SETMASK, &old, nullptr);
}

void nested(int number, siginfo_t*, void*) {
  const int before = count;
  raise(number);
  raise(SIGUSR2);
  // The handler set below ignores what is still pending of its own signal.
  printf("in the handler both wait: %d\n", count == before);
}

void masks() {
  count = 0;
  handle(SIGUSR2, keep, 0);
  handle(
      SIGUSR1,
      [](int number, siginfo_t* info, void* context) {
        nested(number, info, context);
        signal(number, SIG_IGN);
      },
      0, SIGUSR2);
  raise(SIGUSR1);
  printf("then the other: %d\n", count);
}

void faults() {
  handle(
      SIGSEGV,
      [](int, siginfo_t* info, void*) { siglongjmp(after_fault, 1 + (info->si_addr != nullptr)); },
      SA_ONSTACK);
  void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const int how = sigsetjmp(after_fault, 1);
  if (how == 0) {
    *static_cast<volatile char*>(page) = 1;
  }
  printf("fault: %d\n", how);
  handle(
      SIGFPE, [](int, siginfo_t* info, void*) { siglongjmp(after_fault, info->si_code); }, 0);
  volatile int one = 1;
  volatile int zero = 0;
  const int code = sigsetjmp(after_fault, 1);
  if (code == 0) {
    printf("%d\n", one / zero);
  }
  printf("division: %d\n", code == FPE_INTDIV);
}

}  // namespace

int main() {
  stacks();
  queued();
  waited();
  masks();
  faults();
  fflush(stdout);
  raise(SIGTERM);
  return 0;
}
