// SPDX-License-Identifier: Apache-2.0
// Files: opening and closing. Every replica opens the same path at the same number; what a logged
// file contains is the primary's.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/stat.h>

#include "preload/calls.h"
#include "preload/files/fifo.h"
#include "preload/files/locks.h"
#include "preload/files/opened.h"
#include "preload/files/outside.h"
#include "preload/files/own.h"
#include "preload/files/replicate.h"
#include "preload/guarded.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

// As the primary did, at the same number. What only the primary's log can give (another file stands
// there now, or none) gets a placeholder.
void open_here(int directory_fd, const char* path, long flags, long mode, long primary_result,
               FileClass file_class) {
  long fd = raw(__NR_openat, directory_fd, path, flags, mode);
  // Only outside: of a state file each replica has its own copy, and one that is not there is a
  // difference.
  if (fd < 0 && file_class != kState) {
    fd = raw(__NR_openat, AT_FDCWD, "/dev/null", O_PATH | (flags & O_CLOEXEC));
  }
  // The number is data: it stands in the program's variables. That of the placeholder counts too.
  if (fd != primary_result) {
    Text text;
    text.add("opening ").add(path).add(" gave ").add(fd).add(" here and ");
    text.add(primary_result).add(" in the primary\n");
    doors_fail(ShimFailure::kDiverged, text.c_str());
  }
}

// What stands behind virtual numbers in the kernel's table: /dev/null, or a memory file, which has
// no name.
bool is_placeholder(int fd) {
  constexpr uint64_t kDevNull = 0x103;  // device 1, 3
  struct stat about = {};
  if (raw(__NR_fstat, fd, &about) != 0) {
    return false;
  }
  return (S_ISCHR(about.st_mode) && about.st_rdev == kDevNull) ||
         (S_ISREG(about.st_mode) && about.st_nlink == 0);
}

// `absolute` names the file for the classes only; the kernel is given what the program said.
long open_file(int directory_fd, const char* path, long flags, long mode, const char* absolute,
               FileClass file_class) {
  Opened seen = {};
  const size_t described = file_class == kState ? 0 : sizeof(seen);
  // A pipe without a writer must not keep the token; to a file the flag means nothing.
  const bool may_be_fifo =
      file_class == kPlain && (flags & (O_NONBLOCK | O_PATH | O_DIRECTORY)) == 0;
  const long native_flags = may_be_fifo ? flags | O_NONBLOCK : flags;
  const auto open_and_describe = [&] {
    const long result = raw(__NR_openat, directory_fd, path, native_flags, mode);
    if (result >= 0 && opens_to_write(flags) && file_class == kState &&
        (flags & O_TMPFILE) != O_TMPFILE && is_placeholder(static_cast<int>(result))) {
      // The record says EISDIR: no replica goes on with this file, and the number is free again.
      raw(__NR_close, result);
      return long{-EISDIR};  // a link: open_call looks where it leads to
    }
    if (result >= 0 && described != 0) {
      seen = describe_opened(static_cast<int>(result), absolute, file_class);
    }
    return result;
  };
  const auto follow = [&](long result) {
    open_here(directory_fd, path, native_flags, mode, result,
              described != 0 ? seen.file_class : file_class);
    if (described != 0) {
      seen.file_class = compare_opened(static_cast<int>(result), seen);
    }
  };
  const long fd = choose_and_follow(__NR_openat, &seen, described, open_and_describe, follow);
  if (fd < 0) {
    return fd;
  }
  if (described != 0) {
    file_class = seen.file_class;
  }
  if (file_class == kFifo) {
    return fifo_install(static_cast<int>(fd), flags);
  }
  // ORDER: after the choice, in every replica: F_GETFL tells what the program asked for.
  if (may_be_fifo) {
    raw(__NR_fcntl, fd, F_SETFL, flags);
  }
  fd_set_native(static_cast<int>(fd), file_class, (flags & O_CLOEXEC) != 0);
  return fd;
}

// Of a pipe, to write: open(2) waits until somebody reads.
long open_fifo_to_write(int directory_fd, const char* path, long flags, const char* absolute) {
  // 10 ms: a reader's coming is seen by trying only, and each try is a record.
  constexpr int64_t kRetryNs = 10'000'000;
  flags &= ~static_cast<long>(O_CREAT | O_TRUNC);
  for (;;) {
    const long fd = open_file(directory_fd, path, flags, 0, absolute, kPlain);
    if (fd != -ENXIO || (flags & O_NONBLOCK) != 0) {
      return fd;
    }
    if (sched_wait(nullptr, virtual_now_ns() + kRetryNs) == kErrRestart) {
      return kErrRestart;
    }
  }
}

bool may_write(const char* absolute, FileClass file_class) {
  return file_class == kState || is_harmless_device(absolute) || is_own_attribute(absolute);
}

// open("/dev/stdout"), open("/proc/self/fd/N") and the like.
long open_own(int own, int directory_fd, const char* path, long flags, long mode,
              const char* absolute) {
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
    return -EEXIST;
  }
  if (fd_kind(own) != FdKind::kNative) {
    return net_reopen(own, static_cast<int>(flags));
  }
  const auto file_class = static_cast<FileClass>(fd_native_class(own));
  if (opens_to_write(flags) && file_class != kState) {
    if (const long error = refuse_open(directory_fd, path, flags)) {
      return error;
    }
  }
  return open_file(directory_fd, path, flags, mode, absolute, file_class);
}

// A name that does not lead anywhere: the kernel knows why.
long open_nameless(int directory_fd, const char* path) {
  return choose(__NR_openat, [&]() -> long {
    const long fd = raw(__NR_openat, directory_fd, path, O_PATH | O_CLOEXEC);
    if (fd >= 0) {
      raw(__NR_close, fd);
    }
    return fd < 0 ? fd : -ENAMETOOLONG;
  });
}

long open_call(int directory_fd, const char* path, long flags, long mode) {
  char absolute[kPathBytesMax];
  if (!absolute_path(directory_fd, path, absolute)) {
    return open_nameless(directory_fd, path);
  }
  FileClass file_class = classify(absolute);
  int own = own_descriptor(absolute);
  // Links are followed only where a name alone would be refused: the rest costs no record.
  if (own < 0 && opens_to_write(flags) && !may_write(absolute, file_class)) {
    follow_links(absolute);
    file_class = classify(absolute);
    own = own_descriptor(absolute);
    if (own < 0 && !may_write(absolute, file_class)) {
      const long error = refuse_open(directory_fd, path, flags);
      if (error == kOpensFifo) {
        return open_fifo_to_write(directory_fd, path, flags, absolute);
      }
      if (error != 0) {
        return error;
      }
      // It was there: should it go away meanwhile, the open fails, and nothing is made outside.
      flags &= ~static_cast<long>(O_CREAT);
    }
  }
  if (own >= 0) {
    return open_own(own, directory_fd, path, flags, mode, absolute);
  }
  const long fd = open_file(directory_fd, path, flags, mode, absolute, file_class);
  if (fd != -EISDIR || file_class != kState || !opens_to_write(flags)) {
    return fd;
  }
  // A link in a state directory that leads to /dev/null, or to a virtual descriptor, whose number
  // is held by that in the kernel's table.
  follow_links(absolute);
  own = own_descriptor(absolute);
  if (own >= 0) {
    return open_own(own, directory_fd, path, flags, mode, absolute);
  }
  return is_harmless_device(absolute)
             ? open_file(AT_FDCWD, absolute, flags, mode, absolute, kLogged)
             : fd;
}

}  // namespace

long do_openat(long, const long* a) {
  const Path path(a[1]);
  return path.error() != 0 ? path.error()
                           : open_call(static_cast<int>(a[0]), path.text(), a[2], a[3]);
}
long do_open(long number, const long* a) {
  const long arguments[4] = {AT_FDCWD, a[0], a[1], a[2]};
  return do_openat(number, arguments);
}
long do_creat(long number, const long* a) {
  const long arguments[4] = {AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]};
  return do_openat(number, arguments);
}

long do_close(long, const long* a) {
  const int fd = static_cast<int>(a[0]);
  switch (fd_kind(fd)) {
    case FdKind::kVirtual:
      return net_close(fd);
    case FdKind::kNative: {
      // ORDER: the table first, then the kernel, which may give the number away again; the unit's
      // locks last, as the kernel lets go of its own at the close. No record: each replica's kernel
      // closes its own file.
      ClosingFile before(fd);
      fd_clear_native(fd);
      const long result = raw(__NR_close, fd);
      before.closed();
      return result;
    }
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
  // Of the table (kDescriptorsMax). Each number by itself: virtual ones are objects, and the shim's
  // own, which are free here, must stay.
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
