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

using GateFunction = long (*)(long, long, long, long, long, long, long);

template <typename T>
inline long to_long(T value) {
  if constexpr (__is_enum(T) || __is_same(T, bool)) {
    return static_cast<long>(value);
  } else {
    return (long)value;
  }
}

template <typename A = long, typename B = long, typename C = long, typename D = long,
          typename E = long, typename F = long>
inline long raw(long number, A a = 0, B b = 0, C c = 0, D d = 0, E e = 0, F f = 0) {
  const auto gate = reinterpret_cast<GateFunction>(FTRUN_GATE_ADDRESS);
  __atomic_store_n(&ftrun_kernel_calls, ftrun_kernel_calls + 1, __ATOMIC_RELAXED);
  return gate(number, to_long(a), to_long(b), to_long(c), to_long(d), to_long(e), to_long(f));
}

}  // namespace ftrun::shim
