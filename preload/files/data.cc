// SPDX-License-Identifier: Apache-2.0
// Files: reading and writing. A secondary reads and writes exactly as many bytes as the primary
// did, all buffers of a call as the kernel would; what it reads is compared by hash, or taken from
// the log. Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "eventlog/records.h"
#include "preload/calls.h"
#include "preload/files/opened.h"
#include "preload/files/replicate.h"
#include "preload/guarded.h"
#include "preload/net/bytes.h"

namespace ftrun::shim {
namespace {

constexpr int64_t kAtPosition = -1;  // where the descriptor stands, which moves on

// One call that reads or writes a file.
struct Transfer {
  bool writes;
  int fd;
  const struct iovec* iov;
  long count;
  size_t total;  // bytes of all buffers, kTransferBytesMax at most
  int64_t offset;
  // As given: the kernel checks them, and its answer is the choice.
  int flags;  // RWF_*
};

long move_buffers(const Transfer& t, const struct iovec* iov, long count, int64_t offset,
                  int flags) {
  // preadv2 and pwritev2 at offset -1 are readv and writev; for one buffer without flags the plain
  // calls do.
  if (count != 1 || flags != 0) {
    return raw(t.writes ? __NR_pwritev2 : __NR_preadv2, t.fd, iov, count, offset, 0, flags);
  }
  if (offset == kAtPosition) {
    return raw(t.writes ? __NR_write : __NR_read, t.fd, iov->iov_base, iov->iov_len);
  }
  return raw(t.writes ? __NR_pwrite64 : __NR_pread64, t.fd, iov->iov_base, iov->iov_len, offset);
}

long move_all(const Transfer& t) {
  return move_buffers(t, t.iov, t.count, t.offset, t.flags);
}

// In a secondary: exactly `bytes` bytes, of as many buffers as they reach into. Returns how many it
// were.
long move_exactly(const Transfer& t, size_t bytes) {
  const int flags = t.flags & ~RWF_NOWAIT;  // the primary did not need to wait for these bytes
  // The usual case: one call, as in the primary.
  if (bytes == t.total) {
    return move_buffers(t, t.iov, t.count, t.offset, flags);
  }
  size_t done = 0;
  for (long i = 0; done < bytes; ++i) {
    const size_t left = bytes - done;
    struct iovec piece = t.iov[i];
    piece.iov_len = piece.iov_len < left ? piece.iov_len : left;
    const int64_t offset =
        t.offset == kAtPosition ? kAtPosition : t.offset + static_cast<int64_t>(done);
    const long moved = piece.iov_len == 0 ? 0 : move_buffers(t, &piece, 1, offset, flags);
    if (moved < 0) {
      return moved;
    }
    done += static_cast<size_t>(moved);
    if (static_cast<size_t>(moved) != piece.iov_len) {
      break;
    }
  }
  return static_cast<long>(done);
}

// Detects files that differ between replicas; not a defence against forgery. Eight bytes at a time,
// since both replicas pay for it at every read of a large file.
uint64_t content_hash(uint64_t hash, const uint8_t* data, size_t length) {
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

// Of the first `bytes` bytes of the buffers.
uint64_t buffers_hash(const Transfer& t, size_t bytes) {
  uint64_t hash = 0x9E3779B97F4A7C15u ^ bytes;
  for (long i = 0; bytes != 0; ++i) {
    const size_t here = t.iov[i].iov_len < bytes ? t.iov[i].iov_len : bytes;
    hash = content_hash(hash, static_cast<const uint8_t*>(t.iov[i].iov_base), here);
    bytes -= here;
  }
  return hash;
}

// A part of a read whose bytes come from the log.
long read_part(long number, const Transfer& t, const struct iovec& part, int64_t offset) {
  return choose_counted_and_follow(
      number, part.iov_base, part.iov_len,
      [&]() -> long {
        return fd_native_class(t.fd) == kLoggedElsewhere
                   ? -ESTALE
                   : move_buffers(t, &part, 1, offset, t.flags);
      },
      [&](long result) {
        if (result > 0 && offset == kAtPosition) {
          raw(__NR_lseek, t.fd, result, SEEK_CUR);  // a promoted replica reads on from here
        }
      });
}

long read_logged(long number, const Transfer& t) {
  size_t done = 0;
  for (long i = 0; i < t.count; ++i) {
    const size_t left = t.total - done;
    const size_t length = t.iov[i].iov_len < left ? t.iov[i].iov_len : left;
    const bool is_last = i + 1 == t.count;
    if (length == 0 && !(is_last && done == 0)) {
      continue;
    }
    size_t taken = 0;
    const long result = in_parts(number, t.iov[i].iov_base, length, [&](void* to, size_t bytes) {
      const int64_t offset =
          t.offset == kAtPosition ? kAtPosition : t.offset + static_cast<int64_t>(done + taken);
      // With an offset of its own each part names where it begins; without one the descriptor moves
      // on by itself, natively or by read_part().
      const long n = read_part(number, t, {to, bytes}, offset);
      taken += n > 0 ? static_cast<size_t>(n) : 0;
      return n;
    });
    if (result < 0) {
      return done != 0 ? static_cast<long>(done) : result;
    }
    done += static_cast<size_t>(result);
    if (static_cast<size_t>(result) < length) {
      break;
    }
    if (!is_last) {
      doors_between_parts(number);
    }
  }
  return static_cast<long>(done);
}

// A secondary: its own file must give what the primary's gave.
void read_here(long number, const Transfer& t, long result, uint64_t hash) {
  if (result == 0) {
    return;
  }
  // ORDER: asked by identity first, which names the cause; the hash only says that something
  // differs.
  require_same_file(t.fd, number);
  const auto bytes = static_cast<size_t>(result);
  const long here = move_exactly(t, bytes);
  if (here != result) {
    replica_differs("a file is shorter in this replica", number, here, result);
  }
  if (buffers_hash(t, bytes) != hash) {
    replica_differs("a file has other content in this replica", number, t.fd, t.fd);
  }
}

long read_compared(long number, const Transfer& t) {
  uint64_t hash = 0;
  return choose_and_follow(
      number, &hash, sizeof(hash),
      [&] {
        const long result = move_all(t);
        hash = result > 0 ? buffers_hash(t, static_cast<size_t>(result)) : 0;
        return result;
      },
      [&](long result) { read_here(number, t, result, hash); });
}

long write_replicated(long number, const Transfer& t) {
  return choose_and_follow(
      number, [&] { return move_all(t); },
      [&](long result) {
        // Exactly what the primary wrote, also where it was less than asked for (a full disk): the
        // copies must be equal byte by byte. A replica whose own disk is full stops here.
        const long here = result > 0 ? move_exactly(t, static_cast<size_t>(result)) : 0;
        if (here != result) {
          replica_differs("this replica could not write", number, here, result);
        }
      });
}

// On a file. REQUIRES: the descriptor is not virtual. Checks in the kernel's order.
long transfer(long number, Transfer t) {
  if (fd_kind(t.fd) == FdKind::kFree) {
    return -EBADF;
  }
  const long total =
      t.count < 0 || t.count > INT32_MAX ? -EINVAL : check_iovec(t.iov, static_cast<int>(t.count));
  if (total < 0) {
    return total;
  }
  t.total = static_cast<size_t>(total);
  if (t.writes) {
    return write_replicated(number, t);
  }
  return is_logged(fd_native_class(t.fd)) ? read_logged(number, t) : read_compared(number, t);
}

// read, write and those at an offset: one buffer.
long one_buffer(long number, const long* a, bool writes, int64_t offset) {
  const struct iovec iov = {pointer(a[1]), static_cast<size_t>(a[2])};
  return transfer(
      number,
      {.writes = writes, .fd = static_cast<int>(a[0]), .iov = &iov, .count = 1, .offset = offset});
}

long many_buffers(long number, const long* a, bool writes, int64_t offset, int flags) {
  struct iovec iov[kIovecCountMax];
  if (fd_kind(static_cast<int>(a[0])) == FdKind::kFree) {
    return -EBADF;
  }
  if (const long error = iovecs_in(iov, pointer(a[1]), a[2])) {
    return error;
  }
  return transfer(number, {.writes = writes,
                           .fd = static_cast<int>(a[0]),
                           .iov = iov,
                           .count = a[2],
                           .offset = offset,
                           .flags = flags});
}

// On a virtual descriptor. Flags about disks have no meaning there, as the kernel has it for pipes
// and sockets.
long virtual_buffers(const long* a, bool writes, long flags) {
  constexpr long kWithoutMeaning = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND;
  if ((flags & ~(kWithoutMeaning | RWF_NOWAIT)) != 0) {
    return -EOPNOTSUPP;
  }
  const int fd = static_cast<int>(a[0]);
  struct iovec iov[kIovecCountMax];
  if (const long error = iovecs_in(iov, pointer(a[1]), a[2])) {
    return error;
  }
  const int message_flags = (flags & RWF_NOWAIT) != 0 ? MSG_DONTWAIT : 0;
  return writes ? net_writev(fd, iov, static_cast<int>(a[2]), message_flags)
                : net_readv(fd, iov, static_cast<int>(a[2]), message_flags);
}

// preadv2, pwritev2: at offset -1 they are readv and writev with flags.
long with_flags(long number, const long* a, bool writes) {
  if (a[3] < kAtPosition) {
    return -EINVAL;
  }
  if (!is_virtual(a[0])) {
    return many_buffers(number, a, writes, a[3], static_cast<int>(a[5]));
  }
  return a[3] == kAtPosition ? virtual_buffers(a, writes, a[5]) : -ESPIPE;
}

}  // namespace

long do_read(long number, const long* a) {
  if (is_virtual(a[0])) {
    const struct iovec iov = {pointer(a[1]), static_cast<size_t>(a[2])};
    return net_readv(static_cast<int>(a[0]), &iov, 1);
  }
  return one_buffer(number, a, false, kAtPosition);
}
long do_write(long number, const long* a) {
  if (is_virtual(a[0])) {
    const struct iovec iov = {pointer(a[1]), static_cast<size_t>(a[2])};
    return net_writev(static_cast<int>(a[0]), &iov, 1);
  }
  return one_buffer(number, a, true, kAtPosition);
}

long do_pread64(long number, const long* a) {
  return a[3] < 0 ? -EINVAL : is_virtual(a[0]) ? -ESPIPE : one_buffer(number, a, false, a[3]);
}
long do_pwrite64(long number, const long* a) {
  return a[3] < 0 ? -EINVAL : is_virtual(a[0]) ? -ESPIPE : one_buffer(number, a, true, a[3]);
}

long do_readv(long number, const long* a) {
  return is_virtual(a[0]) ? virtual_buffers(a, false, 0)
                          : many_buffers(number, a, false, kAtPosition, 0);
}
long do_writev(long number, const long* a) {
  return is_virtual(a[0]) ? virtual_buffers(a, true, 0)
                          : many_buffers(number, a, true, kAtPosition, 0);
}

long do_preadv(long number, const long* a) {
  return a[3] < 0 ? -EINVAL : is_virtual(a[0]) ? -ESPIPE : many_buffers(number, a, false, a[3], 0);
}
long do_pwritev(long number, const long* a) {
  return a[3] < 0 ? -EINVAL : is_virtual(a[0]) ? -ESPIPE : many_buffers(number, a, true, a[3], 0);
}
long do_preadv2(long number, const long* a) {
  return with_flags(number, a, false);
}
long do_pwritev2(long number, const long* a) {
  return with_flags(number, a, true);
}

long do_lseek(long number, const long* a) {
  if (is_virtual(a[0])) {
    return net_lseek(static_cast<int>(a[0]));
  }
  return choose_and_follow(
      number, [&] { return raw(number, a[0], a[1], a[2]); },
      [&](long position) { raw(number, a[0], position, SEEK_SET); });
}

}  // namespace ftrun::shim
