// SPDX-License-Identifier: Apache-2.0
// Calls that every kind of virtual file has: read, write, ioctl, fstat, lseek. Each finds the file
// and hands over to its type; those of sockets: socket.cc.
// Runs in the application with the token held; no libc, no system calls.
#include <asm/ioctls.h>
#include <linux/sockios.h>

#include "preload/guarded.h"
#include "preload/net/constant_names.h"
#include "preload/net/descriptors.h"
#include "preload/net/owner.h"
#include "preload/net/pipe.h"
#include "preload/net/query.h"
#include "preload/net/socket.h"

namespace ftrun::shim {
namespace {

// ORDER: the file is held for the whole call: while it waits, another thread may close the number.
long read_file(File* file, const struct iovec* iov, size_t length, int flags) {
  FileHold hold(file);
  IoCursor to(iov, length);
  return file->ops->read(file, &to, flags);
}

long write_file(File* file, const struct iovec* iov, size_t length, int flags) {
  FileHold hold(file);
  IoCursor from(iov, length);
  return file->ops->write(file, &from, flags);
}

long input_bytes(File* file) {
  if (is_socket(file)) {
    return file->ops->socket->input_bytes(as_socket(file));
  }
  return file->ops->type == FileType::kPipe ? static_cast<long>(pipe_bytes(file)) : -ENOTTY;
}

// An ioctl of sockets that have it.
long ask_socket(File* file, long (*function)(const Socket*)) {
  return function != nullptr ? function(as_socket(file)) : -ENOTTY;
}

long store_int(long value, unsigned long argument) {
  if (value < 0) {
    return value;
  }
  return put_out(reinterpret_cast<void*>(argument), static_cast<int>(value)) ? 0 : -EFAULT;
}

long set_nonblocking(File* file, unsigned long argument) {
  int on = 0;
  if (!get_in(&on, reinterpret_cast<void*>(argument))) {
    return -EFAULT;
  }
  file->status_flags = on != 0 ? file->status_flags | O_NONBLOCK : file->status_flags & ~O_NONBLOCK;
  return 0;
}

}  // namespace

long net_readv(int fd, const struct iovec* iov, int count, int flags) {
  File* file = virtual_file(fd);
  const long length = check_iovec(iov, count);
  if (file == nullptr || (file->status_flags & O_ACCMODE) == O_WRONLY) {
    return -EBADF;
  }
  if (file->ops->read == nullptr) {
    return -EINVAL;
  }
  // An empty read of a socket is nothing at all (sock_read_iter).
  if (length < 0 || (length == 0 && (is_socket(file) || count != 1))) {
    return length;
  }
  return read_file(file, iov, static_cast<size_t>(length), flags);
}

long net_writev(int fd, const struct iovec* iov, int count, int flags) {
  File* file = virtual_file(fd);
  const long length = check_iovec(iov, count);
  if (file == nullptr || (file->status_flags & O_ACCMODE) == O_RDONLY) {
    return -EBADF;
  }
  if (file->ops->write == nullptr) {
    return -EINVAL;
  }
  // An empty writev is nothing at all; an empty write still meets errors.
  if (length < 0 || (length == 0 && count != 1)) {
    return length;
  }
  return write_file(file, iov, static_cast<size_t>(length), flags);
}

long net_send_room(int fd, int flags) {
  File* file = virtual_file(fd);
  if (file == nullptr || (file->status_flags & O_ACCMODE) == O_RDONLY) {
    return -EBADF;
  }
  FileHold hold(file);
  return file->ops->room != nullptr ? file->ops->room(file, flags) : -EINVAL;
}

long net_wait_input(int fd, int flags) {
  constexpr uint32_t kEnough = kKeyReadable | EPOLLHUP | EPOLLRDHUP | EPOLLERR;
  File* file = virtual_file(fd);
  if (file == nullptr || (file->status_flags & O_ACCMODE) == O_WRONLY) {
    return -EBADF;
  }
  const int64_t timeout_ns =
      is_socket(file) ? as_socket(file)->options.receive_timeout_ns : int64_t{-1};
  ingest_point();
  return attempt_or_wait(
      file, &file->readers, is_nonblocking(file, flags), timeout_ns,
      [&]() -> long { return (file->ops->poll(file, kKeyReadable) & kEnough) != 0 ? 0 : -EAGAIN; });
}

// FIONREAD is no ingest point: it tells what a read would give now, and a loop around it gets its
// arrivals where the turn is cut (doors_enter_call). No notice for what isatty(3) asks, which C
// libraries do for each stream they open.
long net_ioctl(int fd, unsigned long request, unsigned long argument) {
  File* file = virtual_file(fd);
  if (file == nullptr) {
    return -EBADF;
  }
  switch (request) {
    case FIONBIO:
      return set_nonblocking(file, argument);
    case FIOASYNC: {
      int on = 0;
      if (!get_in(&on, reinterpret_cast<void*>(argument))) {
        return -EFAULT;
      }
      const bool changes = (on != 0) != ((file->status_flags & O_ASYNC) != 0);
      return changes ? set_async(fd, file, on != 0) : 0;
    }
    case FIOSETOWN:
    case SIOCSPGRP: {
      unsigned owner = 0;
      if (!is_socket(file)) {
        return -ENOTTY;
      }
      return get_in(&owner, reinterpret_cast<void*>(argument))
                 ? owner_control(file, F_SETOWN, owner)
                 : -EFAULT;
    }
    case FIOGETOWN:
    case SIOCGPGRP: {
      // ORDER: a group's number is negative, and no error.
      if (!is_socket(file)) {
        return -ENOTTY;
      }
      const int owner = static_cast<int>(owner_control(file, F_GETOWN, 0));
      return put_out(reinterpret_cast<void*>(argument), owner) ? 0 : -EFAULT;
    }
    case FIOCLEX:
    case FIONCLEX:
      return net_fcntl(fd, F_SETFD, request == FIOCLEX ? FD_CLOEXEC : 0);
    case FIONREAD:
      return store_int(input_bytes(file), argument);
    case SIOCOUTQ:
      return store_int(
          is_socket(file) ? ask_socket(file, file->ops->socket->output_bytes) : -ENOTTY, argument);
    case SIOCATMARK:
      return store_int(is_socket(file) ? ask_socket(file, file->ops->socket->at_mark) : -ENOTTY,
                       argument);
    case TCGETS:
    case TIOCGWINSZ:
    case TIOCGPGRP:
      return -ENOTTY;
    default: {
      if (file->ops->type == FileType::kEpoll) {
        return -EINVAL;
      }
      const long result =
          is_socket(file) && file->ops->type != FileType::kPair
              ? interface_ioctl(as_socket(file)->family, request, reinterpret_cast<void*>(argument))
              : -ENOTTY;
      if (result != -ENOTTY) {
        return result;
      }
      Notice()
          .text("ioctl(")
          .constant(name_of_ioctl(request), static_cast<int64_t>(request))
          .text(") answered ENOTTY: not supported on sockets and pipes")
          .emit();
      return -ENOTTY;
    }
  }
}

long net_fstat(int fd, struct stat* out) {
  const File* file = virtual_file(fd);
  if (file == nullptr) {
    return -EBADF;
  }
  if (file->ops->stat != nullptr) {
    file->ops->stat(file, out);
    return 0;
  }
  // Device numbers of the kernel's pseudo file systems depend on the order in which a host has
  // mounted them: here they are constants. Sizes and times are zero.
  const struct ucred own = application_credentials();
  __builtin_memset(out, 0, sizeof(*out));
  out->st_uid = own.uid;
  out->st_gid = own.gid;
  out->st_ino = file->inode;
  out->st_nlink = 1;
  out->st_blksize = 4096;
  switch (file->ops->type) {
    case FileType::kTcp:
    case FileType::kPair:
    case FileType::kQuery:
      out->st_mode = S_IFSOCK | 0777;
      out->st_dev = 8;
      break;
    case FileType::kPipe:
    case FileType::kConsole:
    case FileType::kFifo:
      out->st_mode = S_IFIFO | 0600;
      out->st_dev = 14;
      break;
    case FileType::kEpoll:
    case FileType::kEvent:
    case FileType::kTimer:
      out->st_mode = 0600;  // anonymous inodes have no type
      out->st_dev = 15;
      break;
  }
  if (file->permissions >= 0) {
    out->st_mode = (out->st_mode & S_IFMT) | static_cast<mode_t>(file->permissions);
  }
  return 0;
}

void net_fchmod(int fd, unsigned permissions) {
  virtual_file(fd)->permissions = static_cast<int>(permissions & 07777);
}

long net_lseek(int fd) {
  const File* file = virtual_file(fd);
  if (file == nullptr) {
    return -EBADF;
  }
  const FileType type = file->ops->type;
  const bool seekable =
      type == FileType::kEpoll || type == FileType::kEvent || type == FileType::kTimer;
  return seekable ? 0 : -ESPIPE;  // noop_llseek
}

}  // namespace ftrun::shim
