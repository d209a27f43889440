// SPDX-License-Identifier: Apache-2.0
// Virtual descriptors by their names under /proc/self/fd: opening them again (/dev/stdout), and
// what the link says. Runs in the application with the token held; no libc, no system calls.
#include "preload/net/console.h"
#include "preload/net/descriptors.h"
#include "preload/net/pipe.h"

namespace ftrun::shim {
namespace {

// The link's text, as fs/pipe.c, net/socket.c and fs/anon_inodes.c write it.
const char* name_before_inode(FileType type) {
  switch (type) {
    case FileType::kTcp:
    case FileType::kPair:
    case FileType::kQuery:
      return "socket:[";
    case FileType::kPipe:
    case FileType::kConsole:
    case FileType::kFifo:
      return "pipe:[";
    case FileType::kEpoll:
      return "anon_inode:[eventpoll]";
    case FileType::kEvent:
      return "anon_inode:[eventfd]";
    case FileType::kTimer:
      return "anon_inode:[timerfd]";
  }
  return "";
}

}  // namespace

long net_reopen(int fd, int flags) {
  File* file = virtual_file(fd);
  if (file == nullptr) {
    return -ENOENT;
  }
  if ((flags & O_DIRECTORY) != 0) {
    return -ENOTDIR;
  }
  const int status_flags = flags & (O_ACCMODE | O_APPEND | O_NONBLOCK);
  File* again = nullptr;
  if (file->ops->type == FileType::kConsole) {
    // A description of its own with flags of its own, onto the same stream.
    again = console_create(console_stream(file));
    again->status_flags = status_flags;
  } else if (file->ops->type == FileType::kPipe) {
    again = pipe_reopen(file, status_flags);
  }
  if (again == nullptr) {
    return -ENXIO;  // sockets and anonymous inodes cannot be opened by name
  }
  const long result = install_file(again, 0, (flags & O_CLOEXEC) != 0);
  if (result < 0) {
    file_release(again);
  }
  return result;
}

long net_link_name(int fd, char* out, size_t size) {
  const File* file = virtual_file(fd);
  if (file == nullptr) {
    return -ENOENT;
  }
  char text[48] = {};
  size_t length = 0;
  for (const char* c = name_before_inode(file->ops->type); *c != '\0'; ++c) {
    text[length++] = *c;
  }
  if (text[length - 1] == '[') {
    char digits[24];
    size_t count = 0;
    // The inode number is the shim's (file.cc) and the one that fstat shows.
    for (uint64_t rest = file->inode; count == 0 || rest != 0; rest /= 10) {
      digits[count++] = static_cast<char>('0' + rest % 10);
    }
    while (count > 0) {
      text[length++] = digits[--count];
    }
    text[length++] = ']';
  }
  length = length < size ? length : size;
  __builtin_memcpy(out, text, length);
  return static_cast<long>(length);
}

}  // namespace ftrun::shim
