// SPDX-License-Identifier: Apache-2.0
// See handlers.h. Runs in the application, on the shim's alternate stack with the token held; no
// libc.
//
// The alternate stack that the kernel knows is the shim's; the application's is a field of Thread.
// A handler starts by what the SIGSYS or fault handler returns to: its context is rewritten, and
// the kernel's own sigreturn puts the program there. So no code of the shim lies below a handler's
// frame, where an unwinder would meet it.
#include "preload/handlers.h"

#include <errno.h>

#include "preload/doors.h"
#include "preload/dying.h"
#include "preload/guarded.h"
#include "preload/pending.h"
#include "preload/signals.h"
#include "preload/vector_state.h"

namespace ftrun::shim {
namespace {

// struct rt_sigframe of arch/x86/include/asm/sigframe.h. The handler starts with the stack pointer
// at `restorer`, its return address.
struct Frame {
  uint64_t restorer;
  unsigned long flags;  // from here on: the kernel's struct ucontext
  void* link;
  stack_t stack;
  mcontext_t machine;
  SignalSet mask;
  siginfo_t info;
};
static_assert(sizeof(Frame) == 440 && offsetof(Frame, machine) == 8 + 40);

constexpr uint64_t kRedZoneBytes = 128;
constexpr uint64_t kRestorer = 0x04000000;  // SA_RESTORER
constexpr int kAutoDisarm = static_cast<int>(1u << 31);
constexpr size_t kAlternateStackBytesMin = 2048;  // MINSIGSTKSZ
constexpr uint64_t kStackBytesOfHandlerMax = 1 << 20;
constexpr greg_t kPageFault = 14;
constexpr greg_t kFaultOnPresentPage = 1;
// EFLAGS that a handler starts without: direction, trap, resume; and those that its return sets
// (FIX_EFLAGS).
constexpr greg_t kFlagsOff = 0x400 | 0x100 | 0x10000;
constexpr greg_t kFlagsRestored =
    0x40000 | 0x800 | 0x400 | 0x100 | 0x80 | 0x40 | 0x10 | 4 | 1 | 0x10000;

bool is_within(const stack_t& stack, uint64_t stack_pointer) {
  return stack_pointer - reinterpret_cast<uint64_t>(stack.ss_sp) - 1 < stack.ss_size;
}
// on_sig_stack() of the kernel: a stack that is disarmed at each use never counts as in use.
bool is_on_stack(const stack_t& stack, uint64_t stack_pointer) {
  return (stack.ss_flags & (SS_DISABLE | kAutoDisarm)) == 0 && is_within(stack, stack_pointer);
}

// Where the frame of a handler that interrupts `stack_pointer` goes, and its vector state; 0: there
// is no room on the alternate stack.
struct Place {
  uint64_t frame;
  uint64_t vectors;
  uint64_t stack_bytes;  // that the handler has below the frame
};
Place place_of_frame(const Thread* thread, const KernelAction& action, uint64_t stack_pointer,
                     size_t vector_bytes) {
  const stack_t& alternate = thread->application_alternate_stack;
  const bool usable = alternate.ss_sp != nullptr && (alternate.ss_flags & SS_DISABLE) == 0;
  uint64_t top = stack_pointer - kRedZoneBytes;
  bool on_alternate = usable && is_on_stack(alternate, stack_pointer);
  if ((action.flags & SA_ONSTACK) != 0 && usable && !is_on_stack(alternate, top)) {
    top = reinterpret_cast<uint64_t>(alternate.ss_sp) + alternate.ss_size;
    on_alternate = true;
  }
  Place place = {};
  place.vectors = (top - vector_bytes) & ~uint64_t{63};
  place.frame = ((place.vectors - sizeof(Frame)) & ~uint64_t{15}) - 8;
  place.stack_bytes = kStackBytesOfHandlerMax;
  if (on_alternate) {
    place.stack_bytes = place.frame - reinterpret_cast<uint64_t>(alternate.ss_sp);
    place.frame = is_within(alternate, place.frame) ? place.frame : 0;
  }
  return place;
}

// What the kernel takes from the last fault of the thread, whoever caused it, and what the state of
// the page tables decides, which is not the same in all replicas.
void settle_fault(greg_t* registers, const siginfo_t& info, bool is_fault, SignalSet mask) {
  if (!is_fault) {
    registers[REG_TRAPNO] = 0;
    registers[REG_ERR] = 0;
  }
  if (!is_fault || registers[REG_TRAPNO] != kPageFault) {
    registers[REG_CR2] = 0;
  } else {
    const bool protection = info.si_signo == SIGSEGV && info.si_code == SEGV_ACCERR;
    registers[REG_ERR] =
        (registers[REG_ERR] & ~kFaultOnPresentPage) | (protection ? kFaultOnPresentPage : 0);
  }
  registers[REG_OLDMASK] = static_cast<greg_t>(mask);
}

Frame make_frame(const Thread* thread, const KernelAction& action, const siginfo_t& info,
                 bool is_fault, const ucontext_t& context, uint64_t vectors) {
  Frame frame = {};
  frame.restorer = reinterpret_cast<uint64_t>(action.restorer);
  frame.flags = context.uc_flags;
  frame.stack = thread->application_alternate_stack;
  frame.machine = context.uc_mcontext;
  frame.mask = thread->restore_mask ? thread->mask_to_restore : thread->mask;
  frame.info = info;
  settle_fault(frame.machine.gregs, info, is_fault, frame.mask);
  frame.machine.fpregs = reinterpret_cast<fpregset_t>(vectors);
  __builtin_memset(frame.machine.__reserved1, 0, sizeof(frame.machine.__reserved1));
  return frame;
}

void enter(const KernelAction& action, int number, uint64_t frame, ucontext_t* context) {
  greg_t* registers = context->uc_mcontext.gregs;
  registers[REG_RDI] = number;
  registers[REG_RSI] = static_cast<greg_t>(frame + offsetof(Frame, info));
  registers[REG_RDX] = static_cast<greg_t>(frame + offsetof(Frame, flags));
  registers[REG_RAX] = 0;
  registers[REG_RIP] = static_cast<greg_t>(action.handler);
  registers[REG_RSP] = static_cast<greg_t>(frame);
  registers[REG_EFL] &= ~kFlagsOff;
  vector_state_reset(context->uc_mcontext.fpregs);
}

// `context` becomes the start of the handler of `number`. False: its frame cannot be written.
bool start_handler(Thread* thread, int number, const siginfo_t& info, bool is_fault,
                   ucontext_t* context) {
  const KernelAction action = *signal_action(number);
  fpregset_t vectors = context->uc_mcontext.fpregs;
  vector_state_settle(vectors);
  const size_t bytes = vector_state_bytes(vectors);
  const Place place = place_of_frame(
      thread, action, static_cast<uint64_t>(context->uc_mcontext.gregs[REG_RSP]), bytes);
  const Frame frame = make_frame(thread, action, info, is_fault, *context, place.vectors);
  if ((action.flags & kRestorer) == 0 || place.frame == 0 ||
      copy_out(reinterpret_cast<void*>(place.vectors), vectors, bytes) != bytes ||
      !put_out(reinterpret_cast<void*>(place.frame), frame)) {
    return false;
  }
  enter(action, number, place.frame, context);
  // ORDER: the frame has the mask to go back to; only now the handler's own comes on top. In
  // sigsuspend and its like that is the old mask, while the handler runs with the temporary one.
  thread->restore_mask = false;
  thread->mask |= action.mask | ((action.flags & SA_NODEFER) == 0 ? signal_bit(number) : 0);
  stack_t& alternate = thread->application_alternate_stack;
  if ((alternate.ss_flags & kAutoDisarm) != 0) {
    alternate = {nullptr, SS_DISABLE, 0};
  }
  if ((action.flags & SA_RESETHAND) != 0) {
    signal_action(number)->handler = kDefaultAction;
  }
  dying_begin(number, place.frame, place.stack_bytes);
  return true;
}

[[noreturn]] void die_of_fault(int number) {
  dying_begin(number, 0, 0);
  die_of(number);
}

// RDTSC and RDTSCP trap (PR_SET_TSC): the counter is the virtual clock in nanoseconds.
bool emulate_tsc(const siginfo_t& info, greg_t* registers) {
  uint8_t code[3] = {};
  const auto* at = reinterpret_cast<const uint8_t*>(registers[REG_RIP]);
  if (info.si_code != SI_KERNEL || copy_in(code, at, sizeof(code)) < 2 || code[0] != 0x0f) {
    return false;
  }
  const bool rdtsc = code[1] == 0x31;
  const bool rdtscp = code[1] == 0x01 && code[2] == 0xf9;
  if (!rdtsc && !rdtscp) {
    return false;
  }
  doors_enter_call(self(), 0);
  const auto now = static_cast<uint64_t>(doors_clock_ns());
  registers[REG_RAX] = static_cast<greg_t>(now & 0xffffffff);
  registers[REG_RDX] = static_cast<greg_t>(now >> 32);
  if (rdtscp) {
    registers[REG_RCX] = 0;
  }
  registers[REG_RIP] += rdtsc ? 2 : 3;
  return true;
}

bool is_in_shim(uint64_t stack_pointer) {
  return stack_pointer - FTRUN_ARENA_ADDRESS < FTRUN_ARENA_BYTES;
}

// A fault of the application's, as force_sig_fault() treats it: a blocked or ignored one kills.
void handle_fault(int number, siginfo_t* info, void* argument) {
  auto* context = static_cast<ucontext_t*>(argument);
  greg_t* registers = context->uc_mcontext.gregs;
  Thread* thread = self();
  if (info->si_code <= 0 || thread == nullptr) {
    die_of(number);  // another process sent it, to this replica alone
  }
  if (leave_guarded(registers) || (number == SIGSEGV && emulate_tsc(*info, registers))) {
    return;
  }
  const uint64_t handler = signal_action(number)->handler;
  if (is_in_shim(static_cast<uint64_t>(registers[REG_RSP])) || handler == kDefaultAction ||
      handler == kIgnoreAction || (thread->mask & signal_bit(number)) != 0 ||
      !start_handler(thread, number, *info, true, context)) {
    die_of_fault(number);
  }
}

// The program may have changed what its frame says, and means it: but not where the kernel would
// not follow it either.
void restore_registers(greg_t* registers, const greg_t* wanted) {
  // Segment registers and the trap fields after them stay the kernel's.
  for (int i = 0; i < REG_EFL; ++i) {
    registers[i] = wanted[i];
  }
  registers[REG_EFL] = (registers[REG_EFL] & ~kFlagsRestored) | (wanted[REG_EFL] & kFlagsRestored);
}

}  // namespace

void handlers_init() {
  vector_state_init();
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) {
    install_shim_handler(number, &handle_fault);
  }
}

void handlers_start(Thread* thread, ucontext_t* context) {
  int number = static_cast<int>(thread->deliver);
  thread->deliver = 0;
  // The kernel starts all that are due before the program goes on: the last one runs first.
  for (; number != 0; number = signals_next_handler(thread)) {
    const siginfo_t info = pending_take(thread, number);
    if (!start_handler(thread, number, info, false, context)) {
      die_of_fault(SIGSEGV);
    }
  }
}

void handlers_return(Thread* thread, ucontext_t* context) {
  greg_t* registers = context->uc_mcontext.gregs;
  // The handler's return has taken the restorer's address off the stack.
  const auto address = static_cast<uint64_t>(registers[REG_RSP]) - sizeof(uint64_t);
  dying_end(address);
  doors_enter_call(thread, __NR_rt_sigreturn);
  Frame frame;
  if (!get_in(&frame, reinterpret_cast<void*>(address)) ||
      !vector_state_take(context->uc_mcontext.fpregs, frame.machine.fpregs)) {
    die_of_fault(SIGSEGV);
  }
  restore_registers(registers, frame.machine.gregs);
  // ORDER: the mask before the look for further signals: what the handler blocked is due now, and
  // its handler starts from here, as if it had interrupted the program and not the first one.
  thread->mask = frame.mask & ~kUnblockable;
  thread->caller_stack = static_cast<uint64_t>(registers[REG_RSP]);
  set_alternate_stack(thread, frame.stack);
  bool restart = false;
  signals_finish_call(thread, 0, &restart);
  if (thread->deliver != 0) {
    handlers_start(thread, context);
  }
}

long set_alternate_stack(Thread* thread, const stack_t& wanted) {
  stack_t& current = thread->application_alternate_stack;
  if (is_on_stack(current, thread->caller_stack)) {
    return -EPERM;
  }
  const int mode = wanted.ss_flags & ~kAutoDisarm;
  if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK) {
    return -EINVAL;
  }
  if (mode != SS_DISABLE && wanted.ss_size < kAlternateStackBytesMin) {
    return -ENOMEM;
  }
  current = mode != SS_DISABLE ? wanted : stack_t{nullptr, wanted.ss_flags, 0};
  current.ss_flags &= ~SS_ONSTACK;
  return 0;
}

long call_sigaltstack(const stack_t* stack, stack_t* old_stack) {
  Thread* thread = self();
  stack_t old = thread->application_alternate_stack;
  old.ss_flags |= old.ss_sp == nullptr ? SS_DISABLE : 0;
  old.ss_flags |= is_on_stack(old, thread->caller_stack) ? SS_ONSTACK : 0;
  stack_t wanted = {};
  if (stack != nullptr) {
    if (!get_in(&wanted, stack)) {
      return -EFAULT;
    }
    // ORDER: the change before the answer; it stays when the old one cannot be written.
    if (const long error = set_alternate_stack(thread, wanted)) {
      return error;
    }
  }
  return old_stack == nullptr || put_out(old_stack, old) ? 0 : -EFAULT;
}

}  // namespace ftrun::shim
