// SPDX-License-Identifier: Apache-2.0
// See opened.h. Runs in the application with the token held; no libc.
#include "preload/files/opened.h"

#include <sys/stat.h>

#include "preload/files/replicate.h"
#include "preload/table.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

int64_t nanoseconds(const struct timespec& time) {
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

// The class of what a name outside has led to. A symbolic link may lead into a state directory.
FileClass class_of(int fd, FileClass by_name, const struct stat& about) {
  char name[kPathBytesMax];
  if (by_name != kPlain) {
    return by_name;
  }
  if (has_state_directories() && name_of_descriptor(fd, name) && classify(name) == kState) {
    return kState;
  }
  if (S_ISFIFO(about.st_mode)) {
    return kFifo;
  }
  // Directories are compared, not logged: only their listings are read, and these are choices.
  // Devices and what has no size are logged: nobody can say before a read what it will give.
  const bool compared =
      S_ISDIR(about.st_mode) || (S_ISREG(about.st_mode) && about.st_size > kLoggedFileBytesMax);
  return compared ? kPlain : kLogged;
}

}  // namespace

Opened describe_opened(int fd, const char* absolute, FileClass by_name) {
  Opened opened;
  struct stat about = {};
  if (raw(__NR_fstat, fd, &about) != 0) {
    opened.file_class = by_name;
    return opened;
  }
  opened.file_class = class_of(fd, by_name, about);
  // Each replica has a /proc of its own.
  if (S_ISREG(about.st_mode) && opened.file_class != kState && !is_under_proc(absolute)) {
    opened.has_identity = 1;
    opened.device = about.st_dev;
    opened.inode = about.st_ino;
    opened.size = about.st_size;
    opened.modified_ns = nanoseconds(about.st_mtim);
    opened.changed_ns = nanoseconds(about.st_ctim);
  }
  return opened;
}

FileClass compare_opened(int fd, const Opened& seen) {
  struct stat own = {};
  if (seen.has_identity == 0) {
    return seen.file_class;
  }
  // Of a logged file this is enough: its content comes from the log up to a promotion, and from
  // then on is what stands in it.
  const bool same_file =
      raw(__NR_fstat, fd, &own) == 0 && own.st_dev == seen.device && own.st_ino == seen.inode;
  if (seen.file_class == kLogged) {
    return same_file ? kLogged : kLoggedElsewhere;
  }
  const bool unchanged = same_file && own.st_size == seen.size &&
                         nanoseconds(own.st_mtim) == seen.modified_ns &&
                         nanoseconds(own.st_ctim) == seen.changed_ns;
  return unchanged ? seen.file_class : kChanged;
}

void require_same_file(int fd, long number) {
  const uint8_t file_class = fd_native_class(fd);
  // Only now: a file that is opened and not read, or only asked about, does no harm.
  if (file_class != kChanged && file_class != kLoggedElsewhere) {
    return;
  }
  char name[kPathBytesMax];
  Text text;
  text.add(call_name(number)).add(": ");
  text.add(name_of_descriptor(fd, name) ? name : "a file");
  text.add(
      " was replaced or changed while the unit opened it; what is mapped, and files of more "
      "than 1 MiB, must stand still then\n");
  doors_fail(ShimFailure::kDiverged, text.c_str());
}

}  // namespace ftrun::shim
