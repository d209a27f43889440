// SPDX-License-Identifier: Apache-2.0
// Files: changing what is not their content: names, directories, attributes. In state directories
// every replica does so as the primary did; elsewhere see outside.h.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "preload/calls.h"
#include "preload/files/own.h"
#include "preload/files/replicate.h"
#include "preload/files/stand_in.h"

namespace ftrun::shim {

#define FTRUN_RAW6(number) raw(number, a[0], a[1], a[2], a[3], a[4], a[5])

namespace {

// A rename or a link: both names must be under state directories.
template <typename F>
long give_name(long n, int old_fd, long old_path, int new_fd, long new_path, Change change,
               F&& function) {
  const Path old_name(old_path);
  const Path new_name(new_path);
  if (old_name.error() != 0 || new_name.error() != 0) {
    return old_name.error() != 0 ? old_name.error() : new_name.error();
  }
  const char* from = old_name.text();
  const char* to = new_name.text();
  const bool from_state = classify_at(old_fd, from) == kState;
  const bool to_state = classify_at(new_fd, to) == kState;
  // EXDEV, as between two file systems, which they are: programs know this and copy.
  if (from_state != to_state) {
    return refuse_across(n, old_fd, from, new_fd, to);
  }
  if (!from_state) {
    const bool creates = change == Change::kCreate;
    return creates ? refuse_change(n, new_fd, to, change) : refuse_change(n, old_fd, from, change);
  }
  return replicate(n, static_cast<F&&>(function));
}

// Of an open file: attributes that even a descriptor for reading may change.
long change_descriptor(long n, const long* a) {
  const int fd = static_cast<int>(a[0]);
  if (fd_native_class(fd) == kState) {
    return replicate(n, [&] { return FTRUN_RAW6(n); });
  }
  char name[kPathBytesMax];
  return fd_kind(fd) == FdKind::kFree      ? -EBADF
         : fd_kind(fd) == FdKind::kVirtual ? -EPERM
         : is_place_only(fd)               ? -EBADF
         : name_of_descriptor(fd, name)    ? refuse_write(AT_FDCWD, name)
                                           : -EROFS;
}

}  // namespace

// Calls with one path; `change` says what it means outside the state directories.
// The path is classified by the shim's copy of it and read by the kernel once more, out of the
// application's memory: the token is here meanwhile, so nobody changes it.
long at_path(long n, const long* a, Change change) {
  return replicate_path(n, AT_FDCWD, a[0], change, [&] { return FTRUN_RAW6(n); });
}
long at_path_of(long n, const long* a, Change change) {
  return replicate_path(n, static_cast<int>(a[0]), a[1], change, [&] { return FTRUN_RAW6(n); });
}
Change alter(long flags) {
  return (flags & AT_SYMLINK_NOFOLLOW) != 0 ? Change::kAlterLink : Change::kAlter;
}

long do_mkdir(long n, const long* a) {
  return at_path(n, a, Change::kCreate);
}
long do_rmdir(long n, const long* a) {
  return at_path(n, a, Change::kRemoveDirectory);
}
long do_unlink(long n, const long* a) {
  return at_path(n, a, Change::kRemoveFile);
}
long do_chmod(long n, const long* a) {
  return at_path(n, a, Change::kAlter);
}
long do_chown(long n, const long* a) {
  return at_path(n, a, Change::kAlter);
}
long do_lchown(long n, const long* a) {
  return at_path(n, a, Change::kAlterLink);
}
long do_truncate(long n, const long* a) {
  return at_path(n, a, Change::kCut);
}
long do_mkdirat(long n, const long* a) {
  return at_path_of(n, a, Change::kCreate);
}
long do_unlinkat(long n, const long* a) {
  const bool directory = (a[2] & AT_REMOVEDIR) != 0;
  return at_path_of(n, a, directory ? Change::kRemoveDirectory : Change::kRemoveFile);
}
long do_fchmodat(long n, const long* a) {
  return at_path_of(n, a, Change::kAlter);
}
long do_fchmodat2(long n, const long* a) {
  return at_path_of(n, a, alter(a[3]));
}
long do_fchownat(long n, const long* a) {
  return at_path_of(n, a, alter(a[4]));
}
long do_utimensat(long n, const long* a) {
  return a[1] == 0 ? change_descriptor(n, a) : at_path_of(n, a, alter(a[3]));
}
// The older ways to set the times of a file.
long do_utime(long n, const long* a) {
  return at_path(n, a, Change::kAlter);
}
long do_utimes(long n, const long* a) {
  return at_path(n, a, Change::kAlter);
}
long do_futimesat(long n, const long* a) {
  return a[1] == 0 && a[0] != AT_FDCWD ? change_descriptor(n, a) : at_path_of(n, a, Change::kAlter);
}
long do_setxattr(long n, const long* a) {
  return at_path(n, a, Change::kAlter);
}
long do_lsetxattr(long n, const long* a) {
  return at_path(n, a, Change::kAlterLink);
}
long do_fsetxattr(long n, const long* a) {
  return change_descriptor(n, a);
}
long do_removexattr(long n, const long* a) {
  return at_path(n, a, Change::kAlter);
}
long do_lremovexattr(long n, const long* a) {
  return at_path(n, a, Change::kAlterLink);
}
long do_fremovexattr(long n, const long* a) {
  return change_descriptor(n, a);
}
long do_rename(long n, const long* a) {
  return give_name(n, AT_FDCWD, a[0], AT_FDCWD, a[1], Change::kAlterLink,
                   [&] { return FTRUN_RAW6(n); });
}
long do_link(long n, const long* a) {
  return give_name(n, AT_FDCWD, a[0], AT_FDCWD, a[1], Change::kCreate,
                   [&] { return FTRUN_RAW6(n); });
}
long do_renameat(long n, const long* a) {
  return give_name(n, static_cast<int>(a[0]), a[1], static_cast<int>(a[2]), a[3],
                   Change::kAlterLink, [&] { return FTRUN_RAW6(n); });
}
long do_renameat2(long n, const long* a) {
  return do_renameat(n, a);
}
// A file without a name yet (O_TMPFILE) is named by its descriptor.
long do_linkat(long n, const long* a) {
  const Path old_name(a[1]);
  if (old_name.error() != 0) {
    return old_name.error();
  }
  const char* old_path = old_name.text();
  char absolute[kPathBytesMax];
  int own = -1;
  if ((a[4] & AT_EMPTY_PATH) != 0 && old_path[0] == '\0') {
    own = static_cast<int>(a[0]);
  } else if ((a[4] & AT_SYMLINK_FOLLOW) != 0 &&
             absolute_path(static_cast<int>(a[0]), old_path, absolute)) {
    own = own_descriptor(absolute);
  }
  if (own >= 0 && fd_native_class(own) == kState) {
    return replicate_path(n, static_cast<int>(a[2]), a[3], Change::kCreate,
                          [&] { return FTRUN_RAW6(n); });
  }
  return give_name(n, static_cast<int>(a[0]), a[1], static_cast<int>(a[2]), a[3], Change::kCreate,
                   [&] { return FTRUN_RAW6(n); });
}
// Only the new name matters: what a link says may be anything, and is looked at when it is
// followed.
long do_symlink(long n, const long* a) {
  return replicate_path(n, AT_FDCWD, a[1], Change::kCreate, [&] { return FTRUN_RAW6(n); });
}
long do_symlinkat(long n, const long* a) {
  return replicate_path(n, static_cast<int>(a[1]), a[2], Change::kCreate,
                        [&] { return FTRUN_RAW6(n); });
}

// On descriptors that are open for writing, or harmless: the open decided already.
// fsync is one of them: it must fail where the primary's failed, and every copy is made durable.
long replicate_descriptor(long n, const long* a) {
  if (is_virtual(a[0])) {
    return ask_stand_in(n, a);
  }
  return replicate(n, [&] { return FTRUN_RAW6(n); });
}
long do_fchmod(long n, const long* a) {
  if (!is_virtual(a[0])) {
    return change_descriptor(n, a);
  }
  const long result = ask_stand_in(n, a);
  if (result == 0) {
    net_fchmod(static_cast<int>(a[0]), static_cast<unsigned>(a[1]));
  }
  return result;
}
// A virtual object stays whose it is.
long do_fchown(long n, const long* a) {
  const bool changes = static_cast<int>(a[1]) != -1 || static_cast<int>(a[2]) != -1;
  return is_virtual(a[0]) && !changes ? ask_stand_in(n, a) : change_descriptor(n, a);
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
// What the kernel is told about a file, which changes nothing that anybody sees: every replica does
// so by itself.
long do_fadvise64(long n, const long* a) {
  return is_virtual(a[0]) ? ask_stand_in(n, a) : FTRUN_RAW6(n);
}
long do_readahead(long n, const long* a) {
  return is_virtual(a[0]) ? ask_stand_in(n, a) : FTRUN_RAW6(n);
}
long do_syncfs(long n, const long* a) {
  return is_virtual(a[0]) ? ask_stand_in(n, a) : FTRUN_RAW6(n);
}
// Relative names mean the same in every replica only if all have gone to the same place.
long do_chdir(long n, const long* a) {
  return replicate(n, [&] { return FTRUN_RAW6(n); });
}
long do_fchdir(long n, const long* a) {
  return replicate(n, [&] { return FTRUN_RAW6(n); });
}

}  // namespace ftrun::shim
