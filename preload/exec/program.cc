// SPDX-License-Identifier: Apache-2.0
// See program.h. A file may be damaged, or changed meanwhile: the kernel then has the last word.
#include "preload/exec/program.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/raw.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

// As the kernel: a line of at most 256 bytes, interpreters at most five deep (fs/exec.c).
constexpr size_t kScriptLineBytes = 256;
constexpr int kInterpretersMax = 5;
constexpr size_t kLoaderNameBytes = 256;
constexpr char kLoaderName[] = "/ld-linux-x86-64.so.2";

// A file that is looked at and closed again. It has the lowest free number for that moment; exec is
// refused while there are other threads, so nobody sees it.
class File {
 public:
  explicit File(long fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) {
      raw(__NR_close, fd_);
    }
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  long fd() const { return fd_; }
  // How many bytes there were.
  long read(void* out, size_t size, uint64_t offset) const {
    return raw(__NR_pread64, fd_, out, size, offset);
  }
  template <typename T>
  bool get(T* out, uint64_t offset) const {
    return read(out, sizeof(T), offset) == static_cast<long>(sizeof(T));
  }

 private:
  long fd_;
};

// By the end of its name: distributions keep it in directories of their own.
bool is_glibc_loader(const char* name, size_t length) {
  constexpr size_t kWanted = sizeof(kLoaderName) - 1;
  if (length < kWanted) {
    return false;
  }
  for (size_t i = 0; i < kWanted; ++i) {
    if (name[length - kWanted + i] != kLoaderName[i]) {
      return false;
    }
  }
  return true;
}

Obstacle loader_obstacle(const File& file, const Elf64_Phdr& header) {
  char name[kLoaderNameBytes] = {};
  if (header.p_filesz == 0 || header.p_filesz > sizeof(name) ||
      file.read(name, header.p_filesz, header.p_offset) != static_cast<long>(header.p_filesz)) {
    return Obstacle::kLoader;
  }
  const size_t length = header.p_filesz - 1;  // without its NUL
  return is_glibc_loader(name, length) ? Obstacle::kNone : Obstacle::kLoader;
}

// What cannot be read of a header is no obstacle: the kernel will not execute it, and says why.
Obstacle elf_obstacle(const File& file) {
  Elf64_Ehdr elf;
  if (!file.get(&elf, 0)) {
    return Obstacle::kNone;
  }
  if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_machine != EM_X86_64) {
    return Obstacle::kForeign;
  }
  for (uint64_t i = 0; i < elf.e_phnum; ++i) {
    Elf64_Phdr header;
    if (!file.get(&header, elf.e_phoff + i * elf.e_phentsize)) {
      return Obstacle::kNone;
    }
    if (header.p_type == PT_INTERP) {
      return loader_obstacle(file, header);
    }
  }
  return Obstacle::kStatic;
}

// The interpreter of a "#!" line in place, as the kernel cuts it; null if there is none.
char* interpreter_of(char* line) {
  char* begin = line + 2;
  while (*begin == ' ' || *begin == '\t') {
    ++begin;
  }
  char* end = begin;
  while (*end != ' ' && *end != '\t' && *end != '\n' && *end != '\0') {
    ++end;
  }
  *end = '\0';
  return begin == end ? nullptr : begin;
}

// All of these make the loader ignore LD_PRELOAD (AT_SECURE, ld.so(8)): the new image would run
// without a shim, outside the log.
bool has_raised_privileges(const File& file, const struct stat& about) {
  return (about.st_mode & (S_ISUID | S_ISGID)) != 0 ||
         raw(__NR_fgetxattr, file.fd(), "security.capability", nullptr, 0) > 0;
}

Obstacle obstacle_at_depth(int directory_fd, const char* path, int flags, int depth) {
  // ORDER: may it be executed at all? If not, the errno of the exec itself is the answer, and it
  // does not matter whether the file can be read.
  if (raw(__NR_faccessat2, directory_fd, path, X_OK, AT_EACCESS | flags) != 0) {
    return Obstacle::kNone;
  }
  Text by_number;  // a descriptor may be open for something else than reading
  if (path[0] == '\0' && (flags & AT_EMPTY_PATH) != 0) {
    path = by_number.add("/proc/self/fd/").add(static_cast<int64_t>(directory_fd)).c_str();
  }
  const int links = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;
  const File file(raw(__NR_openat, directory_fd, path, O_RDONLY | O_CLOEXEC | links));
  struct stat about;
  if (file.fd() < 0) {
    return Obstacle::kUnreadable;
  }
  if (raw(__NR_fstat, file.fd(), &about) != 0 || (about.st_mode & S_IFMT) != S_IFREG) {
    return Obstacle::kNone;
  }
  if (has_raised_privileges(file, about)) {
    return Obstacle::kPrivileges;
  }
  char start[kScriptLineBytes + 1] = {};
  const long length = file.read(start, kScriptLineBytes, 0);
  if (length >= SELFMAG && __builtin_memcmp(start, ELFMAG, SELFMAG) == 0) {
    return elf_obstacle(file);
  }
  if (length < 2 || start[0] != '#' || start[1] != '!' || depth == kInterpretersMax) {
    return length < 0 ? Obstacle::kUnreadable : Obstacle::kNone;
  }
  const char* interpreter = interpreter_of(start);
  return interpreter == nullptr ? Obstacle::kNone
                                : obstacle_at_depth(AT_FDCWD, interpreter, 0, depth + 1);
}

}  // namespace

// Called by the primary alone, as part of the exec's choice: secondaries get what it has found.
Obstacle program_obstacle(int directory_fd, const char* path, int flags) {
  return obstacle_at_depth(directory_fd, path, flags, 0);
}

}  // namespace ftrun::shim
