// SPDX-License-Identifier: Apache-2.0
// An ordinary program: what its signal handlers see of the place that they interrupted, and what
// they change there. Profilers, crash reporters, collectors and run-time systems (null checks by
// SIGSEGV) live on this. Prints only what is the same in each run.
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

namespace {

using Handler = void (*)(int, siginfo_t*, void*);

void handle(int number, Handler handler, int flags, int also_blocked = 0) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigemptyset(&action.sa_mask);
  if (also_blocked != 0) {
    sigaddset(&action.sa_mask, also_blocked);
  }
  sigaction(number, &action, nullptr);
}

greg_t* registers_of(void* context) {
  return static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
}

bool is_blocked(int number) {
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, number) != 0;
}

// --- unwinding from a handler ---

greg_t stack_of_main;  // above the frames of everybody who waits for a signal
void* caller_wanted;
bool caller_found;
bool stack_is_near;

void unwind(int, siginfo_t*, void* context) {
  void* frames[64];
  const int depth = backtrace(frames, 64);
  caller_found = false;
  for (int i = 0; i < depth; ++i) {
    caller_found |= frames[i] == caller_wanted;
  }
  char here = 0;
  const greg_t interrupted = registers_of(context)[REG_RSP];
  const auto own = reinterpret_cast<greg_t>(&here);
  stack_is_near = own < interrupted && interrupted - own < 100'000 && interrupted <= stack_of_main;
}

__attribute__((noinline)) void raise_here() {
  caller_wanted = __builtin_return_address(0);
  raise(SIGUSR1);
  __asm__ volatile("");
}

__attribute__((noinline)) long read_here(int fd, char* byte) {
  caller_wanted = __builtin_return_address(0);
  const long result = read(fd, byte, 1);
  __asm__ volatile("");
  return result;
}

void set_timer() {
  const itimerval soon = {{0, 0}, {0, 3000}};
  setitimer(ITIMER_REAL, &soon, nullptr);
}

int to_reader = -1;

void unwinding() {
  stack_of_main = reinterpret_cast<greg_t>(__builtin_frame_address(0));
  void* first[4];
  backtrace(first, 4);  // loads what the unwinder needs
  handle(SIGUSR1, unwind, 0);
  raise_here();
  printf("raised: caller %d stack %d\n", caller_found, stack_is_near);
  int ends[2];
  if (pipe(ends) != 0) {
    return;
  }
  char byte = 0;
  handle(SIGALRM, unwind, 0);
  set_timer();
  const long cut = read_here(ends[0], &byte);
  printf("read: %ld %s caller %d stack %d\n", cut, strerror(errno), caller_found, stack_is_near);
  to_reader = ends[1];
  handle(
      SIGALRM,
      [](int number, siginfo_t* info, void* context) {
        unwind(number, info, context);
        if (write(to_reader, "x", 1) != 1) {
          abort();
        }
      },
      SA_RESTART);
  set_timer();
  const long done = read_here(ends[0], &byte);
  printf("restarted: %ld %c caller %d stack %d\n", done, byte, caller_found, stack_is_near);
  close(ends[0]);
  close(ends[1]);
}

// --- faults: registers and changes to them ---

char* page;
greg_t seen[3];
bool on_stack;
bool mask_was_set;
volatile sig_atomic_t faults;

// Reads through `address` with known values in two registers; the handler gives what it reads.
__attribute__((noinline)) uint64_t load(const void* address) {
  uint64_t value = 0;
  __asm__ volatile(
      "movq $0x1122334455667788, %%r12\n\t"
      "movq $77, %%r13\n\t"
      "movq (%%rcx), %%rax\n"
      : "=a"(value)
      : "c"(address)
      : "r12", "r13", "memory");
  return value;
}

void skip_load(int, siginfo_t* info, void* context) {
  greg_t* registers = registers_of(context);
  char here = 0;
  seen[0] = registers[REG_R12];
  seen[1] = registers[REG_R13];
  seen[2] = info->si_addr == page && registers[REG_TRAPNO] == 14 &&
            registers[REG_CR2] == reinterpret_cast<greg_t>(page);
  on_stack = labs(reinterpret_cast<long>(&here) - registers[REG_RSP]) < 100'000;
  mask_was_set = is_blocked(SIGUSR2) && is_blocked(SIGSEGV);
  registers[REG_RAX] = 4711;
  registers[REG_RIP] += 3;  // movq (%rcx), %rax
  sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, SIGUSR1);
  faults = faults + 1;
}

void changes() {
  page = static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  handle(SIGSEGV, skip_load, 0, SIGUSR2);
  const auto value = static_cast<unsigned long>(load(page));
  printf("load gave %lu, registers %lx %ld, address %d\n", value,
         static_cast<unsigned long>(seen[0]), static_cast<long>(seen[1]), seen[2] != 0);
  printf("on the stack %d, masked %d, afterwards %d %d %d\n", on_stack, mask_was_set,
         is_blocked(SIGUSR1), is_blocked(SIGUSR2), is_blocked(SIGSEGV));
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int i = 0; i < 1000; ++i) {
    load(page);
  }
  sigprocmask(SIG_SETMASK, &none, nullptr);
  printf("null checks: %d\n", faults);
}

sigjmp_buf after;

void flags() {
  handle(
      SIGSEGV,
      [](int, siginfo_t*, void*) {
        mask_was_set = is_blocked(SIGSEGV);
        siglongjmp(after, 1);
      },
      SA_NODEFER | static_cast<int>(SA_RESETHAND));
  if (sigsetjmp(after, 1) == 0) {
    load(page);
  }
  struct sigaction now;
  sigaction(SIGSEGV, nullptr, &now);
  printf("no defer: blocked %d, reset %d\n", mask_was_set, now.sa_handler == SIG_DFL);
}

// --- a stack that is used up ---

char alternate[64 * 1024];

__attribute__((noinline)) int consume(int depth) {
  volatile char frame[4096];
  if (depth > 1'000'000) {
    return 0;
  }
  frame[0] = static_cast<char>(depth);
  const int below = consume(depth + 1);
  return below + frame[0];
}

void overflow_handler(int, siginfo_t* info, void* context) {
  char here = 0;
  const bool on_alternate = &here >= alternate && &here < alternate + sizeof(alternate);
  const auto fault = reinterpret_cast<greg_t>(info->si_addr);
  const bool near = labs(fault - registers_of(context)[REG_RSP]) < 100'000;
  const stack_t& stack = static_cast<ucontext_t*>(context)->uc_stack;
  siglongjmp(after,
             1 + (on_alternate ? 1 : 0) + (near ? 2 : 0) + (stack.ss_sp == alternate ? 4 : 0));
}

void* overflow(void*) {
  const stack_t stack = {alternate, 0, sizeof(alternate)};
  sigaltstack(&stack, nullptr);
  handle(SIGSEGV, overflow_handler, SA_ONSTACK);
  for (int round = 0; round < 3; ++round) {
    const int how = sigsetjmp(after, 1);
    if (how == 0) {
      consume(0);
    }
    stack_t now;
    sigaltstack(nullptr, &now);
    printf("overflow: %d, in use %d\n", how, (now.ss_flags & SS_ONSTACK) != 0);
  }
  return nullptr;
}

void overflows() {
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  pthread_create(&thread, &attributes, overflow, nullptr);
  pthread_join(thread, nullptr);
}

// --- vector registers ---

void use_vectors(int, siginfo_t*, void* context) {
  __asm__ volatile("pcmpeqd %%xmm6, %%xmm6\n\tpcmpeqd %%xmm15, %%xmm15" : : : "xmm6", "xmm15");
  fpregset_t state = static_cast<ucontext_t*>(context)->uc_mcontext.fpregs;
  state->_xmm[7].element[0] += 1;
}

// Values in vector registers while a fault is handled; the handler adds 1 to one of them.
void vectors() {
  handle(
      SIGSEGV,
      [](int number, siginfo_t* info, void* context) {
        use_vectors(number, info, context);
        registers_of(context)[REG_RIP] += 3;
      },
      0);
  uint64_t six = 6;
  uint64_t seven = 7;
  uint64_t fifteen = 15;
  __asm__ volatile(
      "movq %0, %%xmm6\n\tmovq %1, %%xmm7\n\tmovq %2, %%xmm15\n\t"
      "movq (%%rcx), %%rax\n\t"
      "movq %%xmm6, %0\n\tmovq %%xmm7, %1\n\tmovq %%xmm15, %2\n"
      : "+r"(six), "+r"(seven), "+r"(fifteen)
      : "c"(page)
      : "rax", "xmm6", "xmm7", "xmm15", "memory");
  printf("vectors: %d %d %d\n", static_cast<int>(six), static_cast<int>(seven),
         static_cast<int>(fifteen));
}

// --- several at once, and stacks that disarm themselves ---

int order[8];
volatile sig_atomic_t started;

void note(int number, siginfo_t*, void*) {
  order[started] = number;
  started = started + 1;
}

void nesting() {
  sigset_t set;
  sigemptyset(&set);
  const int numbers[3] = {SIGUSR1, SIGUSR2, SIGRTMIN + 1};
  for (const int number : numbers) {
    sigaddset(&set, number);
    handle(number, note, 0);
  }
  sigprocmask(SIG_BLOCK, &set, nullptr);
  raise(SIGRTMIN + 1);
  raise(SIGUSR2);
  raise(SIGUSR1);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  printf("order: %d %d %d\n", order[0], order[1], order[2]);
}

void disarming() {
  const stack_t stack = {alternate, static_cast<int>(1u << 31), sizeof(alternate)};
  printf("autodisarm: %d", sigaltstack(&stack, nullptr));
  handle(
      SIGUSR1,
      [](int, siginfo_t*, void* context) {
        stack_t now;
        sigaltstack(nullptr, &now);
        const ucontext_t* interrupted = static_cast<ucontext_t*>(context);
        printf(" off %d, kept %d", now.ss_flags == SS_DISABLE,
               interrupted->uc_stack.ss_sp == alternate);
      },
      SA_ONSTACK);
  raise(SIGUSR1);
  stack_t now;
  sigaltstack(nullptr, &now);
  printf(", back %d\n", now.ss_sp == alternate);
}

}  // namespace

int main() {
  unwinding();
  changes();
  flags();
  overflows();
  vectors();
  nesting();
  disarming();
  fflush(stdout);
  handle(SIGSEGV, skip_load, 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGSEGV);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  usleep(1000);                         // what was printed leaves before the end
  return static_cast<int>(load(page));  // blocked: dies
}
