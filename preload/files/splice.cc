// SPDX-License-Identifier: Apache-2.0
// splice and copy_file_range: no bytes are shared with the kernel, they are read and written.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/calls.h"
#include "preload/files/replicate.h"
#include "preload/files/sendfile.h"
#include "preload/guarded.h"
#include "preload/net/bytes.h"
#include "preload/net/descriptors.h"
#include "preload/net/socket.h"

namespace ftrun::shim {
namespace {

bool may_read(long flags) {
  return flags >= 0 && (flags & O_ACCMODE) != O_WRONLY && (flags & O_PATH) == 0;
}
bool may_write(long flags) {
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && (flags & O_PATH) == 0;
}

// The offset at `address`, if there is one.
bool offset_in(long address, int64_t* offset) {
  *offset = -1;
  return address == 0 || get_in(offset, pointer(address));
}

// Both calls name two places by descriptor and address of an offset: a[0] to a[3]. 0 or -errno.
long offsets_in(const long* a, Place* in, Place* out) {
  return offset_in(a[1], &in->offset) && offset_in(a[3], &out->offset) ? 0 : -EFAULT;
}

// And tell how far they have come, which is their result otherwise.
long give_offsets(const long* a, const Place& in, const Place& out, long result) {
  const bool given = (a[1] == 0 || put_out(pointer(a[1]), in.offset)) &&
                     (a[3] == 0 || put_out(pointer(a[3]), out.offset));
  return given ? result : -EFAULT;
}

// --- splice ---

bool is_pipe(int fd) {
  const FileType type = is_virtual(fd) ? virtual_file(fd)->ops->type : FileType::kEvent;
  return type == FileType::kPipe || type == FileType::kFifo || type == FileType::kConsole;
}
bool is_stream_socket(int fd) {
  return is_virtual(fd) && is_socket(virtual_file(fd));
}

// What do_splice() of the kernel asks first: 0 or -errno.
long check_splice(int in, bool has_in, int out, bool has_out) {
  const long reads = descriptor_flags(in);
  const long writes = descriptor_flags(out);
  if ((is_pipe(in) && has_in) || (is_pipe(out) && has_out)) {
    return -ESPIPE;
  }
  if (!may_read(reads) || !may_write(writes)) {
    return -EBADF;
  }
  const int other = is_pipe(in) ? out : in;
  const bool has_place = is_pipe(in) ? has_out : has_in;
  if (!is_pipe(in) && !is_pipe(out)) {
    return -EINVAL;
  }
  if (is_pipe(in) && is_pipe(out)) {
    struct stat one = {};
    struct stat another = {};
    // The ends of one pipe have one inode number.
    net_fstat(in, &one);
    net_fstat(out, &another);
    return one.st_ino == another.st_ino ? -EINVAL : 0;
  }
  // Sockets and files; what else there is knows no splicing.
  if (is_virtual(other) && (!is_stream_socket(other) || has_place)) {
    return -EINVAL;
  }
  return is_pipe(in) && (writes & O_APPEND) != 0 ? -EINVAL : 0;
}

struct Splice {
  Place in;
  Place out;
  int in_flags;   // MSG_DONTWAIT: whether to wait for input
  int out_flags;  // and for room
};

// One step: how many bytes, 0 at the end of the input, or -errno. Waiting gives up the token, so
// everything is looked at again after it.
long splice_step(Splice* call, long left) {
  for (;;) {
    const bool waits_for_input = is_virtual(call->in.fd);
    long result = waits_for_input ? net_wait_input(call->in.fd, call->in_flags) : 0;
    if (result < 0) {
      return result;
    }
    const bool waits_for_room = is_virtual(call->out.fd);
    long room = waits_for_room ? net_send_room(call->out.fd, call->out_flags) : kChunkBytesMax;
    if (room < 0) {
      return room;
    }
    room = room < left ? room : left;
    room = room < kChunkBytesMax ? room : kChunkBytesMax;
    if (waits_for_input && waits_for_room && net_wait_input(call->in.fd, MSG_DONTWAIT) == -EAGAIN) {
      continue;  // somebody else has taken it
    }
    return move_chunk(&call->in, &call->out, room);
  }
}

// --- copy_file_range ---

// generic_file_rw_checks() and generic_copy_file_checks(): how many bytes are to be copied, or
// -errno. What the copy itself adds to the source is not among them.
long bytes_to_copy(int in, int out, int64_t from, int64_t to, long length) {
  struct stat source = {};
  struct stat target = {};
  if (is_virtual(in) || is_virtual(out)) {
    return -EINVAL;
  }
  // In the primary alone (the caller's choice): sizes outside may change at any time.
  raw(__NR_fstat, in, &source);
  raw(__NR_fstat, out, &target);
  if (S_ISDIR(source.st_mode) || S_ISDIR(target.st_mode)) {
    return -EISDIR;
  }
  if (!S_ISREG(source.st_mode) || !S_ISREG(target.st_mode)) {
    return -EINVAL;
  }
  const long writes = descriptor_flags(out);
  if (!may_read(descriptor_flags(in)) || !may_write(writes) || (writes & O_APPEND) != 0) {
    return -EBADF;
  }
  if (from < 0 || to < 0) {
    const bool is_over = (from < 0 && from + length >= 0) || (to < 0 && to + length >= 0);
    return is_over ? -EOVERFLOW : -EINVAL;
  }
  const int64_t left = source.st_size > from ? source.st_size - from : 0;
  const int64_t bytes = length < left ? length : left;
  const bool is_same = source.st_dev == target.st_dev && source.st_ino == target.st_ino;
  const int64_t apart = from < to ? to - from : from - to;
  return is_same && apart < bytes ? -EINVAL : bytes;
}

}  // namespace

long do_splice(long number, const long* a) {
  constexpr long kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
  const int in = static_cast<int>(a[0]);
  const int out = static_cast<int>(a[2]);
  if (a[4] == 0) {
    return 0;
  }
  if ((a[5] & ~kFlags) != 0) {
    return -EINVAL;
  }
  if (fd_kind(in) == FdKind::kFree || fd_kind(out) == FdKind::kFree) {
    return -EBADF;
  }
  Splice call = {{in, -1}, {out, -1}, 0, 0};
  long error = check_splice(in, a[1] != 0, out, a[3] != 0);
  if (error == 0) {
    error = offsets_in(a, &call.in, &call.out);
  }
  if (error != 0) {
    return error;
  }
  if ((a[1] != 0 && call.in.offset < 0) || (a[3] != 0 && call.out.offset < 0)) {
    return -EINVAL;
  }
  // The flag is the pipes': sockets have one of their own (O_NONBLOCK).
  const int at_once = (a[5] & SPLICE_F_NONBLOCK) != 0 ? MSG_DONTWAIT : 0;
  call.in_flags = is_pipe(in) ? at_once : 0;
  call.out_flags = is_pipe(out) ? at_once : 0;
  const long length = a[4] < 0 || a[4] > static_cast<long>(kTransferBytesMax)
                          ? static_cast<long>(kTransferBytesMax)
                          : a[4];
  long done = 0;
  long result = 0;
  // As much as there is, and has room; only at first with waiting for it.
  do {
    result = splice_step(&call, length - done);
    done += result > 0 ? result : 0;
    call.in_flags = MSG_DONTWAIT;
    call.out_flags |= is_pipe(out) ? MSG_DONTWAIT : 0;
    doors_between_parts(number);
  } while (result > 0 && done < length);
  return give_offsets(a, call.in, call.out, done > 0 ? done : result);
}

long do_copy_file_range(long number, const long* a) {
  Place in = {static_cast<int>(a[0]), -1};
  Place out = {static_cast<int>(a[2]), -1};
  if (fd_kind(in.fd) == FdKind::kFree || fd_kind(out.fd) == FdKind::kFree ||
      descriptor_flags(in.fd) < 0 || (descriptor_flags(in.fd) & O_PATH) != 0 ||
      (descriptor_flags(out.fd) & O_PATH) != 0) {
    return -EBADF;
  }
  const long error = offsets_in(a, &in, &out);
  if (error != 0 || a[5] != 0) {
    return error != 0 ? error : -EINVAL;
  }
  const auto length_max = static_cast<long>(kTransferBytesMax);
  const long asked = a[4] < 0 || a[4] > length_max ? length_max : a[4];
  const int64_t from = a[1] != 0 ? in.offset : raw(__NR_lseek, in.fd, 0, SEEK_CUR);
  const int64_t to = a[3] != 0 ? out.offset : raw(__NR_lseek, out.fd, 0, SEEK_CUR);
  // A choice: others may change the size of a file outside the state directories.
  const long length = choose(number, [&] { return bytes_to_copy(in.fd, out.fd, from, to, asked); });
  long done = 0;
  long result = length < 0 ? length : 0;
  while (result >= 0 && done < length) {
    const long left = length - done;
    result = move_chunk(&in, &out, left < kChunkBytesMax ? left : kChunkBytesMax);
    if (result <= 0) {
      break;
    }
    done += result;
    doors_between_parts(number);
  }
  return give_offsets(a, in, out, done > 0 ? done : result);
}

}  // namespace ftrun::shim
