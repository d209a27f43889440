// SPDX-License-Identifier: Apache-2.0
// See locks.h. Runs in the application with the token held; no libc.
#include "preload/files/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/calls.h"
#include "preload/files/replicate.h"
#include "preload/guarded.h"
#include "preload/net/lock.h"

namespace ftrun::shim {
namespace {

// How often a thread tries that waits for another thread's lock on a state file. The kernel must
// not wait: it would keep the token from the one that is to unlock.
constexpr int64_t kStateLockRetryNs = 1'000'000;

// The edge compares it with that of the file that it finds behind the descriptor
// (outside_locks.cc). A choice, since a secondary may have another file there.
uint64_t inode_of(int fd) {
  uint64_t inode = 0;
  choose(__NR_fstat, &inode, sizeof(inode), [&] {
    struct stat about = {};
    const long result = raw(__NR_fstat, fd, &about);
    inode = about.st_ino;
    return result;
  });
  return inode;
}

// 1 ms of virtual time between tries. Only threads of this program can hold such a lock, and they
// run while this one waits.
template <typename Try>
long lock_state_file(long number, bool wait, Try&& attempt) {
  for (;;) {
    const long result = replicate(number, attempt);
    if ((result != -EAGAIN && result != -EACCES) || !wait) {
      return result;
    }
    if (sched_wait(nullptr, virtual_now_ns() + kStateLockRetryNs) == kErrRestart) {
      return kErrRestart;
    }
  }
}

// `lock` counts from where its `l_whence` says: from the file's start afterwards. 0 or -EINVAL,
// -EOVERFLOW, as flock_to_posix_lock() of fs/locks.c says.
long to_absolute(int fd, const struct flock& lock, LockTarget* target) {
  int64_t base = 0;
  if (lock.l_whence == SEEK_CUR || lock.l_whence == SEEK_END) {
    base = choose(__NR_lseek, [&] {
      struct stat about = {};
      return lock.l_whence == SEEK_CUR          ? raw(__NR_lseek, fd, 0, SEEK_CUR)
             : raw(__NR_fstat, fd, &about) == 0 ? about.st_size
                                                : -EBADF;
    });
  } else if (lock.l_whence != SEEK_SET) {
    return -EINVAL;
  }
  int64_t start = 0;
  if (__builtin_add_overflow(base, lock.l_start, &start)) {
    return -EOVERFLOW;
  }
  target->start = lock.l_len < 0 ? start + lock.l_len : start;
  target->length = lock.l_len < 0 ? -lock.l_len : lock.l_len;
  return target->start < 0 ? -EINVAL : 0;
}

long set_range(long number, const long* a, const struct flock& lock, bool of_description,
               bool wait) {
  const int fd = static_cast<int>(a[0]);
  const long command = of_description ? F_OFD_SETLK : F_SETLK;
  if (fd_native_class(fd) == kState) {
    return lock_state_file(number, wait, [&] { return raw(number, fd, command, &lock); });
  }
  LockTarget target{fd, inode_of(fd), 0, 0};
  // The edge acts later, when position and size of the file may be others: absolute ranges only.
  if (const long error = to_absolute(fd, lock, &target)) {
    return error;
  }
  const LockOwner owner =
      of_description ? LockOwner{false, fd_description(fd)} : LockOwner{true, target.inode};
  switch (lock.l_type) {
    case F_RDLCK:
      return edge_lock(owner, target, LockOperation::kRangeRead, wait);
    case F_WRLCK:
      return edge_lock(owner, target, LockOperation::kRangeWrite, wait);
    // Nothing held by this owner, as far as the edge was ever asked: no round trip.
    case F_UNLCK:
      return edge_lock_exists(owner) ? edge_lock(owner, target, LockOperation::kRangeUnlock, false)
                                     : 0;
    default:
      return -EINVAL;
  }
}

// What stands in the way of a lock. The unit's own locks are other descriptions' to this replica's
// kernel: where the unit holds some of this file, those that nobody's process id is known of are
// taken for its own.
long get_range(long number, const long* a, struct flock* lock) {
  const int fd = static_cast<int>(a[0]);
  const long result =
      choose(number, lock, sizeof(*lock), [&] { return raw(number, fd, a[1], lock); });
  if (result == 0 && lock->l_type != F_UNLCK && lock->l_pid == -1 &&
      fd_native_class(fd) != kState &&
      (edge_lock_exists({false, fd_description(fd)}) || edge_lock_exists({true, inode_of(fd)}))) {
    lock->l_type = F_UNLCK;
  }
  return result;
}

}  // namespace

long do_flock(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  const bool wait = (a[1] & LOCK_NB) == 0;
  const unsigned operation = static_cast<unsigned>(a[1]) & ~unsigned{LOCK_NB};
  // ORDER: as the kernel asks, which since Linux 5.15 ignores mandatory locks.
  if ((operation & LOCK_MAND) != 0) {
    return 0;
  }
  if (operation != LOCK_SH && operation != LOCK_EX && operation != LOCK_UN) {
    return -EINVAL;
  }
  if (fd_kind(fd) != FdKind::kNative) {
    return fd_kind(fd) == FdKind::kFree ? -EBADF : -EINVAL;
  }
  if (is_place_only(fd)) {
    return -EBADF;
  }
  if (fd_native_class(fd) == kState) {
    return lock_state_file(number, wait, [&] { return raw(number, fd, operation | LOCK_NB); });
  }
  const LockOwner owner{false, fd_description(fd)};
  if (operation == LOCK_UN && !edge_lock_exists(owner)) {
    return 0;
  }
  return edge_lock(owner, {fd, inode_of(fd), 0, 0},
                   operation == LOCK_SH   ? LockOperation::kShared
                   : operation == LOCK_EX ? LockOperation::kExclusive
                                          : LockOperation::kUnlock,
                   wait && operation != LOCK_UN);
}

long lock_fcntl(long number, const long* a) {
  struct flock lock = {};
  if (!get_in(&lock, pointer(a[2]))) {
    return -EFAULT;
  }
  switch (a[1]) {
    case F_SETLK:
    case F_SETLKW:
      return set_range(number, a, lock, false, a[1] == F_SETLKW);
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
      return lock.l_pid != 0 ? -EINVAL : set_range(number, a, lock, true, a[1] == F_OFD_SETLKW);
    default: {
      const long result = get_range(number, a, &lock);
      return result != 0 || put_out(pointer(a[2]), lock) ? result : -EFAULT;
    }
  }
}

ClosingFile::ClosingFile(int fd) : description_(fd_description(fd)) {
  // Any close of a file ends the process's locks on it (fcntl(2)); the inode costs a record, so it
  // is asked only if there is such a lock.
  if (description_ != 0 && edge_lock_of_process_exists() && fd_native_class(fd) != kState) {
    inode_ = inode_of(fd);
  }
}

void ClosingFile::closed() {
  if (inode_ != 0) {
    edge_lock_release({true, inode_});
  }
  const LockOwner owner{false, description_};
  if (description_ != 0 && edge_lock_exists(owner) && !fd_description_is_open(description_)) {
    edge_lock_release(owner);
  }
}

}  // namespace ftrun::shim
