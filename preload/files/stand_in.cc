// SPDX-License-Identifier: Apache-2.0
// See stand_in.h. Runs in the application with the token held; no libc. Objects take the lowest
// free numbers for a moment in which no other thread runs.
#include "preload/files/stand_in.h"

#include <errno.h>
#include <time.h>

#include "preload/net/descriptors.h"
#include "preload/net/socket.h"

namespace ftrun::shim {

StandIn::StandIn(int fd) {
  const File* file = virtual_file(fd);
  int ends[2] = {-1, -1};
  // In the primary alone, inside the choice: a secondary's kernel is not asked.
  switch (file->ops->type) {
    case FileType::kTcp:
    case FileType::kQuery: {
      const auto* socket = static_cast<const Socket*>(file);
      fd_ = raw(__NR_socket, socket->family, socket->kind, socket->protocol);
      return;
    }
    case FileType::kPair:
      fd_ = raw(__NR_socketpair, AF_UNIX, static_cast<const Socket*>(file)->kind, 0, ends);
      break;
    case FileType::kPipe:
    case FileType::kConsole:
      fd_ = raw(__NR_pipe2, ends, 0);
      break;
    case FileType::kFifo:
      fd_ = raw(__NR_dup, fd);  // the kernel's pipe stands behind the number
      return;
    case FileType::kEvent:
      fd_ = raw(__NR_eventfd2, 0, 0);
      return;
    case FileType::kTimer:
      fd_ = raw(__NR_timerfd_create, CLOCK_MONOTONIC, 0);
      return;
    case FileType::kEpoll:
      fd_ = raw(__NR_epoll_create1, 0);
      return;
  }
  if (fd_ == 0) {
    // The kernel answers differently for the two ends of a pipe: the one that the program has.
    const bool writes = (file->status_flags & O_ACCMODE) == O_WRONLY;
    fd_ = ends[writes ? 1 : 0];
    other_ = ends[writes ? 0 : 1];
  }
}

StandIn::~StandIn() {
  for (const long fd : {fd_, other_}) {
    if (fd >= 0) {
      raw(__NR_close, fd);
    }
  }
}

}  // namespace ftrun::shim
