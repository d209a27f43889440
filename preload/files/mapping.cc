// SPDX-License-Identifier: Apache-2.0
// See mapping.h. Runs in the application with the token held; no libc.
#include "preload/files/mapping.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "eventlog/records.h"
#include "preload/calls.h"
#include "preload/files/opened.h"
#include "preload/files/replicate.h"

namespace ftrun::shim {
namespace {

constexpr long kPageBytes = 4096;
constexpr uint64_t kDevZero = 0x105;         // device 1, 5
constexpr long kLoaderFlag = MAP_DENYWRITE;  // without effect since Linux 2.6; ld.so always sets it

// Reads the file into the mapping, through the log. What cannot be read stays zero.
// ORDER: no end of a turn between the parts: all of it was read in the primary at one call, and a
// replica that went live in the middle would read the rest of another moment.
void fill(int fd, long address, long offset, long length) {
  for (long done = 0; done < length;) {
    const long left = length - done;
    const long wanted =
        left < static_cast<long>(kChoicePayloadBytesMax) ? left : long{kChoicePayloadBytesMax};
    const long n = choose_counted(
        __NR_pread64, pointer(address + done), static_cast<size_t>(wanted),
        [&] { return raw(__NR_pread64, fd, address + done, wanted, offset + done); });
    if (n <= 0) {
      return;
    }
    done += n;
  }
}

}  // namespace

bool maps_copy(const long* a) {
  // EINVAL for an odd offset is left to the kernel.
  return is_logged(fd_native_class(static_cast<int>(a[4]))) && (a[2] & PROT_EXEC) == 0 &&
         (a[3] & kLoaderFlag) == 0 && a[5] % kPageBytes == 0;
}

long map_copy(const long* a) {
  const int fd = static_cast<int>(a[4]);
  struct stat about = {};
  const long error = choose(__NR_fstat, &about, sizeof(about), [&]() -> long {
    return fd_native_class(fd) == kLoggedElsewhere ? -ESTALE : raw(__NR_fstat, fd, &about);
  });
  if (error != 0) {
    return error;
  }
  const bool zeros = S_ISCHR(about.st_mode) && about.st_rdev == kDevZero;
  if (!S_ISREG(about.st_mode) && !zeros) {
    return -ENODEV;
  }
  const long in_file = about.st_size > a[5] ? about.st_size - a[5] : 0;
  const long filled = in_file < a[1] ? in_file : a[1];
  if (filled > 2 * kLoggedFileBytesMax) {
    return -EAGAIN;  // it has grown since it was opened: too much for one turn of the log
  }
  // MAP_SHARED becomes private: it cannot be written (memory.cc), and what others write must not
  // show in one replica alone.
  const long flags = (a[3] & ~static_cast<long>(MAP_TYPE)) | MAP_PRIVATE | MAP_ANONYMOUS;
  const long anonymous[6] = {a[0], a[1], PROT_READ | PROT_WRITE, flags, -1, 0};
  const long address = do_mmap(__NR_mmap, anonymous);
  if (is_error(address)) {
    return address;
  }
  fill(fd, address, a[5], filled);
  // ORDER: filled while it can be written, then protected as asked.
  if (a[2] != (PROT_READ | PROT_WRITE)) {
    raw(__NR_mprotect, address, a[1], a[2]);
  }
  // Behind the file's last page there is nothing to touch.
  const long end = (in_file + kPageBytes - 1) & -kPageBytes;
  if (!zeros && end < a[1]) {
    raw(__NR_mprotect, address + end, a[1] - end, PROT_NONE);
  }
  return address;
}

}  // namespace ftrun::shim
