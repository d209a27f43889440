// SPDX-License-Identifier: Apache-2.0
// Calls on descriptors that may be virtual or files: ioctl, fcntl, dup.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "preload/calls.h"
#include "preload/files/fifo.h"
#include "preload/files/locks.h"
#include "preload/files/replicate.h"
#include "preload/guarded.h"
#include "preload/net/constant_names.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {

namespace {

void refuse_ioctl(int fd, unsigned request) {
  static unsigned told = 0;  // the last one
  if (fd_kind(fd) == FdKind::kNative && request != told) {
    told = request;
    Text text;
    text.add("ioctl(").hex(request).add(") answered ENOTTY: not supported on files\n");
    shim_notice(text.c_str());
  }
}

}  // namespace

long do_ioctl(long number, const long* a) {
  if (is_virtual(a[0])) {
    return net_ioctl(static_cast<int>(a[0]), static_cast<unsigned long>(a[1]),
                     static_cast<unsigned long>(a[2]));
  }
  switch (static_cast<unsigned long>(a[1])) {
    case FIOCLEX:
    case FIONCLEX:
      return raw(number, a[0], a[1], a[2]);
    case FIONBIO: {
      // Files are always ready: the flag is kept for F_GETFL only.
      int wanted = 0;
      if (!get_in(&wanted, pointer(a[2]))) {
        return -EFAULT;
      }
      // Natively and without a record: every replica has opened the file with the same flags.
      const long flags = raw(__NR_fcntl, a[0], F_GETFL);
      return flags < 0 ? flags
                       : raw(__NR_fcntl, a[0], F_SETFL,
                             wanted != 0 ? flags | O_NONBLOCK : flags & ~long{O_NONBLOCK});
    }
    // What is left up to the end of a file that others may have changed: from the log.
    case FIONREAD:
      return choose_out(number, a, a[2], sizeof(int));
    case TCGETS:
    case TIOCGWINSZ:
    case TIOCGPGRP:
      break;  // whether it is a terminal
    default:
      refuse_ioctl(static_cast<int>(a[0]), static_cast<unsigned>(a[1]));
  }
  return fd_kind(static_cast<int>(a[0])) == FdKind::kFree || is_place_only(a[0]) ? -EBADF : -ENOTTY;
}

// The result of a dup of a virtual descriptor.
long dupped(long fd) {
  if (fd >= 0) {
    fifo_dupped(static_cast<int>(fd));
  }
  return fd;
}

// Every replica does it by itself: numbers are taken and given back in the same order everywhere,
// and the lowest free one is the kernel's choice in each.
long native_dup(long result, int old_fd, bool close_on_exec) {
  if (result >= 0) {
    fd_set_native(static_cast<int>(result), fd_native_class(old_fd), close_on_exec);
    fd_share_description(static_cast<int>(result), old_fd);
  }
  return result;
}

namespace {

// What is asked of a file by fcntl(2), beside its number and flags.
long control_file(long number, const long* a) {
  switch (a[1]) {
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
    case F_GETLK:
    case F_OFD_GETLK:
      return lock_fcntl(number, a);
    // Never set: there is no SIGIO, and no lease on a file that each replica has.
    case F_GETOWN:
    case F_GETSIG:
      return 0;
    case F_GETLEASE:
      return F_UNLCK;
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
      return -EBADF;
    default: {
      if (const char* name = name_of_fcntl(static_cast<int>(a[1]))) {
        Text text;
        text.add("fcntl(").add(name).add(") answered EINVAL: not supported on files\n");
        shim_notice(text.c_str());
      }
      return -EINVAL;
    }
  }
}

}  // namespace

long do_fcntl(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  if (is_virtual(fd)) {
    const long result = net_fcntl(fd, static_cast<int>(a[1]), static_cast<unsigned long>(a[2]));
    return a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC ? dupped(result) : result;
  }
  if (fd_kind(fd) == FdKind::kFree) {
    return -EBADF;
  }
  switch (a[1]) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      return native_dup(raw(number, fd, a[1], a[2]), fd, a[1] == F_DUPFD_CLOEXEC);
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
      return raw(number, fd, a[1], a[2]);
    default:
      return is_place_only(fd) ? -EBADF : control_file(number, a);
  }
}

long do_dup(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  switch (fd_kind(fd)) {
    case FdKind::kVirtual:
      return dupped(net_dup(fd, 0, -1, false));
    case FdKind::kNative:
      return native_dup(raw(number, fd), fd, false);
    case FdKind::kFree:
      break;
  }
  return -EBADF;
}

namespace {
long dup_onto(int old_fd, int new_fd, bool close_on_exec) {
  // The limit that the application has set: the kernel's is the same, but the numbers of the shim's
  // own descriptors must stay out of reach (limits.cc).
  if (new_fd < 0 || new_fd >= descriptor_limit() || fd_kind(old_fd) == FdKind::kFree) {
    return -EBADF;
  }
  // ORDER: what `new_fd` is must be noted before it is gone, and its locks end after it.
  ClosingFile before(new_fd);
  long result = 0;
  if (is_virtual(old_fd)) {
    result = dupped(net_dup(old_fd, 0, new_fd, close_on_exec));
  } else {
    // dup3 would replace the placeholder only: the object behind it has to be let go of.
    if (is_virtual(new_fd)) {
      net_close(new_fd);
    }
    result = native_dup(raw(__NR_dup3, old_fd, new_fd, close_on_exec ? O_CLOEXEC : 0), old_fd,
                        close_on_exec);
  }
  before.closed();
  return result;
}
}  // namespace

long do_dup2(long, const long* a) {
  const int old_fd = static_cast<int>(a[0]);
  const int new_fd = static_cast<int>(a[1]);
  if (old_fd == new_fd) {
    return fd_kind(old_fd) == FdKind::kFree ? -EBADF : new_fd;
  }
  return dup_onto(old_fd, new_fd, false);
}
long do_dup3(long, const long* a) {
  const int old_fd = static_cast<int>(a[0]);
  const int new_fd = static_cast<int>(a[1]);
  if ((a[2] & ~static_cast<long>(O_CLOEXEC)) != 0 || old_fd == new_fd) {
    return -EINVAL;
  }
  return dup_onto(old_fd, new_fd, a[2] != 0);
}

}  // namespace ftrun::shim
