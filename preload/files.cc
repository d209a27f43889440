// SPDX-License-Identifier: Apache-2.0
// Files (DESIGN section 3): state directories are real in every replica and follow the primary's
// results; other regular files are opened by every replica and compared as they are read; /proc,
// /sys, /dev and /etc come from the primary's log. A write outside the state directories is
// refused. Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>

#include "eventlog/records.h"
#include "preload/calls.h"
#include "preload/doors.h"
#include "preload/file_identity.h"
#include "preload/net/net.h"
#include "preload/raw.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

enum FileClass : uint8_t {
  kState = 1,   // under a state directory: each replica has its own
  kLogged = 2,  // content comes from the log
  kPlain = 3,   // opened by every replica, content compared
};

constexpr size_t kPathBytesMax = 4096;
char state_directories[kStateDirectoriesBytes];

// --- paths ---

size_t length_of(const char* text) {
  size_t n = 0;
  while (text[n] != '\0') {
    ++n;
  }
  return n;
}

bool starts_with_directory(const char* path, const char* directory, size_t length) {
  for (size_t i = 0; i < length; ++i) {
    if (path[i] != directory[i]) {
      return false;
    }
  }
  return path[length] == '/' || path[length] == '\0';
}

bool under(const char* path, const char* directory) {
  return starts_with_directory(path, directory, length_of(directory));
}

// Appends the parts of `path` to the absolute, normalised path in `out`, resolving . and .. by
// name.
bool append_parts(char* out, size_t* length, const char* path) {
  while (*path != '\0') {
    while (*path == '/') {
      ++path;
    }
    size_t part = 0;
    while (path[part] != '\0' && path[part] != '/') {
      ++part;
    }
    if (part == 2 && path[0] == '.' && path[1] == '.') {
      while (*length > 0 && out[--*length] != '/') {
      }
    } else if (part > 0 && !(part == 1 && path[0] == '.')) {
      if (*length + part + 2 > kPathBytesMax) {
        return false;
      }
      out[(*length)++] = '/';
      __builtin_memcpy(out + *length, path, part);
      *length += part;
    }
    path += part;
  }
  out[*length] = '\0';
  return true;
}

// The absolute name of `path` relative to `directory_fd`. Symbolic links are not followed: a link
// out of a state directory is caught by the kernel's view, in which only copies are writable.
bool absolute_path(int directory_fd, const char* path, char* out) {
  size_t length = 0;
  out[0] = '\0';
  if (path[0] != '/') {
    char base[kPathBytesMax];
    long n = 0;
    if (directory_fd == AT_FDCWD) {
      n = raw(__NR_getcwd, base, sizeof(base));
    } else {
      Text link;
      link.add("/proc/self/fd/").add(static_cast<int64_t>(directory_fd));
      n = raw(__NR_readlink, link.c_str(), base, sizeof(base) - 1);
    }
    if (n <= 0) {
      return false;
    }
    base[static_cast<size_t>(n) < sizeof(base) ? n : n - 1] = '\0';
    if (!append_parts(out, &length, base)) {
      return false;
    }
  }
  return append_parts(out, &length, path);
}

FileClass classify(const char* absolute) {
  for (const char* directory = state_directories; *directory != '\0';) {
    size_t n = 0;
    while (directory[n] != '\n' && directory[n] != '\0') {
      ++n;
    }
    if (n > 0 && starts_with_directory(absolute, directory, n)) {
      return kState;
    }
    directory += n + (directory[n] == '\n' ? 1 : 0);
  }
  const bool logged = under(absolute, "/proc") || under(absolute, "/sys") ||
                      under(absolute, "/dev") || under(absolute, "/etc");
  return logged ? kLogged : kPlain;
}

FileClass classify_at(int directory_fd, const char* path) {
  char absolute[kPathBytesMax];
  return absolute_path(directory_fd, path, absolute) ? classify(absolute) : kPlain;
}

long refuse_write(int directory_fd, const char* path) {
  char absolute[kPathBytesMax];
  Text text;
  text.add("write outside the state directories refused: ");
  text.add(absolute_path(directory_fd, path, absolute) ? absolute : path);
  text.add(" (name its directory with --state-dir)\n");
  shim_notice(text.c_str());
  return -EROFS;
}

bool is_harmless_device(const char* path) {
  return under(path, "/dev/null") || under(path, "/dev/zero") || under(path, "/dev/full");
}

[[noreturn]] void replica_differs(const char* what, long number, long here, long there) {
  Text text;
  text.add(what).add(": ").add(call_name(number)).add(" gave ").add(here);
  text.add(" here and ").add(there).add(" in the primary\n");
  doors_fail(ShimFailure::kDiverged, text.c_str());
}

// Detects files that differ between replicas; not a defence against forgery.
uint64_t content_hash(const uint8_t* data, size_t length) {
  uint64_t hash = 0x9E3779B97F4A7C15u ^ length;
  while (length >= 8) {
    uint64_t word = 0;
    __builtin_memcpy(&word, data, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
    data += 8;
    length -= 8;
  }
  for (size_t i = 0; i < length; ++i) {
    hash = (hash ^ data[i]) * 0x100000001b3u;
  }
  return hash;
}

// --- opening ---

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

// --- reading and writing native descriptors ---

// `function` reads into the application's memory and returns the kernel's result; in a secondary it
// is given exactly the primary's count.
template <typename Read>
long read_call(long number, int fd, void* buffer, size_t size, Read&& function) {
  const bool live = doors_are_live();
  if (fd_native_class(fd) == kLogged) {
    size = size < kChoicePayloadBytesMax ? size : kChoicePayloadBytesMax;
    size_t length = 0;
    struct Context {
      Read* function;
      size_t size;
    } context{&function, size};
    const long result = doors_choose(
        number,
        [](void* c, uint8_t*, size_t, size_t* out_length) -> long {
          auto* ctx = static_cast<Context*>(c);
          const long r = (*ctx->function)(ctx->size);
          *out_length = r > 0 ? static_cast<size_t>(r) : 0;
          return r;
        },
        &context, static_cast<uint8_t*>(buffer), size, &length);
    if (!live && result > 0 && number == __NR_read) {
      raw(__NR_lseek, fd, result, SEEK_CUR);  // so that a promoted replica reads on from here
    }
    return result;
  }
  uint64_t hash = 0;
  const long result = choose(number, &hash, sizeof(hash), [&] {
    const long r = function(size);
    hash = r > 0 ? content_hash(static_cast<const uint8_t*>(buffer), static_cast<size_t>(r)) : 0;
    return r;
  });
  if (!live && result > 0) {
    const long here = function(static_cast<size_t>(result));
    if (here != result) {
      replica_differs("a file is shorter in this replica", number, here, result);
    }
    if (content_hash(static_cast<const uint8_t*>(buffer), static_cast<size_t>(result)) != hash) {
      replica_differs("a file has other content in this replica", number, fd, fd);
    }
  }
  return result;
}

// As read_call: `function(size)` writes at most `size` bytes.
template <typename Write>
long write_call(long number, size_t size, Write&& function) {
  const bool live = doors_are_live();
  const long result = choose(number, [&] { return function(size); });
  if (!live && result > 0) {
    const long here = function(static_cast<size_t>(result));
    if (here != result) {
      replica_differs("this replica could not write", number, here, result);
    }
  }
  return result;
}

// The first non-empty buffer: vectored native calls are cut to it, which is a legal short count.
struct iovec first_buffer(const struct iovec* iov, long count) {
  for (long i = 0; i < count; ++i) {
    if (iov[i].iov_len != 0) {
      return iov[i];
    }
  }
  return {nullptr, 0};
}

// A path-changing call: carried out where the primary succeeded.
template <typename F>
long replicate(long number, F&& function) {
  const bool live = doors_are_live();
  const long result = choose(number, [&] { return function(); });
  if (!live && result >= 0) {
    const long here = function();
    if (here != result) {
      replica_differs("this replica could not follow", number, here, result);
    }
  }
  return result;
}

template <typename F>
long replicate_path(long number, int directory_fd, long path, F&& function) {
  const auto* name = reinterpret_cast<const char*>(path);
  if (classify_at(directory_fd, name) != kState) {
    return refuse_write(directory_fd, name);
  }
  return replicate(number, static_cast<F&&>(function));
}

template <typename F>
long replicate_two_paths(long number, int fd1, long path1, int fd2, long path2, F&& function) {
  const auto* first = reinterpret_cast<const char*>(path1);
  if (classify_at(fd1, first) != kState) {
    return refuse_write(fd1, first);
  }
  return replicate_path(number, fd2, path2, static_cast<F&&>(function));
}

bool is_virtual(long fd) {
  return fd_kind(static_cast<int>(fd)) == FdKind::kVirtual;
}

void* pointer(long value) {
  return reinterpret_cast<void*>(value);
}

// A choice whose payload is `size` bytes at `out`.
long choose_out(long number, const long* a, long out, size_t size) {
  return choose(number, pointer(out), size,
                [&] { return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]); });
}

// A choice whose payload is as many bytes at `out` as the result says.
long choose_counted(long number, const long* a, long out, long size) {
  struct Context {
    long number;
    const long* a;
  } context{number, a};
  size_t length = 0;
  const auto capacity = static_cast<size_t>(size);
  return doors_choose(
      number,
      [](void* c, uint8_t*, size_t cap, size_t* out_length) -> long {
        const auto* ctx = static_cast<const Context*>(c);
        const long* b = ctx->a;
        const long r = raw(ctx->number, b[0], b[1], b[2], b[3], b[4], b[5]);
        *out_length = r > 0 && cap != 0 ? static_cast<size_t>(r) : 0;
        return r;
      },
      &context, static_cast<uint8_t*>(pointer(out)),
      capacity < kChoicePayloadBytesMax ? capacity : kChoicePayloadBytesMax, &length);
}

}  // namespace

void files_init(const char* directories) {
  for (size_t i = 0; i + 1 < sizeof(state_directories) && directories[i] != '\0'; ++i) {
    state_directories[i] = directories[i];
  }
}

// --- handlers: opening and closing ---

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

long do_close_range(long, const long* a) {
  const auto last = static_cast<uint64_t>(static_cast<uint32_t>(a[1]));
  const uint64_t limit = 65536;
  if (static_cast<uint32_t>(a[0]) > last || (a[2] & ~4) != 0) {
    return -EINVAL;
  }
  for (uint64_t fd = static_cast<uint32_t>(a[0]); fd <= last && fd < limit; ++fd) {
    const long arguments[6] = {static_cast<long>(fd)};
    if (fd_kind(static_cast<int>(fd)) != FdKind::kFree) {
      do_close(__NR_close, arguments);
    }
  }
  return 0;
}

// --- handlers: data ---

long do_read(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  if (is_virtual(fd)) {
    const struct iovec iov = {pointer(a[1]), static_cast<size_t>(a[2])};
    return net_readv(fd, &iov, 1);
  }
  return read_call(number, fd, pointer(a[1]), static_cast<size_t>(a[2]),
                   [&](size_t n) { return raw(__NR_read, fd, a[1], n); });
}

long do_pread64(long number, const long* a) {
  if (is_virtual(a[0])) {
    return -ESPIPE;
  }
  return read_call(number, static_cast<int>(a[0]), pointer(a[1]), static_cast<size_t>(a[2]),
                   [&](size_t n) { return raw(__NR_pread64, a[0], a[1], n, a[3]); });
}

long do_readv(long, const long* a) {
  const auto* iov = static_cast<const struct iovec*>(pointer(a[1]));
  if (is_virtual(a[0])) {
    return net_readv(static_cast<int>(a[0]), iov, static_cast<int>(a[2]));
  }
  const struct iovec first = first_buffer(iov, a[2]);
  const long arguments[6] = {a[0], to_long(first.iov_base), static_cast<long>(first.iov_len)};
  return do_read(__NR_read, arguments);
}

long do_preadv(long, const long* a) {
  const struct iovec first = first_buffer(static_cast<const struct iovec*>(pointer(a[1])), a[2]);
  const long arguments[6] = {a[0], to_long(first.iov_base), static_cast<long>(first.iov_len), a[3]};
  return do_pread64(__NR_pread64, arguments);
}
long do_preadv2(long number, const long* a) {
  return a[5] != 0 ? -EOPNOTSUPP : a[3] == -1 ? do_readv(number, a) : do_preadv(number, a);
}

long do_write(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  if (is_virtual(fd)) {
    const struct iovec iov = {pointer(a[1]), static_cast<size_t>(a[2])};
    return net_writev(fd, &iov, 1);
  }
  return write_call(number, static_cast<size_t>(a[2]),
                    [&](size_t n) { return raw(__NR_write, fd, a[1], n); });
}

long do_pwrite64(long number, const long* a) {
  if (is_virtual(a[0])) {
    return -ESPIPE;
  }
  return write_call(number, static_cast<size_t>(a[2]),
                    [&](size_t n) { return raw(__NR_pwrite64, a[0], a[1], n, a[3]); });
}

long do_writev(long, const long* a) {
  const auto* iov = static_cast<const struct iovec*>(pointer(a[1]));
  if (is_virtual(a[0])) {
    return net_writev(static_cast<int>(a[0]), iov, static_cast<int>(a[2]));
  }
  const struct iovec first = first_buffer(iov, a[2]);
  const long arguments[6] = {a[0], to_long(first.iov_base), static_cast<long>(first.iov_len)};
  return do_write(__NR_write, arguments);
}

long do_pwritev(long, const long* a) {
  const struct iovec first = first_buffer(static_cast<const struct iovec*>(pointer(a[1])), a[2]);
  const long arguments[6] = {a[0], to_long(first.iov_base), static_cast<long>(first.iov_len), a[3]};
  return do_pwrite64(__NR_pwrite64, arguments);
}
long do_pwritev2(long number, const long* a) {
  return a[5] != 0 ? -EOPNOTSUPP : a[3] == -1 ? do_writev(number, a) : do_pwritev(number, a);
}

long do_sendfile(long, const long* a) {
  static uint8_t* buffer = nullptr;
  constexpr size_t kChunk = 64 * 1024;
  if (buffer == nullptr) {
    buffer = static_cast<uint8_t*>(arena_alloc(kChunk, 4096));
  }
  const int out = static_cast<int>(a[0]);
  auto* offset = static_cast<int64_t*>(pointer(a[2]));
  if (fd_kind(out) == FdKind::kFree || fd_kind(static_cast<int>(a[1])) == FdKind::kFree) {
    return -EBADF;
  }
  long sent = 0;
  while (sent < a[3]) {
    long room = is_virtual(out) ? net_send_room(out) : static_cast<long>(kChunk);
    if (room <= 0) {
      return sent > 0 ? sent : room;
    }
    room = room < a[3] - sent ? room : a[3] - sent;
    room = room < static_cast<long>(kChunk) ? room : static_cast<long>(kChunk);
    long read_arguments[6] = {a[1], to_long(buffer), room, offset != nullptr ? *offset : 0};
    const long n = offset != nullptr ? do_pread64(__NR_pread64, read_arguments)
                                     : do_read(__NR_read, read_arguments);
    if (n <= 0) {
      return sent > 0 ? sent : n;
    }
    const long write_arguments[6] = {out, to_long(buffer), n};
    const long written = do_write(__NR_write, write_arguments);
    if (written != n) {
      return sent > 0 ? sent : written;
    }
    sent += n;
    if (offset != nullptr) {
      *offset += n;
    }
  }
  return sent;
}

long do_lseek(long number, const long* a) {
  if (is_virtual(a[0])) {
    return net_lseek(static_cast<int>(a[0]));
  }
  const bool live = doors_are_live();
  const long result = choose(number, [&] { return raw(number, a[0], a[1], a[2]); });
  if (!live && result >= 0) {
    raw(number, a[0], result, SEEK_SET);
  }
  return result;
}

// --- handlers: asking ---

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
// Answered ENOSYS: every caller falls back to newfstatat, which hides what differs in copies.
long do_statx(long, const long*) {
  return -ENOSYS;
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
  return choose_counted(number, a, a[1], a[2]);
}
long do_getdents64(long number, const long* a) {
  const long size = a[2] < static_cast<long>(kChoicePayloadBytesMax)
                        ? a[2]
                        : static_cast<long>(kChoicePayloadBytesMax);
  const long arguments[6] = {a[0], a[1], size};
  return choose_counted(number, arguments, a[1], size);
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

// --- handlers: changing ---

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

// --- handlers: descriptors of either kind ---

long do_ioctl(long number, const long* a) {
  if (is_virtual(a[0])) {
    return net_ioctl(static_cast<int>(a[0]), static_cast<unsigned long>(a[1]),
                     static_cast<unsigned long>(a[2]));
  }
  switch (static_cast<unsigned long>(a[1])) {
    case FIOCLEX:
    case FIONCLEX:
      return raw(number, a[0], a[1], a[2]);
    case FIONREAD:
      return choose_out(number, a, a[2], sizeof(int));
    default:
      return fd_kind(static_cast<int>(a[0])) == FdKind::kFree ? -EBADF : -ENOTTY;
  }
}

long native_dup(long result, int old_fd, bool close_on_exec) {
  if (result >= 0) {
    fd_set_native(static_cast<int>(result), fd_native_class(old_fd), close_on_exec);
  }
  return result;
}

long do_fcntl(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  if (is_virtual(fd)) {
    return net_fcntl(fd, static_cast<int>(a[1]), static_cast<unsigned long>(a[2]));
  }
  if (fd_kind(fd) == FdKind::kFree) {
    return -EBADF;
  }
  switch (a[1]) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      return native_dup(raw(number, fd, a[1], a[2]), fd, a[1] == F_DUPFD_CLOEXEC);
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
      return raw(number, fd, a[1], a[2]);
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
      return replicate(number, [&] { return FTRUN_RAW6(number); });
    case F_GETLK:
    case F_OFD_GETLK:
      return choose_out(number, a, a[2], sizeof(struct flock));
    default:
      return -EINVAL;
  }
}

long do_dup(long number, const long* a) {
  const int fd = static_cast<int>(a[0]);
  switch (fd_kind(fd)) {
    case FdKind::kVirtual:
      return net_dup(fd, 0, -1, false);
    case FdKind::kNative:
      return native_dup(raw(number, fd), fd, false);
    case FdKind::kFree:
      break;
  }
  return -EBADF;
}

namespace {
long dup_onto(int old_fd, int new_fd, int flags, bool same_is_error) {
  if (fd_kind(old_fd) == FdKind::kFree) {
    return -EBADF;
  }
  if (old_fd == new_fd) {
    return same_is_error ? -EINVAL : new_fd;
  }
  if (new_fd < 0 || new_fd >= descriptor_limit()) {
    return -EBADF;
  }
  if (is_virtual(old_fd)) {
    return net_dup(old_fd, 0, new_fd, (flags & O_CLOEXEC) != 0);
  }
  if (is_virtual(new_fd)) {
    net_close(new_fd);
  }
  return native_dup(raw(__NR_dup3, old_fd, new_fd, flags), old_fd, (flags & O_CLOEXEC) != 0);
}
}  // namespace

long do_dup2(long, const long* a) {
  return dup_onto(static_cast<int>(a[0]), static_cast<int>(a[1]), 0, false);
}
long do_dup3(long, const long* a) {
  return dup_onto(static_cast<int>(a[0]), static_cast<int>(a[1]), static_cast<int>(a[2]), true);
}

}  // namespace ftrun::shim
