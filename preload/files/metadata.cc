// SPDX-License-Identifier: Apache-2.0
// Files: asking about them. State files show inode numbers and times that survive a promotion
// (identity.h).
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "eventlog/records.h"
#include "preload/calls.h"
#include "preload/files/fifo.h"
#include "preload/files/identity.h"
#include "preload/files/own.h"
#include "preload/files/replicate.h"
#include "preload/files/stand_in.h"
#include "preload/guarded.h"

namespace ftrun::shim {

namespace {

// A stat of any kind. `function(out)` asks the kernel about this replica's file; `touch(times)`
// gives it the modification time that the application was told.
template <typename Stat, typename Touch>
long stat_call(long number, FileClass file_class, struct stat* out, Stat&& function,
               Touch&& touch) {
  struct stat& seen = *out;
  // ORDER: numbers are hidden inside the choice, so the log has what the application sees, and a
  // secondary learns from it which of its own files that is.
  const auto ask = [&] {
    const long result = function(&seen);
    if (result == 0 && file_class == kState) {
      identity_hide(&seen);
    }
    return result;
  };
  return choose_and_follow(number, &seen, sizeof(seen), ask, [&](long) {
    if (file_class != kState) {
      return;
    }
    struct stat own = {};
    if (function(&own) != 0) {
      replica_differs("a file is missing in this replica", number, -1, 0);
    }
    identity_learn(seen, own);
    // The copy takes the time that was told, so that it is still told after a promotion. Its time
    // of change cannot be set; a program sees that one jump.
    if (own.st_mtim.tv_sec != seen.st_mtim.tv_sec || own.st_mtim.tv_nsec != seen.st_mtim.tv_nsec) {
      const struct timespec times[2] = {{0, UTIME_OMIT}, seen.st_mtim};
      touch(times);
    }
  });
}

// The virtual descriptor that `path` names, by `names`; -1: none. Most names say by their first
// characters that they do not.
int own_virtual(int directory_fd, const char* path, int (*names)(const char*)) {
  char absolute[kPathBytesMax];
  const char first = path[0] == '/' ? path[1] : path[0];
  const bool may_be = path[0] == '/' ? first == 'd' || first == 'p' || first == '/' || first == '.'
                                     : first >= '0' && first <= '9';
  if (!may_be || !absolute_path(directory_fd, path, absolute)) {
    return -1;
  }
  // A named pipe is a file of the kernel's with a name and attributes: asked like others.
  const int fd = names(absolute);
  return fd >= 0 && is_virtual(fd) && !is_fifo(fd) ? fd : -1;
}

long access_path(long number, const long* a, int directory_fd, long path) {
  const Path name(path);
  if (name.error() != 0) {
    return name.error();
  }
  return own_virtual(directory_fd, name.text(), &own_descriptor) >= 0 ? 0
                                                                      : choose_out(number, a, 0, 0);
}

long read_link(long number, const long* a, int directory_fd, long path, long out, long size) {
  const Path name(path);
  if (name.error() != 0) {
    return name.error();
  }
  const int own = own_virtual(directory_fd, name.text(), &own_descriptor_link);
  if (own < 0 || size <= 0) {
    return choose_counted(number, a, out, size);
  }
  char link[kPathBytesMax];
  const auto room =
      static_cast<size_t>(size) < sizeof(link) ? static_cast<size_t>(size) : sizeof(link);
  const long length = net_link_name(own, link, room);
  const auto bytes = static_cast<size_t>(length > 0 ? length : 0);
  return copy_out(pointer(out), link, bytes) == bytes ? length : -EFAULT;
}

long stat_path(long number, long directory_fd, long path, long flags, struct stat* out) {
  const int fd = static_cast<int>(directory_fd);
  const bool may_be_empty = (flags & AT_EMPTY_PATH) != 0;
  const Path name(path == 0 && may_be_empty ? to_long("") : path);
  if (name.error() != 0) {
    return name.error();
  }
  const bool is_empty = may_be_empty && name.text()[0] == '\0';
  if (is_empty && is_virtual(fd)) {
    return net_fstat(fd, out);
  }
  if ((flags & AT_SYMLINK_NOFOLLOW) == 0) {
    if (const int own = own_virtual(fd, name.text(), &own_descriptor); own >= 0) {
      return net_fstat(own, out);
    }
  }
  const FileClass file_class =
      is_empty ? static_cast<FileClass>(fd_native_class(fd)) : classify_at(fd, name.text());
  return stat_call(
      number, file_class, out,
      [&](struct stat* s) { return raw(__NR_newfstatat, fd, path, s, flags); },
      [&](const struct timespec* times) { raw(__NR_utimensat, fd, path, times, flags); });
}

long stat_descriptor(long number, long fd, struct stat* out) {
  if (is_virtual(fd)) {
    return net_fstat(static_cast<int>(fd), out);
  }
  const auto file_class = static_cast<FileClass>(fd_native_class(static_cast<int>(fd)));
  return stat_call(
      number, file_class, out, [&](struct stat* s) { return raw(__NR_fstat, fd, s); },
      [&](const struct timespec* times) { raw(__NR_utimensat, fd, nullptr, times, 0); });
}

// Into the application's memory what a stat has found.
long give_stat(long result, const struct stat& about, long out) {
  return result != 0 || put_out(pointer(out), about) ? result : -EFAULT;
}

// Of the kernel's device numbers (new_encode_dev).
uint32_t major_of(uint64_t device) {
  return static_cast<uint32_t>((device >> 8 & 0xfff) | (device >> 32 & ~0xfffu));
}
uint32_t minor_of(uint64_t device) {
  return static_cast<uint32_t>((device & 0xff) | (device >> 12 & ~0xffu));
}

struct statx_timestamp to_statx(const struct timespec& time) {
  return {.tv_sec = time.tv_sec, .tv_nsec = static_cast<uint32_t>(time.tv_nsec)};
}

// What stat(2) knows, and no more: as of a file system that keeps no time of birth.
// By way of struct stat, so that one record has one form, whichever call asked.
struct statx to_statx(const struct stat& about) {
  struct statx wide = {};
  wide.stx_mask = STATX_BASIC_STATS;
  wide.stx_blksize = static_cast<uint32_t>(about.st_blksize);
  wide.stx_nlink = static_cast<uint32_t>(about.st_nlink);
  wide.stx_uid = about.st_uid;
  wide.stx_gid = about.st_gid;
  wide.stx_mode = static_cast<uint16_t>(about.st_mode);
  wide.stx_ino = about.st_ino;
  wide.stx_size = static_cast<uint64_t>(about.st_size);
  wide.stx_blocks = static_cast<uint64_t>(about.st_blocks);
  wide.stx_atime = to_statx(about.st_atim);
  wide.stx_ctime = to_statx(about.st_ctim);
  wide.stx_mtime = to_statx(about.st_mtim);
  wide.stx_rdev_major = major_of(about.st_rdev);
  wide.stx_rdev_minor = minor_of(about.st_rdev);
  wide.stx_dev_major = major_of(about.st_dev);
  wide.stx_dev_minor = minor_of(about.st_dev);
  return wide;
}

}  // namespace

long do_fstat(long number, const long* a) {
  struct stat about = {};
  return give_stat(stat_descriptor(number, a[0], &about), about, a[1]);
}
long do_stat(long number, const long* a) {
  struct stat about = {};
  return give_stat(stat_path(number, AT_FDCWD, a[0], 0, &about), about, a[1]);
}
long do_lstat(long number, const long* a) {
  struct stat about = {};
  return give_stat(stat_path(number, AT_FDCWD, a[0], AT_SYMLINK_NOFOLLOW, &about), about, a[1]);
}
long do_newfstatat(long number, const long* a) {
  struct stat about = {};
  return give_stat(stat_path(number, a[0], a[1], a[3], &about), about, a[2]);
}
long do_statx(long number, const long* a) {
  const bool is_two_ways = (a[2] & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE;
  if ((a[3] & STATX__RESERVED) != 0 || is_two_ways) {
    return -EINVAL;
  }
  struct stat about = {};
  const long result = stat_path(number, a[0], a[1], a[2], &about);
  return result != 0 || put_out(pointer(a[4]), to_statx(about)) ? result : -EFAULT;
}
long do_statfs(long number, const long* a) {
  return choose_out(number, a, a[1], sizeof(struct statfs));
}
long do_fstatfs(long number, const long* a) {
  if (is_virtual(a[0])) {
    return ask_stand_in(number, a, pointer(a[1]), sizeof(struct statfs));
  }
  return choose_out(number, a, a[1], sizeof(struct statfs));
}
long do_access(long number, const long* a) {
  return access_path(number, a, AT_FDCWD, a[0]);
}
long do_faccessat(long number, const long* a) {
  return access_path(number, a, static_cast<int>(a[0]), a[1]);
}
long do_faccessat2(long number, const long* a) {
  return access_path(number, a, static_cast<int>(a[0]), a[1]);
}
long do_readlink(long number, const long* a) {
  return read_link(number, a, AT_FDCWD, a[0], a[1], a[2]);
}
long do_readlinkat(long number, const long* a) {
  return read_link(number, a, static_cast<int>(a[0]), a[1], a[2], a[3]);
}
long do_getcwd(long number, const long* a) {
  return choose_counted(number, a, a[0], a[1]);
}
namespace {

// So that a promoted replica goes on where the primary was in its list. The copies of a state
// directory have orders of their own: there it begins anew.
void follow_listing(int fd, const uint8_t* entries, long bytes) {
  if (bytes == 0) {
    return;
  }
  constexpr size_t kOffsetAt = 8;  // of struct linux_dirent64: inode, offset, length, ...
  constexpr size_t kLengthAt = 16;
  int64_t offset = 0;
  for (long at = 0; at < bytes;) {
    uint16_t length = 0;
    if (!get_in(&offset, entries + at + kOffsetAt) || !get_in(&length, entries + at + kLengthAt) ||
        length == 0) {
      return;
    }
    at += length;
  }
  // Offsets of one directory are the file system's and mean the same in every replica.
  if (fd_native_class(fd) != kState) {
    raw(__NR_lseek, fd, offset, SEEK_SET);
  }
}

}  // namespace

long do_getdents(long number, const long* a) {
  return do_getdents64(number, a);
}
// In parts, each after the last one's entries: together they hold what one call would give.
long do_getdents64(long number, const long* a) {
  if (is_virtual(a[0])) {
    return ask_stand_in(number, a);
  }
  const auto size = static_cast<uint32_t>(a[2]);
  long done = 0;
  for (;;) {
    const uint32_t left = size - static_cast<uint32_t>(done);
    const uint32_t bytes = left < kChoicePayloadBytesMax ? left : kChoicePayloadBytesMax;
    void* const to = pointer(a[1] + done);
    const long result = choose_counted_and_follow(
        number, to, bytes, [&] { return raw(number, a[0], to, bytes); },
        [&](long listed) {
          follow_listing(static_cast<int>(a[0]), static_cast<const uint8_t*>(to), listed);
        });
    if (result <= 0) {
      return done > 0 ? done : result;  // EINVAL: the next entry has no room
    }
    done += result;
    // A part that was shorter than its buffer is not the end of the directory: entries have lengths
    // of their own. The end is a part of 0 bytes.
    if (left <= kChoicePayloadBytesMax) {
      return done;
    }
    doors_between_parts(number);
  }
}
namespace {

long attribute_of_virtual(long number, const long* a, long out, long size) {
  const auto room = static_cast<size_t>(size);
  return choose_counted(number, pointer(out),
                        room < kChoicePayloadBytesMax ? room : kChoicePayloadBytesMax,
                        [&] { return call_stand_in(number, a); });
}

}  // namespace

long do_getxattr(long number, const long* a) {
  return choose_counted(number, a, a[2], a[3]);
}
long do_lgetxattr(long number, const long* a) {
  return choose_counted(number, a, a[2], a[3]);
}
long do_fgetxattr(long number, const long* a) {
  return is_virtual(a[0]) ? attribute_of_virtual(number, a, a[2], a[3])
                          : choose_counted(number, a, a[2], a[3]);
}
long do_listxattr(long number, const long* a) {
  return choose_counted(number, a, a[1], a[2]);
}
long do_llistxattr(long number, const long* a) {
  return choose_counted(number, a, a[1], a[2]);
}
long do_flistxattr(long number, const long* a) {
  return is_virtual(a[0]) ? attribute_of_virtual(number, a, a[1], a[2])
                          : choose_counted(number, a, a[1], a[2]);
}

}  // namespace ftrun::shim
