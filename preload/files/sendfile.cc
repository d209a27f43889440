// SPDX-License-Identifier: Apache-2.0
// sendfile: a read at an offset and a write, in chunks, as splice_direct_to_actor does it: what the
// other end did not take has not been read.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "preload/calls.h"
#include "preload/files/replicate.h"
#include "preload/guarded.h"
#include "preload/net/bytes.h"

namespace ftrun::shim {
namespace {

constexpr long kChunk = 64 * 1024;

// What sendfile(2) asks of the two descriptors before it moves a byte; 0 or -errno.
long check_descriptors(int out, int in, bool has_offset) {
  if (fd_kind(out) == FdKind::kFree || fd_kind(in) == FdKind::kFree) {
    return -EBADF;
  }
  if (is_virtual(in)) {
    return has_offset ? -ESPIPE : -EINVAL;
  }
  const long reads = raw(__NR_fcntl, in, F_GETFL, 0);
  const long writes = is_virtual(out) ? O_WRONLY : raw(__NR_fcntl, out, F_GETFL, 0);
  if (reads < 0 || writes < 0 || (reads & O_ACCMODE) == O_WRONLY ||
      (writes & O_ACCMODE) == O_RDONLY) {
    return -EBADF;
  }
  return (writes & O_APPEND) != 0 ? -EINVAL : 0;  // not where a file is written at its end alone
}

uint8_t* chunk_buffer() {
  static uint8_t* buffer = nullptr;
  if (buffer == nullptr) {
    buffer = static_cast<uint8_t*>(arena_alloc(kChunk, 4096));
  }
  return buffer;
}

// Moves at most `left` bytes from `position`; returns how many, or -errno.
long send_chunk(int out, int in, int64_t position, long left) {
  // ORDER: room first, so that nothing is read that cannot be written.
  const long room = is_virtual(out) ? net_send_room(out) : kChunk;
  if (room <= 0) {
    return room;
  }
  long wanted = room < left ? room : left;
  wanted = wanted < kChunk ? wanted : kChunk;
  const long buffer = to_long(chunk_buffer());
  const long read_arguments[6] = {in, buffer, wanted, position};
  const long n = do_pread64(__NR_pread64, read_arguments);
  if (n <= 0) {
    return n;
  }
  const long write_arguments[6] = {out, buffer, n};
  return do_write(__NR_write, write_arguments);
}

}  // namespace

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
