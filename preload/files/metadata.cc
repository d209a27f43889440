// SPDX-License-Identifier: Apache-2.0
// Files: asking about them, and changing what is not their content. State files show inode numbers
// and times that survive a promotion (identity.h).
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "eventlog/records.h"
#include "preload/calls.h"
#include "preload/files/identity.h"
#include "preload/files/replicate.h"

namespace ftrun::shim {

// --- asking ---

namespace {

// A stat of any kind. `function(out)` asks the kernel about this replica's file; `touch(times)`
// gives it the modification time that the application was told.
template <typename Stat, typename Touch>
long stat_call(long number, FileClass file_class, void* out, Stat&& function, Touch&& touch) {
  auto* seen = static_cast<struct stat*>(out);
  const bool live = doors_are_live();
  const long result = choose(number, out, sizeof(struct stat), [&] {
    const long r = function(seen);
    if (r == 0 && file_class == kState) {
      identity_hide(seen);
    }
    return r;
  });
  if (!live && result == 0 && file_class == kState) {
    struct stat own = {};
    if (function(&own) != 0) {
      replica_differs("a file is missing in this replica", number, -1, 0);
    }
    identity_learn(*seen, own);
    if (own.st_mtim.tv_sec != seen->st_mtim.tv_sec ||
        own.st_mtim.tv_nsec != seen->st_mtim.tv_nsec) {
      const struct timespec times[2] = {{0, UTIME_OMIT}, seen->st_mtim};
      touch(times);
    }
  }
  return result;
}

long stat_path(long number, long directory_fd, long path, long out, long flags) {
  const auto* name = static_cast<const char*>(pointer(path));
  const int fd = static_cast<int>(directory_fd);
  const FileClass file_class = name[0] == '\0' && (flags & AT_EMPTY_PATH) != 0
                                   ? static_cast<FileClass>(fd_native_class(fd))
                                   : classify_at(fd, name);
  return stat_call(
      number, file_class, pointer(out),
      [&](struct stat* s) { return raw(__NR_newfstatat, fd, path, s, flags); },
      [&](const struct timespec* times) { raw(__NR_utimensat, fd, path, times, flags); });
}

}  // namespace

long do_fstat(long number, const long* a) {
  if (is_virtual(a[0])) {
    return net_fstat(static_cast<int>(a[0]), static_cast<struct stat*>(pointer(a[1])));
  }
  const auto file_class = static_cast<FileClass>(fd_native_class(static_cast<int>(a[0])));
  return stat_call(
      number, file_class, pointer(a[1]), [&](struct stat* s) { return raw(__NR_fstat, a[0], s); },
      [&](const struct timespec* times) { raw(__NR_utimensat, a[0], nullptr, times, 0); });
}
long do_stat(long number, const long* a) {
  return stat_path(number, AT_FDCWD, a[0], a[1], 0);
}
long do_lstat(long number, const long* a) {
  return stat_path(number, AT_FDCWD, a[0], a[1], AT_SYMLINK_NOFOLLOW);
}
long do_newfstatat(long number, const long* a) {
  const auto* path = static_cast<const char*>(pointer(a[1]));
  if ((a[3] & AT_EMPTY_PATH) != 0 && path[0] == '\0' && is_virtual(a[0])) {
    return net_fstat(static_cast<int>(a[0]), static_cast<struct stat*>(pointer(a[2])));
  }
  return stat_path(number, a[0], a[1], a[2], a[3]);
}
long do_statfs(long number, const long* a) {
  return choose_out(number, a, a[1], sizeof(struct statfs));
}
long do_fstatfs(long number, const long* a) {
  return choose_out(number, a, a[1], sizeof(struct statfs));
}
long do_access(long number, const long* a) {
  return choose_out(number, a, 0, 0);
}
long do_faccessat(long number, const long* a) {
  return choose_out(number, a, 0, 0);
}
long do_faccessat2(long number, const long* a) {
  return choose_out(number, a, 0, 0);
}
long do_readlink(long number, const long* a) {
  return choose_counted(number, a, a[1], a[2]);
}
long do_readlinkat(long number, const long* a) {
  return choose_counted(number, a, a[2], a[3]);
}
long do_getcwd(long number, const long* a) {
  return choose_counted(number, a, a[0], a[1]);
}
long do_getdents(long number, const long* a) {
  return do_getdents64(number, a);
}
// In parts, each after the last one's entries: together they hold what one call would give.
long do_getdents64(long number, const long* a) {
  const auto size = static_cast<uint32_t>(a[2]);
  long done = 0;
  for (;;) {
    const uint32_t left = size - static_cast<uint32_t>(done);
    const uint32_t bytes = left < kChoicePayloadBytesMax ? left : kChoicePayloadBytesMax;
    const long arguments[6] = {a[0], a[1] + done, bytes};
    const long result = choose_counted(number, arguments, a[1] + done, bytes);
    if (result <= 0) {
      return done > 0 ? done : result;  // EINVAL: the next entry has no room
    }
    done += result;
    if (left <= kChoicePayloadBytesMax) {
      return done;
    }
    doors_between_parts(number);
  }
}
long do_getxattr(long number, const long* a) {
  return choose_counted(number, a, a[2], a[3]);
}
long do_lgetxattr(long number, const long* a) {
  return choose_counted(number, a, a[2], a[3]);
}
long do_fgetxattr(long number, const long* a) {
  return choose_counted(number, a, a[2], a[3]);
}
long do_listxattr(long number, const long* a) {
  return choose_counted(number, a, a[1], a[2]);
}
long do_llistxattr(long number, const long* a) {
  return choose_counted(number, a, a[1], a[2]);
}
long do_flistxattr(long number, const long* a) {
  return choose_counted(number, a, a[1], a[2]);
}

// --- changing ---

#define FTRUN_RAW6(number) raw(number, a[0], a[1], a[2], a[3], a[4], a[5])

long do_mkdir(long n, const long* a) {
  return replicate_path(n, AT_FDCWD, a[0], [&] { return FTRUN_RAW6(n); });
}
long do_rmdir(long n, const long* a) {
  return do_mkdir(n, a);
}
long do_unlink(long n, const long* a) {
  return do_mkdir(n, a);
}
long do_chmod(long n, const long* a) {
  return do_mkdir(n, a);
}
long do_chown(long n, const long* a) {
  return do_mkdir(n, a);
}
long do_lchown(long n, const long* a) {
  return do_mkdir(n, a);
}
long do_truncate(long n, const long* a) {
  return do_mkdir(n, a);
}
long do_mkdirat(long n, const long* a) {
  return replicate_path(n, static_cast<int>(a[0]), a[1], [&] { return FTRUN_RAW6(n); });
}
long do_unlinkat(long n, const long* a) {
  return do_mkdirat(n, a);
}
long do_fchmodat(long n, const long* a) {
  return do_mkdirat(n, a);
}
long do_fchownat(long n, const long* a) {
  return do_mkdirat(n, a);
}
long do_utimensat(long n, const long* a) {
  return a[1] == 0 ? replicate(n, [&] { return FTRUN_RAW6(n); }) : do_mkdirat(n, a);
}
long do_rename(long n, const long* a) {
  return replicate_two_paths(n, AT_FDCWD, a[0], AT_FDCWD, a[1], [&] { return FTRUN_RAW6(n); });
}
long do_link(long n, const long* a) {
  return do_rename(n, a);
}
long do_renameat(long n, const long* a) {
  return replicate_two_paths(n, static_cast<int>(a[0]), a[1], static_cast<int>(a[2]), a[3],
                             [&] { return FTRUN_RAW6(n); });
}
long do_renameat2(long n, const long* a) {
  return do_renameat(n, a);
}
long do_linkat(long n, const long* a) {
  return do_renameat(n, a);
}
long do_symlink(long n, const long* a) {
  return replicate_path(n, AT_FDCWD, a[1], [&] { return FTRUN_RAW6(n); });
}
long do_symlinkat(long n, const long* a) {
  return replicate_path(n, static_cast<int>(a[1]), a[2], [&] { return FTRUN_RAW6(n); });
}

// On descriptors that are open for writing, or harmless: the open decided already.
long replicate_descriptor(long n, const long* a) {
  if (is_virtual(a[0])) {
    return -EINVAL;
  }
  return replicate(n, [&] { return FTRUN_RAW6(n); });
}
long do_fchmod(long n, const long* a) {
  return replicate_descriptor(n, a);
}
long do_fchown(long n, const long* a) {
  return replicate_descriptor(n, a);
}
long do_ftruncate(long n, const long* a) {
  return replicate_descriptor(n, a);
}
long do_fallocate(long n, const long* a) {
  return replicate_descriptor(n, a);
}
long do_fsync(long n, const long* a) {
  return replicate_descriptor(n, a);
}
long do_fdatasync(long n, const long* a) {
  return replicate_descriptor(n, a);
}
long do_sync_file_range(long n, const long* a) {
  return replicate_descriptor(n, a);
}
long do_flock(long n, const long* a) {
  return replicate_descriptor(n, a);
}
long do_chdir(long n, const long* a) {
  return replicate(n, [&] { return FTRUN_RAW6(n); });
}
long do_fchdir(long n, const long* a) {
  return replicate(n, [&] { return FTRUN_RAW6(n); });
}

}  // namespace ftrun::shim
