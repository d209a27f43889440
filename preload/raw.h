// SPDX-License-Identifier: Apache-2.0
// System calls through the gate: the only way in which the shim enters the kernel. Runs in the
// application, in any context. SIGNAL-SAFE. Results are the kernel's: a value or -errno.
#pragma once

#include <asm/unistd_64.h>

#include "preload/layout.h"

// How often the gate was used; a figure for operators and tests, not exact when threads wait at the
// same moment.
extern "C" __attribute__((visibility("hidden"))) unsigned long ftrun_kernel_calls;

namespace ftrun::shim {

template <typename T>
inline long to_long(T value) {
  if constexpr (__is_enum(T) || __is_same(T, bool)) {
    return static_cast<long>(value);
  } else {
    return (long)value;
  }
}

// PERF: inline, and the gate jumps back instead of returning. After a system call the processor may
// predict no return address (mitigations in the kernel use up the return stack), and each return on
// the way to the application then costs some ns.
template <typename A = long, typename B = long, typename C = long, typename D = long,
          typename E = long, typename F = long>
[[gnu::always_inline]] inline long raw(long number, A a = 0, B b = 0, C c = 0, D d = 0, E e = 0,
                                       F f = 0) {
  __atomic_store_n(&ftrun_kernel_calls, ftrun_kernel_calls + 1, __ATOMIC_RELAXED);
  long result = number;
  register long r10 __asm__("r10") = to_long(d);
  register long r8 __asm__("r8") = to_long(e);
  register long r9 __asm__("r9") = to_long(f);
  __asm__ volatile(
      "leaq 1f(%%rip), %%r12\n\t"
      "movl %[gate], %%ecx\n\t"
      "jmp *%%rcx\n"
      "1:"
      : "+a"(result)
      : "D"(to_long(a)), "S"(to_long(b)), "d"(to_long(c)), "r"(r10), "r"(r8),
        "r"(r9), [gate] "i"(FTRUN_GATE_ADDRESS)
      : "rcx", "r11", "r12", "memory");
  return result;
}

// Whether the kernel's result is -errno.
inline bool is_error(long result) {
  return result < 0 && result > -4096;
}

}  // namespace ftrun::shim
