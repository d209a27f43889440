// SPDX-License-Identifier: Apache-2.0
// sendfile: a read at an offset and a write, in chunks, as splice_direct_to_actor does it: what the
// other end did not take has not been read.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "preload/calls.h"
#include "preload/files/replicate.h"
#include "preload/files/sendfile.h"
#include "preload/guarded.h"
#include "preload/net/bytes.h"

namespace ftrun::shim {
namespace {

// What sendfile(2) asks of the two descriptors before it moves a byte; 0 or -errno.
long check_descriptors(int out, int in, bool has_offset) {
  if (fd_kind(out) == FdKind::kFree || fd_kind(in) == FdKind::kFree) {
    return -EBADF;
  }
  const long reads = descriptor_flags(in);
  const long writes = descriptor_flags(out);
  if (reads < 0 || writes < 0 || (reads & O_ACCMODE) == O_WRONLY ||
      (writes & O_ACCMODE) == O_RDONLY) {
    return -EBADF;
  }
  if (is_virtual(in)) {
    return has_offset ? -ESPIPE : -EINVAL;
  }
  return (writes & O_APPEND) != 0 ? -EINVAL : 0;  // not where a file is written at its end alone
}

// One for all threads: it is filled and emptied within one move_chunk(), and the write in between
// does not wait (see its REQUIRES), so the token stays.
uint8_t* chunk_buffer() {
  static uint8_t* buffer = nullptr;
  if (buffer == nullptr) {
    buffer = static_cast<uint8_t*>(arena_alloc(kChunkBytesMax, 4096));
  }
  return buffer;
}

// Moves at most `left` bytes from `position`; returns how many, or -errno.
long send_chunk(int out, int in, int64_t position, long left) {
  // ORDER: room first, so that nothing is read that cannot be written.
  const long room = is_virtual(out) ? net_send_room(out) : kChunkBytesMax;
  if (room <= 0) {
    return room;
  }
  const long wanted = room < left ? room : left;
  Place from = {in, position};
  Place to = {out, -1};
  return move_chunk(&from, &to, wanted < kChunkBytesMax ? wanted : kChunkBytesMax);
}

}  // namespace

long descriptor_flags(int fd) {
  return is_virtual(fd) ? net_fcntl(fd, F_GETFL, 0) : raw(__NR_fcntl, fd, F_GETFL, 0);
}

long move_chunk(Place* from, Place* to, long bytes) {
  const long buffer = to_long(chunk_buffer());
  // By the ordinary calls and with their records: for a file that is the content or its hash, for a
  // virtual object nothing.
  const long reads[6] = {from->fd, buffer, bytes, from->offset};
  const long n = from->offset < 0 ? do_read(__NR_read, reads) : do_pread64(__NR_pread64, reads);
  if (n <= 0) {
    return n;
  }
  const long writes[6] = {to->fd, buffer, n, to->offset};
  const long written =
      to->offset < 0 ? do_write(__NR_write, writes) : do_pwrite64(__NR_pwrite64, writes);
  const long moved = written > 0 ? written : 0;
  if (from->offset >= 0) {
    from->offset += moved;
  } else if (moved < n && !is_virtual(from->fd)) {
    // What was read and not taken is still the file's: its position goes back. A virtual source
    // cannot go back; its bytes are lost (docs/limitations.md).
    const long back[3] = {from->fd, moved - n, SEEK_CUR};
    do_lseek(__NR_lseek, back);
  }
  to->offset += to->offset >= 0 ? moved : 0;
  return written;
}

long do_sendfile(long number, const long* a) {
  const int out = static_cast<int>(a[0]);
  const int in = static_cast<int>(a[1]);
  auto* offset = static_cast<int64_t*>(pointer(a[2]));
  const long error = check_descriptors(out, in, offset != nullptr);
  if (error < 0) {
    return error;
  }
  int64_t position = 0;
  if (offset == nullptr) {
    // Natively: reads have moved it on by the same amount in every replica (data.cc).
    position = raw(__NR_lseek, in, 0, SEEK_CUR);
  } else if (!get_in(&position, offset)) {
    return -EFAULT;
  }
  if (position < 0 || a[3] < 0) {
    return -EINVAL;
  }
  const auto count_max = static_cast<long>(kTransferBytesMax);
  const long count = a[3] < count_max ? a[3] : count_max;
  long sent = 0;
  long result = 0;
  while (sent < count) {
    result = send_chunk(out, in, position, count - sent);
    if (result <= 0) {
      break;
    }
    sent += result;
    position += result;
    // 64 KiB each: a large file must not fill a ring within one turn.
    doors_between_parts(number);
  }
  if (offset == nullptr) {
    raw(__NR_lseek, in, position, SEEK_SET);
  } else if (!put_out(offset, position)) {
    return -EFAULT;
  }
  return sent > 0 ? sent : result;
}

}  // namespace ftrun::shim
