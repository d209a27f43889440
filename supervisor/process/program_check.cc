// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/program_check.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string_view>

#include "fmt/format.h"
#include "supervisor/process/launch.h"

namespace ftrun::process {
namespace {

// As the kernel: a line of at most 256 bytes, interpreters at most five deep (fs/exec.c).
constexpr size_t kScriptLineBytes = 256;
constexpr int kInterpretersMax = 5;

Result<void> check_executable(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    return system_error(path, errno);
  }
  if (S_ISDIR(info.st_mode)) {
    return Error{path + " is a directory", EISDIR};
  }
  if (!S_ISREG(info.st_mode)) {
    return Error{path + " is not a regular file", EACCES};
  }
  if (faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) {
    return Error{path + " is not executable for this user (or its file system is noexec)", errno};
  }
  return {};
}

Result<void> check_privileges(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    return system_error(path, errno);
  }
  const auto refuse = [&path](const char* what) {
    return Error{fmt::format("{} {}: the loader would ignore LD_PRELOAD", path, what), EPERM};
  };
  if ((info.st_mode & S_ISUID) != 0) {
    return refuse("is setuid");
  }
  if ((info.st_mode & S_ISGID) != 0) {
    return refuse("is setgid");
  }
  if (getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
    return refuse("has file capabilities");
  }
  return {};
}

Result<void> check_loader(const std::string& path, int fd, const Elf64_Phdr& header) {
  char loader[PATH_MAX] = {};
  if (header.p_filesz == 0 || header.p_filesz >= sizeof loader ||
      pread(fd, loader, header.p_filesz, static_cast<off_t>(header.p_offset)) !=
          static_cast<ssize_t>(header.p_filesz)) {
    return Error{path + " is damaged: its loader's name cannot be read", ENOEXEC};
  }
  const std::string_view name(loader);
  if (!name.ends_with("/ld-linux-x86-64.so.2")) {
    return Error{
        fmt::format("{} uses the loader {}; only glibc's ld-linux-x86-64.so.2 is supported", path,
                    name),
        ENOEXEC};
  }
  return check_executable(loader);
}

Result<void> check_elf(const std::string& path, int fd) {
  Elf64_Ehdr elf{};
  const ssize_t length = pread(fd, &elf, sizeof elf, 0);
  if (length >= EI_NIDENT && elf.e_ident[EI_CLASS] != ELFCLASS64) {
    return Error{path + " is a 32-bit program; only x86-64 is supported", ENOEXEC};
  }
  if (length != sizeof elf || elf.e_ident[EI_DATA] != ELFDATA2LSB || elf.e_machine != EM_X86_64) {
    return Error{path + " is a program for another machine; only x86-64 is supported", ENOEXEC};
  }
  if (elf.e_type != ET_EXEC && elf.e_type != ET_DYN) {
    return Error{path + " is an ELF file but not a program", ENOEXEC};
  }
  for (unsigned i = 0; i < elf.e_phnum; ++i) {
    Elf64_Phdr header{};
    const off_t at = static_cast<off_t>(elf.e_phoff + uint64_t{i} * elf.e_phentsize);
    if (pread(fd, &header, sizeof header, at) != sizeof header) {
      return Error{path + " is damaged: its program headers cannot be read", ENOEXEC};
    }
    if (header.p_type == PT_INTERP) {
      return check_loader(path, fd, header);
    }
  }
  return Error{path +
                   " is statically linked: it has no loader that could preload the shim (a "
                   "dynamically linked build of it is needed)",
               ENOEXEC};
}

// The interpreter of a "#!" line, as the kernel cuts it: after blanks, up to a blank or the end.
Result<std::string> interpreter_of(const std::string& path, std::string_view line) {
  line.remove_prefix(2);
  const size_t first = line.find_first_not_of(" \t");
  const size_t newline = line.find_first_of("\n\0");
  if (first == std::string_view::npos || first >= newline) {
    return Error{path + " starts with #! but names no interpreter", ENOEXEC};
  }
  line.remove_prefix(first);
  return std::string(line.substr(0, line.find_first_of(std::string_view(" \t\n\0", 4))));
}

Error in_script(const std::string& script, const Error& error) {
  return Error{fmt::format("{} (the interpreter of {})", error.message, script), error.number};
}

Result<void> check_at_depth(const std::string& path, int depth) {
  FTRUN_TRY(check_executable(path));
  FTRUN_TRY(check_privileges(path));
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    return system_error(path + " cannot be examined", errno);
  }
  char start[kScriptLineBytes] = {};
  const ssize_t length = pread(file.get(), start, sizeof start, 0);
  if (length >= SELFMAG && std::memcmp(start, ELFMAG, SELFMAG) == 0) {
    return check_elf(path, file.get());
  }
  if (length < 2 || std::memcmp(start, "#!", 2) != 0) {
    return Error{path +
                     " is neither an ELF program nor a script that starts with #!: execve would "
                     "refuse it (Exec format error)",
                 ENOEXEC};
  }
  if (depth == kInterpretersMax) {
    return Error{path + ": too many interpreters of interpreters", ELOOP};
  }
  auto interpreter = interpreter_of(path, {start, static_cast<size_t>(length)});
  FTRUN_TRY(interpreter);
  const Result<void> inner = check_at_depth(*interpreter, depth + 1);
  return inner.ok() ? inner : Result<void>(in_script(path, inner.error()));
}

}  // namespace

Result<std::string> find_program(const std::string& name, const std::string& search_path) {
  if (name.empty()) {
    return Error{"the program's name is empty", ENOENT};
  }
  if (name.find('/') != std::string::npos) {
    FTRUN_TRY(check_executable(name));
    return name;
  }
  std::string refused;
  std::string_view rest = search_path;
  for (;;) {
    const size_t colon = rest.find(':');
    const std::string_view entry = rest.substr(0, colon);
    const std::string candidate = entry.empty() ? "./" + name : fmt::format("{}/{}", entry, name);
    const Result<void> usable = check_executable(candidate);
    if (usable.ok()) {
      return candidate;
    }
    if (usable.error().number == EACCES && refused.empty()) {
      refused = usable.error().message;
    }
    if (colon == std::string_view::npos) {
      break;
    }
    rest.remove_prefix(colon + 1);
  }
  return refused.empty()
             ? Error{fmt::format("{}: not found in PATH ({})", name, search_path), ENOENT}
             : Error{refused, EACCES};
}

Result<void> check_program(const std::string& path) {
  return check_at_depth(path, 0);
}

Result<std::string> find_preload_library() {
  char self[PATH_MAX] = {};
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length <= 0) {
    return system_error("/proc/self/exe", errno);
  }
  const std::string directory(self, std::string_view(self).rfind('/'));
  const std::array<std::string, 2> places = {directory + "/libftpreload.so",
                                             directory + "/../lib/ftrun/libftpreload.so"};
  for (const std::string& place : places) {
    if (access(place.c_str(), R_OK) == 0) {
      char* real = realpath(place.c_str(), nullptr);
      const std::string found = real == nullptr ? place : real;
      free(real);
      return found;
    }
  }
  return Error{
      fmt::format("libftpreload.so is missing: looked for {} and {}", places[0], places[1]),
      ENOENT};
}

}  // namespace ftrun::process
