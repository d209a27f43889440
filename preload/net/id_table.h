// SPDX-License-Identifier: Apache-2.0
// A hash table from ids to objects: open addressing, grown by doubling, backward-shift deletion.
// Runs in the application with the token held; no libc. The order in which it is gone through
// depends on the calls made before alone, so it is the same in all replicas.
#pragma once

#include "preload/env.h"

namespace ftrun::shim {

// `T` has a member `uint32_t T::*Id` that is its key while it is in the table. Valid when zeroed.
template <typename T, uint32_t T::*Id>
class IdTable {
 public:
  T* find(uint32_t id) const {
    if (size_ == 0) {
      return nullptr;
    }
    for (uint32_t at = home(id); slots_[at] != nullptr; at = (at + 1) & mask_) {
      if (slots_[at]->*Id == id) {
        return slots_[at];
      }
    }
    return nullptr;
  }
  // REQUIRES: no object with this id is in the table.
  void insert(T* object) {
    if (slots_ == nullptr || (size_ + 1) * 2 > mask_ + 1) {
      grow();
    }
    place(object);
    ++size_;
  }
  // REQUIRES: `object` is in the table.
  void remove(const T* object) {
    uint32_t hole = home(object->*Id);
    while (slots_[hole] != object) {
      hole = (hole + 1) & mask_;
    }
    for (uint32_t at = (hole + 1) & mask_; slots_[at] != nullptr; at = (at + 1) & mask_) {
      // An object may move into the hole unless its home lies behind the hole.
      if (((at - home(slots_[at]->*Id)) & mask_) >= ((at - hole) & mask_)) {
        slots_[hole] = slots_[at];
        hole = at;
      }
    }
    slots_[hole] = nullptr;
    --size_;
  }
  template <typename Visit>  // visit(T*); may not change the table
  void for_each(Visit visit) const {
    for (uint32_t at = 0; slots_ != nullptr && at <= mask_; ++at) {
      if (slots_[at] != nullptr) {
        visit(slots_[at]);
      }
    }
  }

 private:
  static constexpr uint32_t kSlotsFirst = 256;

  uint32_t home(uint32_t id) const { return (id * 2654435769u >> 7) & mask_; }
  void place(T* object) {
    uint32_t at = home(object->*Id);
    while (slots_[at] != nullptr) {
      at = (at + 1) & mask_;
    }
    slots_[at] = object;
  }
  void grow() {
    T** before = slots_;
    const uint32_t count = before == nullptr ? 0 : mask_ + 1;
    const uint32_t slots = count == 0 ? kSlotsFirst : count * 2;
    slots_ = static_cast<T**>(arena_alloc(sizeof(T*) * slots, alignof(T*)));
    mask_ = slots - 1;
    for (uint32_t i = 0; i < count; ++i) {
      if (before[i] != nullptr) {
        place(before[i]);
      }
    }
  }

  T** slots_ = nullptr;
  uint32_t mask_ = 0;
  uint32_t size_ = 0;
};

}  // namespace ftrun::shim
