// SPDX-License-Identifier: Apache-2.0
// The operation that FUTEX_WAKE_OP carries out on its second word (futex(2)). Runs in the
// application with the token held, so plain loads and stores are atomic enough.
#pragma once

#include <linux/futex.h>
#include <stdint.h>

namespace ftrun::shim {

// Whether the kernel knows both the operation and the comparison.
inline bool is_futex_operation(uint32_t encoded) {
  return (encoded >> 28 & 7) <= FUTEX_OP_XOR && (encoded >> 24 & 15) <= FUTEX_OP_CMP_GE;
}

// Changes `*word` as `encoded` says; whether its old value compares so that waiters are woken.
inline bool futex_operation(uint32_t* word, uint32_t encoded) {
  const int operation = static_cast<int>(encoded >> 28) & 7;
  const int comparison = static_cast<int>(encoded >> 24) & 15;
  int argument = static_cast<int>(encoded << 8) >> 20;
  const int compare_with = static_cast<int>(encoded << 20) >> 20;
  if ((encoded >> 28 & 8) != 0) {
    argument = 1 << (argument & 31);
  }
  const int old = static_cast<int>(*word);
  switch (operation) {
    case FUTEX_OP_SET:
      *word = static_cast<uint32_t>(argument);
      break;
    case FUTEX_OP_ADD:
      *word += static_cast<uint32_t>(argument);
      break;
    case FUTEX_OP_OR:
      *word |= static_cast<uint32_t>(argument);
      break;
    case FUTEX_OP_ANDN:
      *word &= ~static_cast<uint32_t>(argument);
      break;
    default:
      *word ^= static_cast<uint32_t>(argument);
      break;
  }
  switch (comparison) {
    case FUTEX_OP_CMP_EQ:
      return old == compare_with;
    case FUTEX_OP_CMP_NE:
      return old != compare_with;
    case FUTEX_OP_CMP_LT:
      return old < compare_with;
    case FUTEX_OP_CMP_LE:
      return old <= compare_with;
    case FUTEX_OP_CMP_GT:
      return old > compare_with;
    default:
      return old >= compare_with;
  }
}

}  // namespace ftrun::shim
