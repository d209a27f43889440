// SPDX-License-Identifier: Apache-2.0
// See outside.h. Runs in the application with the token held; no libc. The probes run in the
// primary alone, inside a choice, and change nothing.
#include "preload/files/outside.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/files/replicate.h"

namespace ftrun::shim {
namespace {

long look(int directory_fd, const char* path, bool follow, struct stat* found) {
  return raw(__NR_newfstatat, directory_fd, path, found, follow ? 0 : AT_SYMLINK_NOFOLLOW);
}

// What is wrong with the directory in which `path` would be created: 0 if nothing is.
long probe_parent(int directory_fd, const char* path) {
  char parent[kPathBytesMax];
  size_t length = 0;
  while (path[length] != '\0' && length + 1 < kPathBytesMax) {
    parent[length] = path[length];
    ++length;
  }
  // mkdir("a/") creates "a" in ".": slashes at the end belong to the last part.
  while (length > 0 && parent[length - 1] == '/') {
    --length;
  }
  while (length > 0 && parent[length - 1] != '/') {
    --length;
  }
  parent[length] = '\0';
  struct stat found = {};
  const long error = look(directory_fd, length == 0 ? "." : parent, true, &found);
  return error != 0 ? error : S_ISDIR(found.st_mode) ? 0 : -ENOTDIR;
}

long probe_change(int directory_fd, const char* path, Change change) {
  struct stat found = {};
  // rename, unlink and rmdir mean a link itself, the others what it leads to.
  const bool follow = change == Change::kAlter || change == Change::kCut;
  const long error = look(directory_fd, path, follow, &found);
  if (change == Change::kCreate) {
    return error == 0                            ? -EEXIST
           : error != -ENOENT || path[0] == '\0' ? error
                                                 : probe_parent(directory_fd, path);
  }
  if (error != 0) {
    return error;
  }
  const bool directory = S_ISDIR(found.st_mode);
  if (directory && (change == Change::kRemoveFile || change == Change::kCut)) {
    return -EISDIR;
  }
  return !directory && change == Change::kRemoveDirectory ? -ENOTDIR : 0;
}

// Findings that are no errors: above 0, where no errno is, and not 0, which is "would write".
constexpr long kNothingToWrite = 1;
constexpr uint64_t kDevTty = 0x500;  // device 5, 0

// may_open() and do_open() of fs/namei.c: what stands there, then whether it may be written.
long probe_existing(int directory_fd, const char* path, long flags, const struct stat& found) {
  const bool temporary = (flags & O_TMPFILE) == O_TMPFILE;
  const bool reads_only = (flags & O_ACCMODE) == O_RDONLY && (flags & O_TRUNC) == 0;
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
    return -EEXIST;
  }
  if (S_ISLNK(found.st_mode)) {
    return -ELOOP;
  }
  if (temporary || (flags & O_DIRECTORY) != 0) {
    return !S_ISDIR(found.st_mode) ? -ENOTDIR : temporary ? 0 : -EISDIR;
  }
  if (S_ISDIR(found.st_mode)) {
    return -EISDIR;
  }
  if (S_ISSOCK(found.st_mode)) {
    return -ENXIO;
  }
  if (S_ISCHR(found.st_mode) && found.st_rdev == kDevTty) {
    return -ENXIO;  // /dev/tty: the program has no terminal
  }
  // With the effective ids, as open(2) checks; EROFS is this file's own answer, given by the caller
  // with its event.
  const long access = reads_only ? R_OK : (flags & O_ACCMODE) == O_RDWR ? R_OK | W_OK : W_OK;
  const long error = raw(__NR_faccessat2, directory_fd, path, access, AT_EACCESS);
  if (error != 0 && error != -EROFS) {
    return error;
  }
  return S_ISFIFO(found.st_mode) ? kOpensFifo : reads_only ? kNothingToWrite : 0;
}

long probe_open(int directory_fd, const char* path, long flags) {
  const bool exclusive = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
  struct stat found = {};
  const long error = look(directory_fd, path, (flags & O_NOFOLLOW) == 0 && !exclusive, &found);
  if (error == 0) {
    return probe_existing(directory_fd, path, flags, found);
  }
  if (error != -ENOENT || (flags & O_CREAT) == 0 || path[0] == '\0') {
    return error;
  }
  return probe_parent(directory_fd, path);
}

}  // namespace

long refuse_change(long number, int directory_fd, const char* path, Change change) {
  const long error = choose(number, [&] { return probe_change(directory_fd, path, change); });
  return error != 0 ? error : refuse_write(directory_fd, path);
}

long refuse_across(long number, int old_fd, const char* old_path, int new_fd,
                   const char* new_path) {
  return choose(number, [&]() -> long {
    const long error = probe_change(old_fd, old_path, Change::kAlterLink);
    // No event: programs try a rename first and copy where it says EXDEV (rename(2)).
    const long parent = error != 0 ? error : probe_parent(new_fd, new_path);
    return parent != 0 ? parent : -EXDEV;
  });
}

long refuse_open(int directory_fd, const char* path, long flags) {
  const long error = choose(__NR_openat, [&] { return probe_open(directory_fd, path, flags); });
  return error == kNothingToWrite ? 0 : error != 0 ? error : refuse_write(directory_fd, path);
}

}  // namespace ftrun::shim
