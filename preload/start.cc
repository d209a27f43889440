// SPDX-License-Identifier: Apache-2.0
// Start-up, dispatch and the SIGSYS handler. The library is linked -z initfirst: its constructor
// runs before every other one, so no call of the application's escapes. Runs in the application;
// the constructor moves to the shim stack at once.
//
// ORDER of the start: gate page, arena, region, this thread, signal handlers, vDSO (before the TSC
// trap, since its own code reads the TSC), TSC trap, dispatch, start record. Everything after the
// dispatch is armed goes through the gate or is trapped.
#include "preload/start.h"

#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/exec/carry.h"
#include "preload/handlers.h"
#include "preload/limits.h"
#include "preload/net/net.h"
#include "preload/raw.h"
#include "preload/scheduler.h"
#include "preload/signals.h"
#include "preload/text.h"
#include "preload/vdso.h"
#include "preload/vector_state.h"

extern "C" {
#define FTRUN_HIDDEN __attribute__((visibility("hidden")))
FTRUN_HIDDEN unsigned long ftrun_kernel_calls;
extern FTRUN_HIDDEN const uint8_t ftrun_gate_begin[];
extern FTRUN_HIDDEN const uint8_t ftrun_gate_end[];
FTRUN_HIDDEN void ftrun_on_stack(void* top, void (*function)(void*), void* argument);
FTRUN_HIDDEN long shim_dispatch(long number, const long* arguments, ftrun::shim::Thread* thread);
}

namespace ftrun::shim {
namespace {

// The kernel before the gate exists.
long early_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                long f = 0) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

[[noreturn]] void early_fail(const char* text) {
  size_t length = 0;
  while (text[length] != '\0') {
    ++length;
  }
  early_call(__NR_write, 2, to_long(text), static_cast<long>(length));
  early_call(__NR_exit_group, 125);
  __builtin_unreachable();
}

void map_gate() {
  const long page =
      early_call(__NR_mmap, FTRUN_GATE_ADDRESS, FTRUN_GATE_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (page != FTRUN_GATE_ADDRESS) {
    early_fail("ftrun: the gate page cannot be mapped\n");
  }
  __builtin_memcpy(reinterpret_cast<void*>(page), ftrun_gate_begin,
                   static_cast<size_t>(ftrun_gate_end - ftrun_gate_begin));
  early_call(__NR_mprotect, page, FTRUN_GATE_BYTES, PROT_READ | PROT_EXEC);
}

void map_arena() {
  const long address =
      early_call(__NR_mmap, FTRUN_ARENA_ADDRESS, FTRUN_ARENA_STEP_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (address != static_cast<long>(FTRUN_ARENA_ADDRESS)) {
    early_fail("ftrun: the shim's memory cannot be reserved\n");
  }
}

void map_part(int fd, uint64_t address, size_t bytes, uint64_t offset) {
  const long mapped = raw(__NR_mmap, address, bytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_FIXED_NOREPLACE, fd, offset);
  if (mapped == -ENOMEM) {
    early_fail(
        "ftrun: not enough address space for the shared rings (see ulimit -v; `ftrun doctor` says "
        "how much)\n");
  }
  if (mapped != static_cast<long>(address)) {
    early_fail("ftrun: the shared region cannot be mapped (was this program started by ftrun?)\n");
  }
}

Control* map_region() {
  const int fd = find_region_descriptor();
  map_part(fd, kRegionAddress, kControlBytes, 0);
  auto* control = reinterpret_cast<Control*>(kRegionAddress);
  if (control->magic != kRegionMagic || control->version != kRegionVersion) {
    early_fail("ftrun: the shared region has another version than the shim\n");
  }
  for (uint32_t ring = 0; ring < kRingCount; ++ring) {
    if (control->ring_bytes[ring] != kRingBytes[ring]) {
      early_fail("ftrun: the shared region has other ring sizes than the shim\n");
    }
    const uint64_t address = kRegionAddress + ring_map_offset(ring);
    map_part(fd, address, kRingBytes[ring], ring_file_offset(ring));
    map_part(fd, address + kRingBytes[ring], kRingBytes[ring], ring_file_offset(ring));
  }
  return control;
}

void keep_privileges() {
  // What a setuid program would gain could not be followed (exec.cc); no later call may raise them.
  if (raw(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    shim_fail("the kernel refuses no_new_privs");
  }
}

// --- dispatch ---

// One call, from whichever entry. A call that starts over without a handler counts as another one,
// in every replica alike: what ended its wait is an arrival. Sets Thread::deliver and
// Thread::restart_call.
long run_call(Thread* thread, long number, const long* arguments) {
  for (;;) {
    doors_enter_call(thread, number);
    const long result = call_entry(number).handler(number, arguments);
    bool restart = false;
    const long finished = signals_finish_call(thread, result, &restart);
    if (restart && thread->deliver == 0) {
      continue;
    }
    thread->restart_call = restart ? 1 : 0;
    return finished;
  }
}

void restore_registers(greg_t* registers, const SavedContext* saved) {
  // Segment registers and the trap fields after them stay the kernel's.
  __builtin_memcpy(registers, saved->registers, (REG_EFL + 1) * sizeof(greg_t));
}

// Numbers of the other two ABIs mean other calls: int $0x80 (i386), and x32's, with this bit.
constexpr long kX32Bit = 0x40000000;
long deny_foreign_call(Thread* thread, long number, bool is_i386) {
  static bool told[2];
  doors_enter_call(thread, number);
  if (!told[is_i386 ? 1 : 0]) {
    told[is_i386 ? 1 : 0] = true;
    Text text;
    text.add("system call ").add(is_i386 ? number & 0xffffffff : number & ~kX32Bit);
    text.add(is_i386 ? " of the i386 ABI (int $0x80)" : " of the x32 ABI");
    text.add(" is not supported: answered ENOSYS").add(describe_caller()).add("\n");
    shim_notice(text.c_str());
  }
  return -ENOSYS;
}

// The end of a call that came through the PLT, with a handler due: the application goes on in the
// stub, or, if the call starts over, at the stub's begin (entry.S has put its address into %rdi).
void deliver_after_call(Thread* thread, ucontext_t* context) {
  greg_t* registers = context->uc_mcontext.gregs;
  const FinishedCall& call = thread->finished_call;
  const bool again = thread->restart_call != 0;
  const greg_t stub = registers[REG_RDI];
  // What a function may leave in these registers: nothing, so that all replicas show the same.
  for (const int scratch : {REG_RDI, REG_RSI, REG_RDX, REG_RCX, REG_R8, REG_R9, REG_R10, REG_R11}) {
    registers[scratch] = 0;
  }
  registers[REG_RAX] = again ? call.number : call.result;
  if (again) {
    constexpr int kArguments[6] = {REG_RDI, REG_RSI, REG_RDX, REG_RCX, REG_R8, REG_R9};
    for (int i = 0; i < 6; ++i) {
      registers[kArguments[i]] = call.arguments[i];
    }
    registers[REG_RIP] = stub;
  }
  handlers_start(thread, context);
}

// Calls that are only about registers. False: `number` is none of them.
bool handle_context_call(long number, ucontext_t* context) {
  switch (number) {
    case FTRUN_NR_RESUME: {
      greg_t* registers = context->uc_mcontext.gregs;
      restore_registers(registers, reinterpret_cast<const SavedContext*>(registers[REG_RDI]));
      vector_state_clear_registers(context->uc_mcontext.fpregs);
      return true;
    }
    case FTRUN_NR_DELIVER:
      deliver_after_call(self(), context);
      return true;
    case __NR_rt_sigreturn:
      handlers_return(self(), context);
      return true;
    default:
      return false;
  }
}

void handle_sigsys(int, siginfo_t* info, void* argument) {
  auto* context = static_cast<ucontext_t*>(argument);
  greg_t* registers = context->uc_mcontext.gregs;
  const long number = registers[REG_RAX];
  const bool is_ours = info->si_arch == AUDIT_ARCH_X86_64;
  if (is_ours && handle_context_call(number, context)) {
    return;
  }
  Thread* thread = self();
  const long arguments[6] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                             registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
  thread->caller_address = static_cast<uint64_t>(registers[REG_RIP]);
  thread->caller_stack = static_cast<uint64_t>(registers[REG_RSP]);
  if (!is_ours || (number > 0 && (number & kX32Bit) != 0)) {
    registers[REG_RAX] = deny_foreign_call(thread, number, !is_ours);
    return;
  }
  if (number == __NR_clone) {
    doors_enter_call(thread, number);
    const long result = clone_call(arguments, registers);
    if (result < 0) {
      registers[REG_RAX] = result;
    }
    return;
  }
  const long result = run_call(thread, number, arguments);
  if (thread->restart_call != 0) {
    registers[REG_RAX] = number;
    registers[REG_RIP] -= 2;
  } else {
    registers[REG_RAX] = result;
  }
  if (thread->deliver != 0) {
    handlers_start(thread, context);
  }
}

// --- start ---

struct StartArguments {
  uint64_t vdso;
  Thread* thread;
};

// ORDER: thread, region and doors before whatever may fail with a message; handlers before the
// trap, which needs SIGSYS's; the trap before the start record: a secondary may wait there for its
// log, and the loader runs on only when both replicas have it. What goes over an exec is restored
// before the first intercepted call, with the call counter.
void start_on_shim_stack(void* argument) {
  const auto* arguments = static_cast<const StartArguments*>(argument);
  Control* control = map_region();
  const bool first = control->execs.load(std::memory_order_relaxed) == 0;
  scheduler_init();
  scheduler_publish(control);
  doors_init(control);
  files_init(control->state_directories);
  limits_init();
  install_alternate_stack(self());
  signals_init();
  handlers_init();
  install_shim_handler(SIGSYS, &handle_sigsys);
  if (first) {
    raw(__NR_close, kRegionFd);
    net_init();
    fd_set_native(0, 3, false);
  } else {
    carry_restore();
  }
  vdso_patch(arguments->vdso);
  if (raw(__NR_prctl, PR_SET_TSC, PR_TSC_SIGSEGV) != 0) {
    shim_fail("the kernel cannot trap RDTSC");
  }
  keep_privileges();
  arm_dispatch();
  first ? doors_start() : exec_succeeded();
}

uint64_t find_vdso(char** environment) {
  while (*environment != nullptr) {
    ++environment;
  }
  const auto* auxiliary = reinterpret_cast<const Elf64_auxv_t*>(environment + 1);
  for (; auxiliary->a_type != AT_NULL; ++auxiliary) {
    if (auxiliary->a_type == AT_SYSINFO_EHDR) {
      return auxiliary->a_un.a_val;
    }
  }
  return 0;
}

__attribute__((constructor)) void start(int, char**, char** environment) {
  map_gate();
  map_arena();
  StartArguments arguments = {find_vdso(environment), nullptr};
  uint8_t* stack = static_cast<uint8_t*>(arena_alloc(64 * 1024, 4096));
  ftrun_on_stack(stack + 64 * 1024, &start_on_shim_stack, &arguments);
}

}  // namespace

void shim_notice(const char* text) {
  Output notice;
  notice.kind = OutputKind::kNotice;
  notice.data = reinterpret_cast<const uint8_t*>(text);
  while (text[notice.length] != '\0') {
    ++notice.length;
  }
  emit_output(notice);
}

void install_alternate_stack(Thread* thread) {
  stack_t stack = {};
  stack.ss_sp = thread->alternate_stack;
  stack.ss_size = 64 * 1024;
  raw(__NR_sigaltstack, &stack, nullptr);
}

void arm_dispatch() {
  if (raw(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, FTRUN_GATE_ADDRESS,
          FTRUN_GATE_BYTES, nullptr) != 0) {
    shim_fail("the kernel cannot trap system calls (Syscall User Dispatch)");
  }
}

void resume_context(SavedContext* context) {
  // Outside the gate, so it traps; the handler runs on the alternate stack.
  early_call(FTRUN_NR_RESUME, to_long(context));
  __builtin_unreachable();
}

}  // namespace ftrun::shim

long shim_dispatch(long number, const long* arguments, ftrun::shim::Thread* thread) {
  const long result = ftrun::shim::run_call(thread, number, arguments);
  if (thread->deliver != 0) {
    thread->finished_call.number = number;
    thread->finished_call.result = result;
    __builtin_memcpy(thread->finished_call.arguments, arguments,
                     sizeof(thread->finished_call.arguments));
  }
  return result;
}
