// SPDX-License-Identifier: Apache-2.0
// Byte queues in chunks of 4 KiB, and a cursor over the application's buffers.
// Runs in the application with the token held; no libc (the compiler's memcpy is the shim's own).
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

namespace ftrun::shim {

inline constexpr size_t kChunkBytes = 4096;
inline constexpr size_t kTransferBytesMax = 0x7ffff000;  // of one call: the kernel's MAX_RW_COUNT

struct Chunk {
  Chunk* next;
  uint32_t begin;  // first byte not taken yet
  uint32_t end;    // after the last byte
  uint8_t bytes[kChunkBytes];
};

Chunk* chunk_get();  // empty
void chunk_put(Chunk* chunk);

// Walks over an iovec array. `left` is the total that remains and bounds every step.
class IoCursor {
 public:
  // REQUIRES: count and lengths were checked by check_iovec().
  IoCursor(const struct iovec* iov, size_t left) : iov_(iov), left_(left) {}
  size_t left() const { return left_; }
  // The next contiguous piece, at most left() bytes; empty only when left() is 0.
  uint8_t* piece(size_t* length) {
    while (left_ > 0 && iov_->iov_len == offset_) {
      ++iov_;
      offset_ = 0;
    }
    if (left_ == 0) {
      *length = 0;
      return nullptr;
    }
    const size_t here = iov_->iov_len - offset_;
    *length = here < left_ ? here : left_;
    return static_cast<uint8_t*>(iov_->iov_base) + offset_;
  }
  void advance(size_t bytes) {
    offset_ += bytes;
    left_ -= bytes;
  }
  // Copies up to `bytes` bytes; returns how many: less only when the buffers end, or where they
  // cannot be touched (guarded.h). Then has_fault() is true, and the call is at its end: it returns
  // what it had moved before this piece, or -EFAULT. As the kernel's, pieces move whole or not at
  // all, so what the piece was made of is still where it was.
  size_t put(const uint8_t* from, size_t bytes);  // into the application's buffers
  size_t get(uint8_t* to, size_t bytes);          // out of them
  bool has_fault() const { return has_fault_; }
  void set_fault() { has_fault_ = true; }
  // Ends the walk: nothing is left.
  void stop() { left_ = 0; }

 private:
  const struct iovec* iov_;
  size_t offset_ = 0;
  size_t left_;
  bool has_fault_ = false;
};

// What a call returns that has moved `done` bytes and met memory that cannot be touched.
long after_fault(long done);

// Total length of an iovec array, cut to the kernel's MAX_RW_COUNT; -EINVAL as readv(2) says.
long check_iovec(const struct iovec* iov, int count);

// First in, first out. Valid when zeroed; holds no chunk while empty.
class ByteQueue {
 public:
  size_t size() const { return size_; }
  void append(const uint8_t* data, size_t length);
  // All or, where the application's memory cannot be read, nothing.
  size_t append_from(IoCursor* from, size_t length);
  // Moves up to `length` bytes to `to` (nullptr: drops them); returns how many. Of a chunk that
  // cannot be written whole nothing is taken.
  size_t take(IoCursor* to, size_t length);
  // Copies without taking, starting `skip` bytes in.
  size_t peek(IoCursor* to, size_t skip, size_t length) const;
  void clear();

 private:
  Chunk* chunk_with_room();
  void cut_back(Chunk* last, uint32_t end, size_t size);
  Chunk* first_ = nullptr;
  Chunk* last_ = nullptr;
  size_t size_ = 0;
};

}  // namespace ftrun::shim
