// SPDX-License-Identifier: Apache-2.0
// Files: opening and closing. Every replica opens the same path at the same number; what a logged
// file contains is the primary's.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/openat2.h>

#include "preload/calls.h"
#include "preload/files/replicate.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

long open_here(int directory_fd, const char* path, long flags, long mode, long primary_result,
               FileClass file_class) {
  long fd = raw(__NR_openat, directory_fd, path, flags, mode);
  if (fd < 0 && file_class == kLogged) {
    fd = raw(__NR_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC);
  }
  if (fd != primary_result) {
    Text text;
    text.add("opening ").add(path).add(" gave ").add(fd).add(" here and ");
    text.add(primary_result).add(" in the primary\n");
    doors_fail(ShimFailure::kDiverged, text.c_str());
  }
  return fd;
}

long open_call(int directory_fd, const char* path, long flags, long mode) {
  char absolute[kPathBytesMax];
  if (!absolute_path(directory_fd, path, absolute)) {
    return -ENAMETOOLONG;
  }
  const FileClass file_class = classify(absolute);
  const bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
  if (writes && file_class != kState && !is_harmless_device(absolute)) {
    return refuse_write(directory_fd, path);
  }
  const bool live = doors_are_live();
  const long fd =
      choose(__NR_openat, [&] { return raw(__NR_openat, directory_fd, path, flags, mode); });
  if (fd < 0) {
    return fd;
  }
  if (!live) {
    open_here(directory_fd, path, flags, mode, fd, file_class);
  }
  fd_set_native(static_cast<int>(fd), file_class, (flags & O_CLOEXEC) != 0);
  return fd;
}

}  // namespace

long do_open(long, const long* a) {
  return open_call(AT_FDCWD, static_cast<const char*>(pointer(a[0])), a[1], a[2]);
}
long do_openat(long, const long* a) {
  return open_call(static_cast<int>(a[0]), static_cast<const char*>(pointer(a[1])), a[2], a[3]);
}
long do_openat2(long, const long* a) {
  const auto* how = static_cast<const struct open_how*>(pointer(a[2]));
  return how->resolve != 0
             ? -ENOSYS
             : open_call(static_cast<int>(a[0]), static_cast<const char*>(pointer(a[1])),
                         static_cast<long>(how->flags), static_cast<long>(how->mode));
}
long do_creat(long, const long* a) {
  return open_call(AT_FDCWD, static_cast<const char*>(pointer(a[0])), O_CREAT | O_WRONLY | O_TRUNC,
                   a[1]);
}

long do_close(long, const long* a) {
  const int fd = static_cast<int>(a[0]);
  switch (fd_kind(fd)) {
    case FdKind::kVirtual:
      return net_close(fd);
    case FdKind::kNative:
      fd_clear_native(fd);
      return raw(__NR_close, fd);
    case FdKind::kFree:
      break;
  }
  return -EBADF;
}

// CLOSE_RANGE_UNSHARE means nothing to one process whose threads share their descriptors.
long do_close_range(long, const long* a) {
  const auto first = static_cast<uint32_t>(a[0]);
  const auto last = static_cast<uint32_t>(a[1]);
  if ((a[2] & ~(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE)) != 0 || first > last) {
    return -EINVAL;
  }
  const uint32_t limit = 65536;
  for (uint32_t fd = first; fd <= last && fd < limit; ++fd) {
    if (fd_kind(static_cast<int>(fd)) == FdKind::kFree) {
      continue;
    }
    const long marks[6] = {fd, F_SETFD, FD_CLOEXEC};
    if ((a[2] & CLOSE_RANGE_CLOEXEC) != 0) {
      do_fcntl(__NR_fcntl, marks);
    } else {
      do_close(__NR_close, marks);
    }
  }
  return 0;
}

}  // namespace ftrun::shim
