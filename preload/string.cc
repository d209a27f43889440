// SPDX-License-Identifier: Apache-2.0
// The four functions that the compiler may call by itself. Hidden, so that neither libc's are used
// (they are chosen by CPU at run time) nor the application gets these.
// Runs in the application, in any context. SIGNAL-SAFE.
#include <stddef.h>
#include <stdint.h>

#define FTRUN_HIDDEN extern "C" __attribute__((visibility("hidden")))

namespace {
// Overlapping loads and stores cover up to 32 bytes without a loop.
inline void copy_small(uint8_t* to, const uint8_t* from, size_t n) {
  if (n >= 16) {
    typedef uint64_t Pair __attribute__((vector_size(16), aligned(1), may_alias));
    const Pair first = *reinterpret_cast<const Pair*>(from);
    const Pair last = *reinterpret_cast<const Pair*>(from + n - 16);
    *reinterpret_cast<Pair*>(to) = first;
    *reinterpret_cast<Pair*>(to + n - 16) = last;
  } else if (n >= 8) {
    typedef uint64_t Word __attribute__((aligned(1), may_alias));
    const Word first = *reinterpret_cast<const Word*>(from);
    const Word last = *reinterpret_cast<const Word*>(from + n - 8);
    *reinterpret_cast<Word*>(to) = first;
    *reinterpret_cast<Word*>(to + n - 8) = last;
  } else if (n >= 4) {
    typedef uint32_t Half __attribute__((aligned(1), may_alias));
    const Half first = *reinterpret_cast<const Half*>(from);
    const Half last = *reinterpret_cast<const Half*>(from + n - 4);
    *reinterpret_cast<Half*>(to) = first;
    *reinterpret_cast<Half*>(to + n - 4) = last;
  } else if (n != 0) {
    const uint8_t first = from[0];
    const uint8_t middle = from[n / 2];
    const uint8_t last = from[n - 1];
    to[0] = first;
    to[n / 2] = middle;
    to[n - 1] = last;
  }
}
}  // namespace

FTRUN_HIDDEN void* memcpy(void* to, const void* from, size_t n) {
  if (n <= 32) {
    copy_small(static_cast<uint8_t*>(to), static_cast<const uint8_t*>(from), n);
    return to;
  }
  void* result = to;
  if (n <= 512) {
    typedef uint64_t Pair __attribute__((vector_size(16), aligned(1), may_alias));
    auto* t = static_cast<uint8_t*>(to);
    const auto* f = static_cast<const uint8_t*>(from);
    const Pair last = *reinterpret_cast<const Pair*>(f + n - 16);
    for (size_t i = 0; i + 16 < n; i += 16) {
      *reinterpret_cast<Pair*>(t + i) = *reinterpret_cast<const Pair*>(f + i);
    }
    *reinterpret_cast<Pair*>(t + n - 16) = last;
    return result;
  }
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
  return result;
}

FTRUN_HIDDEN void* memmove(void* to, const void* from, size_t n) {
  auto* t = static_cast<uint8_t*>(to);
  const auto* f = static_cast<const uint8_t*>(from);
  if (t <= f || t >= f + n) {
    if (static_cast<size_t>(f - t) >= n || t >= f + n) {
      return memcpy(to, from, n);
    }
    void* result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return result;
  }
  while (n != 0) {
    --n;
    t[n] = f[n];
  }
  return to;
}

FTRUN_HIDDEN void* memset(void* to, int value, size_t n) {
  void* result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  return result;
}

FTRUN_HIDDEN int memcmp(const void* a, const void* b, size_t n) {
  const auto* x = static_cast<const uint8_t*>(a);
  const auto* y = static_cast<const uint8_t*>(b);
  for (size_t i = 0; i < n; ++i) {
    if (x[i] != y[i]) {
      return x[i] < y[i] ? -1 : 1;
    }
  }
  return 0;
}
