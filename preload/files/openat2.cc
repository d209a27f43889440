// SPDX-License-Identifier: Apache-2.0
// openat2: an open whose flags are checked, and whose path may be held within bounds. A path with
// bounds is first turned into the name of what it leads to, by the primary's kernel; every replica
// then opens that name like any other.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

#include "preload/calls.h"
#include "preload/files/paths.h"
#include "preload/files/replicate.h"
#include "preload/guarded.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

constexpr uint64_t kTmpFile = O_TMPFILE & ~O_DIRECTORY;
constexpr uint64_t kLargeFile = 0100000;  // the kernel's; libc says 0
constexpr uint64_t kKnownFlags = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND |
                                 O_NONBLOCK | O_SYNC | O_DSYNC | O_ASYNC | O_DIRECT | kLargeFile |
                                 O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH |
                                 kTmpFile;
constexpr uint64_t kFlagsOfPaths = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
constexpr uint64_t kKnownResolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
                                   RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED;

// build_open_flags() of the kernel: 0 or -errno.
long check_how(const struct open_how& how) {
  constexpr uint64_t kPermissions = 07777;
  constexpr uint64_t kBothBounds = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
  constexpr uint64_t kNewDirectory = O_CREAT | O_DIRECTORY;
  if ((how.flags & ~kKnownFlags) != 0 || (how.resolve & ~kKnownResolve) != 0 ||
      (how.resolve & kBothBounds) == kBothBounds || (how.flags & kNewDirectory) == kNewDirectory) {
    return -EINVAL;
  }
  const uint64_t permissions = (how.flags & (O_CREAT | kTmpFile)) != 0 ? kPermissions : 0;
  if ((how.mode & ~permissions) != 0 ||
      ((how.flags & O_PATH) != 0 && (how.flags & ~kFlagsOfPaths) != 0)) {
    return -EINVAL;
  }
  const bool changes = (how.flags & (O_TRUNC | O_CREAT | kTmpFile)) != 0;
  return changes && (how.resolve & RESOLVE_CACHED) != 0 ? -EAGAIN : 0;
}

// The structure, which may be a newer one whose unknown part is zero; 0 or -errno.
long read_how(long address, uint64_t size, struct open_how* how) {
  constexpr uint64_t kPage = 4096;
  const auto* from = static_cast<const uint8_t*>(pointer(address));
  if (size < sizeof(*how)) {
    return -EINVAL;
  }
  // copy_struct_from_user(): at most a page, and what this version does not know must be zero.
  if (size > kPage) {
    return -E2BIG;
  }
  if (!get_in(how, from)) {
    return -EFAULT;
  }
  for (uint64_t at = sizeof(*how); at < size; ++at) {
    uint8_t byte = 0;
    if (!get_in(&byte, from + at)) {
      return -EFAULT;
    }
    if (byte != 0) {
      return -E2BIG;
    }
  }
  return check_how(*how);
}

// What stands at `path` within the bounds, by its absolute name. Its length, or -errno.
long name_within(int directory_fd, const char* path, uint64_t flags, uint64_t resolve, char* name) {
  struct open_how how = {};
  // O_PATH: found, not opened. So a pipe or a device on the way notices nothing, and the number is
  // given back before anybody could see it.
  how.flags = O_PATH | O_CLOEXEC | flags;
  how.resolve = resolve;
  const long fd = raw(__NR_openat2, directory_fd, path, &how, sizeof(how));
  if (fd < 0) {
    return fd;
  }
  Text link;
  link.add("/proc/self/fd/").add(fd);
  const long length = raw(__NR_readlink, link.c_str(), name, kPathBytesMax - 1);
  raw(__NR_close, fd);
  return length;
}

// The same of a file that may not be there yet: its directory must be within the bounds.
// Others may move the directory between this and the open; the bounds are then those of the moment
// in which they were looked at. Outside nothing is created anyway, and copies of state directories
// are nobody else's.
long new_name_within(int directory_fd, const char* path, uint64_t resolve, char* name) {
  char directory[kPathBytesMax];
  size_t length = 0;
  size_t last = 0;  // where the last part begins
  for (; path[length] != '\0' && length + 1 < kPathBytesMax; ++length) {
    directory[length] = path[length];
    last = path[length] == '/' ? length + 1 : last;
  }
  const size_t part = length - last;
  if (part == 0 || (part <= 2 && path[last] == '.' && path[length - 1] == '.')) {
    return -EISDIR;
  }
  if (last == 0) {
    directory[last++] = '.';
  }
  directory[last] = '\0';
  const long base = name_within(directory_fd, directory, O_DIRECTORY, resolve, name);
  if (base < 0) {
    return base;
  }
  size_t end = static_cast<size_t>(base);
  if (end + part + 2 > kPathBytesMax) {
    return -ENAMETOOLONG;
  }
  name[end] = '/';
  __builtin_memcpy(name + end + 1, path + length - part, part);
  return static_cast<long>(end + 1 + part);
}

long resolve_name(int directory_fd, const char* path, const struct open_how& how, char* name) {
  const long there = name_within(directory_fd, path, how.flags & O_NOFOLLOW, how.resolve, name);
  return there == -ENOENT && (how.flags & O_CREAT) != 0
             ? new_name_within(directory_fd, path, how.resolve, name)
             : there;
}

}  // namespace

long do_openat2(long number, const long* a) {
  struct open_how how;
  if (const long error = read_how(a[2], static_cast<uint64_t>(a[3]), &how)) {
    return error;
  }
  const Path path(a[1]);
  if (path.error() != 0) {
    return path.error();
  }
  const auto flags = static_cast<long>(how.flags);
  const auto mode = static_cast<long>(how.mode);
  if (how.resolve == 0) {
    const long arguments[6] = {a[0], a[1], flags, mode};
    return do_openat(__NR_openat, arguments);
  }
  char name[kPathBytesMax];
  // Without the final NUL, which is set below in every replica.
  const long named = choose_counted(number, name, sizeof(name), [&] {
    return resolve_name(static_cast<int>(a[0]), path.text(), how, name);
  });
  if (named < 0) {
    return named;
  }
  name[named] = '\0';
  // What the name stands for now is no link, unless the program asked for links themselves.
  const long arguments[6] = {AT_FDCWD, to_long(&name[0]), flags | O_NOFOLLOW, mode};
  return do_openat(__NR_openat, arguments);
}

}  // namespace ftrun::shim
