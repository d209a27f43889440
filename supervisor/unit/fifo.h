// SPDX-License-Identifier: Apache-2.0
// A first-in-first-out queue of plain values in one growing array. Runs in the supervisor. Keeps
// its memory: no allocation once it has reached its working size.
#pragma once

#include <cstddef>
#include <vector>

namespace ftrun::unit {

template <typename T>
class Fifo {
 public:
  bool empty() const { return head_ == items_.size(); }
  size_t size() const { return items_.size() - head_; }
  T& front() { return items_[head_]; }
  const T& front() const { return items_[head_]; }
  const T& back() const { return items_.back(); }
  // The run of items in order; valid until the next change.
  const T* data() const { return items_.data() + head_; }
  void push(const T& item) { items_.push_back(item); }
  void push(const T* items, size_t count) { items_.insert(items_.end(), items, items + count); }
  // REQUIRES: count <= size().
  void pop(size_t count = 1) {
    head_ += count;
    if (head_ == items_.size()) {
      clear();
    } else if (head_ >= kCompactFrom && head_ * 2 >= items_.size()) {
      items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(head_));
      head_ = 0;
    }
  }
  void clear() {
    items_.clear();
    head_ = 0;
  }

 private:
  static constexpr size_t kCompactFrom = 256;
  std::vector<T> items_;
  size_t head_ = 0;
};

}  // namespace ftrun::unit
