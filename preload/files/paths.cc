// SPDX-License-Identifier: Apache-2.0
// See paths.h. Runs in the application with the token held; no libc.
#include "preload/files/paths.h"

#include <errno.h>
#include <fcntl.h>

#include "eventlog/shared_region.h"
#include "preload/calls.h"
#include "preload/guarded.h"
#include "preload/raw.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

char state_directories[kStateDirectoriesBytes];

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
// By name: where a link stands before "..", the kernel goes elsewhere, and the class is that of
// another directory. It is the same in every replica all the same, and what can be written is
// decided by the kernel's view (paths.h).
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

}  // namespace

Path::Path(long address) {
  const long length = string_in(text_, reinterpret_cast<const char*>(address), sizeof(text_));
  error_ = length < 0 ? length : length == sizeof(text_) ? -ENAMETOOLONG : 0;
}

bool absolute_path(int directory_fd, const char* path, char* out) {
  size_t length = 0;
  out[0] = '\0';
  if (path[0] != '/') {
    // Native, without a record: replicas begin in the same directory, and chdir is replicated.
    char base[kPathBytesMax];
    const bool has_base = directory_fd == AT_FDCWD ? raw(__NR_getcwd, base, sizeof(base)) > 0
                                                   : name_of_descriptor(directory_fd, base);
    if (!has_base || !append_parts(out, &length, base)) {
      return false;
    }
  }
  return append_parts(out, &length, path);
}

bool resolve_link(char* absolute, const char* target) {
  size_t length = target[0] == '/' ? 0 : length_of(absolute);
  while (length > 0 && absolute[--length] != '/') {
  }
  absolute[length] = '\0';
  return append_parts(absolute, &length, target);
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
  // ORDER: state directories were looked for first: one may lie in these.
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
  const char* name = absolute_path(directory_fd, path, absolute) ? absolute : path;
  // What no state directory can be.
  // The line is output and compared: it says nothing but the name, which all replicas have.
  const bool is_kernel = under(name, "/proc") || under(name, "/sys") || under(name, "/dev");
  Text text;
  text.add("write outside the state directories refused: ").add(name);
  text.add(is_kernel ? " (settings of the process and of the host stay as they are)\n"
                     : " (name its directory with --state-dir)\n");
  shim_notice(text.c_str());
  return -EROFS;
}

bool is_harmless_device(const char* path) {
  return under(path, "/dev/null") || under(path, "/dev/zero") || under(path, "/dev/full") ||
         under(path, "/dev/random") || under(path, "/dev/urandom");
}

bool has_state_directories() {
  return state_directories[0] != '\0';
}

bool is_under_proc(const char* absolute) {
  return under(absolute, "/proc");
}

// Of a file that was removed meanwhile the kernel's name ends in " (deleted)"; for its class, which
// is that of the directory, this makes no difference.
bool name_of_descriptor(int fd, char* out) {
  Text link;
  link.add("/proc/self/fd/").add(static_cast<int64_t>(fd));
  const long n = raw(__NR_readlink, link.c_str(), out, kPathBytesMax - 1);
  if (n > 0) {
    out[n] = '\0';
  }
  return n > 0;
}

void files_init(const char* directories) {
  for (size_t i = 0; i + 1 < sizeof(state_directories) && directories[i] != '\0'; ++i) {
    state_directories[i] = directories[i];
  }
}

}  // namespace ftrun::shim
