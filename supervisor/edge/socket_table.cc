// SPDX-License-Identifier: Apache-2.0
// The shared table of client sockets: see socket_table.h. Runs in the supervisor.
#include "supervisor/edge/socket_table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "supervisor/base/memory_file.h"

namespace ftrun::edge {

uint64_t socket_cookie(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

SocketTable::SocketTable(SocketTable&& other) noexcept {
  *this = std::move(other);
}

SocketTable& SocketTable::operator=(SocketTable&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(memory_, other.memory_);
  return *this;
}

SocketTable::~SocketTable() {
  if (memory_ != nullptr) {
    munmap(memory_, sizeof(SocketTableMemory));
  }
  if (fd_ >= 0) {
    close(fd_);
  }
}

Result<void> SocketTable::map() {
  void* memory =
      mmap(nullptr, sizeof(SocketTableMemory), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (memory == MAP_FAILED) {
    return system_error("socket table: mmap", errno);
  }
  memory_ = static_cast<SocketTableMemory*>(memory);
  return {};
}

Result<SocketTable> SocketTable::create() {
  SocketTable table;
  const Result<int> file =
      make_memory_file(kSocketTableName, sizeof(SocketTableMemory), Allocated::kNo, "socket table");
  if (!file.ok()) {
    return file.error();
  }
  table.fd_ = *file;
  FTRUN_TRY(table.map());
  table.memory_->magic = kSocketTableMagic;
  return table;
}

Result<SocketTable> SocketTable::attach(int fd) {
  SocketTable table;
  table.fd_ = fd;
  struct stat status {};
  if (fstat(fd, &status) != 0) {
    return system_error("socket table: fstat", errno);
  }
  if (static_cast<size_t>(status.st_size) != sizeof(SocketTableMemory)) {
    return Error{"socket table: its size is not that of this version"};
  }
  FTRUN_TRY(table.map());
  if (table.memory_->magic != kSocketTableMagic) {
    return Error{"socket table: bad magic"};
  }
  return table;
}

void SocketTable::set(int fd, uint64_t cookie, SocketKind kind, uint32_t id, uint32_t listener,
                      uint32_t flags) {
  SocketLine& at = line(fd);
  at.cookie.store(0, std::memory_order_release);
  at.kind = kind;
  at.id = id;
  at.listener = listener;
  at.flags.store(flags, std::memory_order_relaxed);
  at.cookie.store(cookie, std::memory_order_release);
}

}  // namespace ftrun::edge
