// SPDX-License-Identifier: Apache-2.0
// Files: reading and writing. A secondary reads and writes exactly as many bytes as the primary
// did; what it reads is compared by hash, or taken from the log. Runs in the application on the
// shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "eventlog/records.h"
#include "preload/calls.h"
#include "preload/files/replicate.h"

namespace ftrun::shim {
namespace {

// Detects files that differ between replicas; not a defence against forgery.
uint64_t content_hash(const uint8_t* data, size_t length) {
  uint64_t hash = 0x9E3779B97F4A7C15u ^ length;
  while (length >= 8) {
    uint64_t word = 0;
    __builtin_memcpy(&word, data, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
    data += 8;
    length -= 8;
  }
  for (size_t i = 0; i < length; ++i) {
    hash = (hash ^ data[i]) * 0x100000001b3u;
  }
  return hash;
}

// `function` reads into the application's memory and returns the kernel's result; in a secondary it
// is given exactly the primary's count.
template <typename Read>
long read_call(long number, int fd, void* buffer, size_t size, Read&& function) {
  const bool live = doors_are_live();
  if (fd_native_class(fd) == kLogged) {
    size = size < kChoicePayloadBytesMax ? size : kChoicePayloadBytesMax;
    const long result = choose_counted(number, buffer, size, [&] { return function(size); });
    if (!live && result > 0 && number == __NR_read) {
      raw(__NR_lseek, fd, result, SEEK_CUR);  // so that a promoted replica reads on from here
    }
    return result;
  }
  uint64_t hash = 0;
  const long result = choose(number, &hash, sizeof(hash), [&] {
    const long r = function(size);
    hash = r > 0 ? content_hash(static_cast<const uint8_t*>(buffer), static_cast<size_t>(r)) : 0;
    return r;
  });
  if (!live && result > 0) {
    const long here = function(static_cast<size_t>(result));
    if (here != result) {
      replica_differs("a file is shorter in this replica", number, here, result);
    }
    if (content_hash(static_cast<const uint8_t*>(buffer), static_cast<size_t>(result)) != hash) {
      replica_differs("a file has other content in this replica", number, fd, fd);
    }
  }
  return result;
}

// As read_call: `function(size)` writes at most `size` bytes.
template <typename Write>
long write_call(long number, size_t size, Write&& function) {
  const bool live = doors_are_live();
  const long result = choose(number, [&] { return function(size); });
  if (!live && result > 0) {
    const long here = function(static_cast<size_t>(result));
    if (here != result) {
      replica_differs("this replica could not write", number, here, result);
    }
  }
  return result;
}

// The first non-empty buffer: vectored native calls are cut to it, which is a legal short count.
struct iovec first_buffer(const struct iovec* iov, long count) {
  for (long i = 0; i < count; ++i) {
    if (iov[i].iov_len != 0) {
      return iov[i];
    }
  }
  return {nullptr, 0};
}

}  // namespace

long do_read(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  if (is_virtual(fd)) {
    const struct iovec iov = {pointer(a[1]), static_cast<size_t>(a[2])};
    return net_readv(fd, &iov, 1);
  }
  return read_call(number, fd, pointer(a[1]), static_cast<size_t>(a[2]),
                   [&](size_t n) { return raw(__NR_read, fd, a[1], n); });
}

long do_pread64(long number, const long* a) {
  if (is_virtual(a[0])) {
    return -ESPIPE;
  }
  return read_call(number, static_cast<int>(a[0]), pointer(a[1]), static_cast<size_t>(a[2]),
                   [&](size_t n) { return raw(__NR_pread64, a[0], a[1], n, a[3]); });
}

long do_readv(long, const long* a) {
  const auto* iov = static_cast<const struct iovec*>(pointer(a[1]));
  if (is_virtual(a[0])) {
    return net_readv(static_cast<int>(a[0]), iov, static_cast<int>(a[2]));
  }
  const struct iovec first = first_buffer(iov, a[2]);
  const long arguments[6] = {a[0], to_long(first.iov_base), static_cast<long>(first.iov_len)};
  return do_read(__NR_read, arguments);
}

long do_preadv(long, const long* a) {
  const struct iovec first = first_buffer(static_cast<const struct iovec*>(pointer(a[1])), a[2]);
  const long arguments[6] = {a[0], to_long(first.iov_base), static_cast<long>(first.iov_len), a[3]};
  return do_pread64(__NR_pread64, arguments);
}
long do_preadv2(long number, const long* a) {
  return a[5] != 0 ? -EOPNOTSUPP : a[3] == -1 ? do_readv(number, a) : do_preadv(number, a);
}

long do_write(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  if (is_virtual(fd)) {
    const struct iovec iov = {pointer(a[1]), static_cast<size_t>(a[2])};
    return net_writev(fd, &iov, 1);
  }
  return write_call(number, static_cast<size_t>(a[2]),
                    [&](size_t n) { return raw(__NR_write, fd, a[1], n); });
}

long do_pwrite64(long number, const long* a) {
  if (is_virtual(a[0])) {
    return -ESPIPE;
  }
  return write_call(number, static_cast<size_t>(a[2]),
                    [&](size_t n) { return raw(__NR_pwrite64, a[0], a[1], n, a[3]); });
}

long do_writev(long, const long* a) {
  const auto* iov = static_cast<const struct iovec*>(pointer(a[1]));
  if (is_virtual(a[0])) {
    return net_writev(static_cast<int>(a[0]), iov, static_cast<int>(a[2]));
  }
  const struct iovec first = first_buffer(iov, a[2]);
  const long arguments[6] = {a[0], to_long(first.iov_base), static_cast<long>(first.iov_len)};
  return do_write(__NR_write, arguments);
}

long do_pwritev(long, const long* a) {
  const struct iovec first = first_buffer(static_cast<const struct iovec*>(pointer(a[1])), a[2]);
  const long arguments[6] = {a[0], to_long(first.iov_base), static_cast<long>(first.iov_len), a[3]};
  return do_pwrite64(__NR_pwrite64, arguments);
}
long do_pwritev2(long number, const long* a) {
  return a[5] != 0 ? -EOPNOTSUPP : a[3] == -1 ? do_writev(number, a) : do_pwritev(number, a);
}

namespace {

// A file that is written at its end alone: sendfile(2) refuses it, write(2) does not.
bool appends(int fd) {
  const long flags = is_virtual(fd) ? 0 : raw(__NR_fcntl, fd, F_GETFL, 0);
  return flags > 0 && (flags & O_APPEND) != 0 && (flags & O_ACCMODE) != O_RDONLY;
}

}  // namespace

long do_sendfile(long, const long* a) {
  static uint8_t* buffer = nullptr;
  constexpr size_t kChunk = 64 * 1024;
  if (buffer == nullptr) {
    buffer = static_cast<uint8_t*>(arena_alloc(kChunk, 4096));
  }
  const int out = static_cast<int>(a[0]);
  auto* offset = static_cast<int64_t*>(pointer(a[2]));
  if (fd_kind(out) == FdKind::kFree || fd_kind(static_cast<int>(a[1])) == FdKind::kFree) {
    return -EBADF;
  }
  if (appends(out)) {
    return -EINVAL;
  }
  long sent = 0;
  while (sent < a[3]) {
    long room = is_virtual(out) ? net_send_room(out) : static_cast<long>(kChunk);
    if (room <= 0) {
      return sent > 0 ? sent : room;
    }
    room = room < a[3] - sent ? room : a[3] - sent;
    room = room < static_cast<long>(kChunk) ? room : static_cast<long>(kChunk);
    long read_arguments[6] = {a[1], to_long(buffer), room, offset != nullptr ? *offset : 0};
    const long n = offset != nullptr ? do_pread64(__NR_pread64, read_arguments)
                                     : do_read(__NR_read, read_arguments);
    if (n <= 0) {
      return sent > 0 ? sent : n;
    }
    const long write_arguments[6] = {out, to_long(buffer), n};
    const long written = do_write(__NR_write, write_arguments);
    if (written != n) {
      return sent > 0 ? sent : written;
    }
    sent += n;
    if (offset != nullptr) {
      *offset += n;
    }
  }
  return sent;
}

long do_lseek(long number, const long* a) {
  if (is_virtual(a[0])) {
    return net_lseek(static_cast<int>(a[0]));
  }
  const bool live = doors_are_live();
  const long result = choose(number, [&] { return raw(number, a[0], a[1], a[2]); });
  if (!live && result >= 0) {
    raw(number, a[0], result, SEEK_SET);
  }
  return result;
}

}  // namespace ftrun::shim
