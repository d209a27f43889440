// SPDX-License-Identifier: Apache-2.0
// See outside_locks.h. Runs in the supervisor.
#include "supervisor/edge/outside_locks.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace ftrun::edge {
namespace {

int set_range(int fd, short type, const LockTarget& target) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = target.start;
  lock.l_len = target.length;
  return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

int carry_out(int fd, LockOperation operation, const LockTarget& target) {
  switch (operation) {
    case LockOperation::kShared:
      return flock(fd, LOCK_SH | LOCK_NB) == 0 ? 0 : errno;
    case LockOperation::kExclusive:
      return flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    case LockOperation::kUnlock:
      return flock(fd, LOCK_UN) == 0 ? 0 : errno;
    case LockOperation::kRangeRead:
      return set_range(fd, F_RDLCK, target);
    case LockOperation::kRangeWrite:
      return set_range(fd, F_WRLCK, target);
    case LockOperation::kRangeUnlock:
      return set_range(fd, F_UNLCK, target);
    case LockOperation::kCancel:
      break;
  }
  return EINVAL;
}

LockOperation operation_of(uint32_t flags) {
  return static_cast<LockOperation>(flags >> kLockOperationShift);
}

}  // namespace

uint64_t file_cookie(int fd) {
  struct stat about {};
  return fstat(fd, &about) == 0 ? about.st_ino : 0;
}

OutsideLocks::~OutsideLocks() {
  for (const auto& [id, lock] : locks_) {
    ::close(lock.fd);
  }
}

// 0 or an errno. The application may have closed or replaced the descriptor meanwhile.
int OutsideLocks::open_lock(uint32_t id, const LockTarget& target, Lock* lock) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_getfd, application_, target.fd, 0));
  if (fd < 0) {
    return errno;
  }
  const uint64_t cookie = file_cookie(fd);
  const bool fits = table_ == nullptr || fd < static_cast<int>(kSocketTableLines);
  if (cookie == 0 || cookie != target.inode || !fits) {
    ::close(fd);
    return fits ? ESTALE : EMFILE;
  }
  if (table_ != nullptr) {
    table_->set(fd, cookie, SocketKind::kLock, id, 0, 0);
  }
  lock->fd = fd;
  return 0;
}

std::optional<int> OutsideLocks::request(uint32_t id, uint32_t flags, const Address& address) {
  const LockOperation operation = operation_of(flags);
  LockTarget target;
  const auto found = locks_.find(id);
  if (operation == LockOperation::kCancel) {
    if (found != locks_.end()) {
      found->second.waits = false;
    }
    return EINTR;
  }
  if (!get_lock_target(address, &target)) {
    return EINVAL;
  }
  if (found == locks_.end()) {
    Lock lock;
    if (const int error = open_lock(id, target, &lock); error != 0) {
      return error;
    }
    locks_[id] = lock;
  }
  Lock& lock = locks_[id];
  lock.flags = flags;
  lock.address = address;
  const int error = carry_out(lock.fd, operation, target);
  const bool is_held_elsewhere = error == EAGAIN || error == EACCES;
  lock.waits = is_held_elsewhere && (flags & kBindLockWait) != 0;
  return lock.waits ? std::nullopt : std::optional<int>(is_held_elsewhere ? EAGAIN : error);
}

bool OutsideLocks::release(uint32_t id) {
  const auto found = locks_.find(id);
  if (found == locks_.end()) {
    return false;
  }
  const int fd = found->second.fd;
  // The application may share the description still: what is not needed must not stay locked.
  flock(fd, LOCK_UN);
  set_range(fd, F_UNLCK, {});
  if (table_ != nullptr) {
    table_->clear(fd);
  }
  ::close(fd);
  locks_.erase(found);
  return true;
}

void OutsideLocks::retry(const Answer& answer) {
  for (auto& [id, lock] : locks_) {
    LockTarget target;
    if (!lock.waits || !get_lock_target(lock.address, &target)) {
      continue;
    }
    const int error = carry_out(lock.fd, operation_of(lock.flags), target);
    if (error != EAGAIN && error != EACCES) {
      lock.waits = false;
      answer(id, error, lock.address);
    }
  }
}

void OutsideLocks::adopt(uint32_t id, int fd) {
  if (table_ != nullptr) {
    table_->set(fd, file_cookie(fd), SocketKind::kLock, id, 0, 0);
  }
  locks_[id].fd = fd;
}

std::vector<std::pair<uint32_t, int>> OutsideLocks::let_go() {
  std::vector<std::pair<uint32_t, int>> descriptors;
  for (const auto& [id, lock] : locks_) {
    descriptors.emplace_back(id, lock.fd);
  }
  locks_.clear();
  return descriptors;
}

}  // namespace ftrun::edge
