// SPDX-License-Identifier: Apache-2.0
// Byte queues and buffer cursors: see bytes.h.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/bytes.h"

#include <errno.h>

#include "preload/guarded.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

// Of all queues together. A chunk keeps what its last owner left in it: begin and end bound what is
// ever copied out, so old bytes reach nobody.
constinit Pool<Chunk> g_chunks;

size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

}  // namespace

Chunk* chunk_get() {
  Chunk* chunk = g_chunks.get_raw();
  chunk->next = nullptr;
  chunk->begin = 0;
  chunk->end = 0;
  return chunk;
}

void chunk_put(Chunk* chunk) {
  g_chunks.put(chunk);
}

// The cursor does not move over a piece that met a fault, so what the caller has counted stays
// true. A first part of that piece may stand in the application's buffer all the same, as after a
// fault in the kernel. Where a copy faults is equal in all replicas, since their mappings are.
size_t IoCursor::put(const uint8_t* from, size_t bytes) {
  size_t done = 0;
  while (done < bytes && left_ > 0) {
    size_t length = 0;
    uint8_t* to = piece(&length);
    length = smaller(length, bytes - done);
    if (copy_out(to, from + done, length) != length) {
      set_fault();
      return done;
    }
    advance(length);
    done += length;
  }
  return done;
}

size_t IoCursor::get(uint8_t* to, size_t bytes) {
  size_t done = 0;
  while (done < bytes && left_ > 0) {
    size_t length = 0;
    const uint8_t* from = piece(&length);
    length = smaller(length, bytes - done);
    if (copy_in(to + done, from, length) != length) {
      set_fault();
      return done;
    }
    advance(length);
    done += length;
  }
  return done;
}

long after_fault(long done) {
  return done > 0 ? done : -EFAULT;
}

long check_iovec(const struct iovec* iov, int count) {
  if (count < 0 || count > kIovecCountMax) {
    return -EINVAL;
  }
  size_t total = 0;
  for (int i = 0; i < count; ++i) {
    if (static_cast<ssize_t>(iov[i].iov_len) < 0) {
      return -EINVAL;
    }
    // Cannot overflow, whatever lengths the program gives: what is beyond the limit is cut
    // silently, as import_iovec() does, and the program calls again for the rest.
    total += smaller(iov[i].iov_len, kTransferBytesMax - total);
  }
  return static_cast<long>(total);
}

Chunk* ByteQueue::chunk_with_room() {
  if (last_ != nullptr && last_->end < kChunkBytes) {
    return last_;
  }
  Chunk* chunk = chunk_get();
  if (last_ == nullptr) {
    first_ = chunk;
  } else {
    last_->next = chunk;
  }
  last_ = chunk;
  return chunk;
}

void ByteQueue::append(const uint8_t* data, size_t length) {
  while (length > 0) {
    Chunk* chunk = chunk_with_room();
    const size_t n = smaller(length, kChunkBytes - chunk->end);
    __builtin_memcpy(chunk->bytes + chunk->end, data, n);
    chunk->end += static_cast<uint32_t>(n);
    size_ += n;
    data += n;
    length -= n;
  }
}

// Undoes an append: `last` was the newest chunk before it, filled up to `end`; all behind it were
// got for the append.
void ByteQueue::cut_back(Chunk* last, uint32_t end, size_t size) {
  Chunk* chunk = last != nullptr ? last->next : first_;
  while (chunk != nullptr) {
    Chunk* next = chunk->next;
    chunk_put(chunk);
    chunk = next;
  }
  if (last != nullptr) {
    last->next = nullptr;
    last->end = end;
  } else {
    first_ = nullptr;
  }
  last_ = last;
  size_ = size;
}

size_t ByteQueue::append_from(IoCursor* from, size_t length) {
  size_t done = 0;
  Chunk* const last = last_;
  const uint32_t end = last != nullptr ? last->end : 0;
  const size_t size = size_;
  length = smaller(length, from->left());
  while (done < length) {
    Chunk* chunk = chunk_with_room();
    const size_t n = smaller(length - done, kChunkBytes - chunk->end);
    from->get(chunk->bytes + chunk->end, n);
    // Nobody has seen a part of it: the token was here all the time.
    if (from->has_fault()) {
      cut_back(last, end, size);
      return 0;
    }
    chunk->end += static_cast<uint32_t>(n);
    size_ += n;
    done += n;
  }
  return done;
}

size_t ByteQueue::take(IoCursor* to, size_t length) {
  size_t done = 0;
  length = smaller(length, size_);
  while (done < length) {
    Chunk* chunk = first_;
    size_t n = smaller(length - done, chunk->end - chunk->begin);
    if (to != nullptr) {
      n = to->put(chunk->bytes + chunk->begin, n);
      // ORDER: copied, then taken. Of this chunk a first buffer may have got a part; it is not
      // counted, stays in the queue and is read once more.
      if (n == 0 || to->has_fault()) {
        break;
      }
    }
    chunk->begin += static_cast<uint32_t>(n);
    done += n;
    size_ -= n;
    if (chunk->begin == chunk->end) {
      first_ = chunk->next;
      if (first_ == nullptr) {
        last_ = nullptr;
      }
      chunk_put(chunk);
    }
  }
  return done;
}

size_t ByteQueue::peek(IoCursor* to, size_t skip, size_t length) const {
  size_t done = 0;
  for (const Chunk* chunk = first_; chunk != nullptr && done < length; chunk = chunk->next) {
    const size_t here = chunk->end - chunk->begin;
    if (skip >= here) {
      skip -= here;
      continue;
    }
    const size_t n =
        to->put(chunk->bytes + chunk->begin + skip, smaller(length - done, here - skip));
    skip = 0;
    if (to->has_fault()) {
      break;
    }
    done += n;
    if (to->left() == 0) {
      break;
    }
  }
  return done;
}

void ByteQueue::clear() {
  while (first_ != nullptr) {
    Chunk* next = first_->next;
    chunk_put(first_);
    first_ = next;
  }
  last_ = nullptr;
  size_ = 0;
}

}  // namespace ftrun::shim
