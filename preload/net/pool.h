// SPDX-License-Identifier: Apache-2.0
// Free lists over the shim's arena. Runs in the application with the token held; no libc, no
// malloc. Objects are given out in an order that depends on the calls alone, so addresses are equal
// in all replicas. Valid when zero-initialised (constinit): no constructor runs for it.
#pragma once

#include "preload/env.h"

namespace ftrun::shim {

template <typename T>
class Pool {
 public:
  // An object in its default state; the caller owns it until put().
  T* get() {
    T* object = get_raw();
    *object = T{};
    return object;
  }
  // As get(), with whatever bytes the last owner left.
  T* get_raw() {
    if (free_ != nullptr) {
      Slot* slot = free_;
      free_ = slot->next;
      return reinterpret_cast<T*>(slot);
    }
    return static_cast<T*>(arena_alloc(sizeof(T), alignof(T)));
  }
  void put(T* object) {
    Slot* slot = reinterpret_cast<Slot*>(object);
    slot->next = free_;
    free_ = slot;
  }

 private:
  struct Slot {
    Slot* next;
  };
  static_assert(sizeof(T) >= sizeof(Slot) && alignof(T) >= alignof(Slot));
  Slot* free_ = nullptr;
};

}  // namespace ftrun::shim
