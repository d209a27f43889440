// SPDX-License-Identifier: Apache-2.0
// An open file description: what all virtual objects have in common. Objects derive from File;
// descriptor numbers, threads inside a call and a listener's queue hold references to it.
// Runs in the application with the token held; no libc, no system calls.
//
// Readiness works as in the kernel: an object calls notify() when its state changes, with the poll
// events that this change brings (0: unknown, everybody looks). Watches are epoll items and threads
// in poll/select; they ask ops->poll() for the state, all of it: what is wanted is a hint.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "preload/env.h"
#include "preload/net/bytes.h"

namespace ftrun::shim {

struct File;
struct SocketOps;  // socket.h

enum class FileType : uint8_t {
  kTcp,
  kPair,
  kPipe,
  kEpoll,
  kEvent,
  kTimer,
  kConsole,
  kFifo,
  kQuery
};

// Behaviour of one type. `flags` are MSG_*; a null function means -EINVAL.
struct FileOps {
  FileType type;
  uint32_t (*poll)(File*, uint32_t wanted);  // `wanted`: events that the caller asks for
  long (*read)(File*, IoCursor*, int flags);
  long (*write)(File*, IoCursor*, int flags);
  long (*room)(File*, int flags);  // bytes that a write would take now; may block
  void (*release)(File*);          // the last reference is gone; gives the object back to its pool
  void (*stat)(const File*, struct stat*) = nullptr;  // null: what the type says
  void (*last_close)(File*, int fd) = nullptr;        // before the last number is given back
  const SocketOps* socket = nullptr;                  // what only sockets do; null: none is
};

enum class WatchKind : uint8_t { kEpollItem, kPoller };

// Somebody's interest in a file; linked into File::watches.
struct Watch {
  Watch* next = nullptr;
  Watch* previous = nullptr;
  File* file = nullptr;
  WatchKind kind = WatchKind::kEpollItem;
  bool exclusive = false;
};

// Who is sent signals about a file (fcntl(2), F_SETOWN and its kin); nobody while `id` is 0.
struct FileOwner {
  int type = F_OWNER_PID;
  int id = 0;
  int signal = 0;  // F_SETSIG; 0: SIGIO, which does not say why
  int fd = -1;     // through which O_ASYNC was set
};

struct File {
  const FileOps* ops = nullptr;
  uint32_t references = 1;
  int status_flags = O_RDWR;  // as F_GETFL
  FileOwner owner;
  uint64_t inode = 0;
  int permissions = -1;  // as fchmod has set them; -1: what the type has
  Watch* watch_first = nullptr;
  Watch* watch_last = nullptr;
  WaitQueue readers;
  WaitQueue writers;
};

inline bool is_socket(const File* file) {
  return file->ops->socket != nullptr;
}
inline bool is_nonblocking(const File* file, int flags) {
  return (file->status_flags & O_NONBLOCK) != 0 || (flags & MSG_DONTWAIT) != 0;
}

// Fills in the common part of a fresh object (one reference, the next inode number).
void file_init(File* file, const FileOps* ops, int status_flags);
inline void file_retain(File* file) {
  ++file->references;
}
void file_release(File* file);

// A reference for as long as a call may give up the token: the descriptor may be closed meanwhile.
class FileHold {
 public:
  explicit FileHold(File* file) : file_(file) { file_retain(file); }
  ~FileHold() { file_release(file_); }
  FileHold(const FileHold&) = delete;
  FileHold& operator=(const FileHold&) = delete;

 private:
  File* file_;
};

// --- readiness ---

// Kernel order: ordinary watches are added in front, exclusive ones at the end.
void watch_add(File* file, Watch* watch);
void watch_remove(Watch* watch);

inline constexpr uint32_t kKeyAny = 0;
inline constexpr uint32_t kKeyReadable = EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND;
inline constexpr uint32_t kKeyWritable = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
void notify_watches(File* file, uint32_t key);
inline void notify(File* file, uint32_t key) {
  if (file->watch_first != nullptr) {
    notify_watches(file, key);
  }
}
// Reasons are siginfo's POLL_*. Sends the owner of a file with O_ASYNC its signal (kill_fasync).
void signal_owner(const File* file, int reason);
inline void tell_owner(const File* file, int reason) {
  if ((file->status_flags & O_ASYNC) != 0) {
    signal_owner(file, reason);
  }
}
// The same, unless a thread waits for input in a read (SOCKWQ_ASYNC_WAITDATA).
inline void tell_owner_of_input(const File* file, int reason) {
  if (file->readers.first == nullptr) {
    tell_owner(file, reason);
  }
}
// Urgent data: SIGURG for the owner, with or without O_ASYNC.
void tell_owner_of_urgent(const File* file);

inline constexpr int kWakeAll = 0x7fffffff;
inline void wake(WaitQueue* queue, int count) {
  if (queue->first != nullptr) {
    sched_wake(queue, count);
  }
}

// Implemented by epoll.cc: the item's file changed. True if an exclusive wake-up was used up.
bool epoll_item_notified(Watch* item, uint32_t key);
// Removes the item from its epoll: the file is going away.
void epoll_item_orphaned(Watch* item);
// Implemented by poll.cc.
bool poller_notified(Watch* watch, uint32_t key);

// --- waiting ---

// Deadline of a wait of `timeout_ns` (< 0: for ever) from now.
int64_t deadline_after(int64_t timeout_ns);
// What a call returns whose sched_wait() ended early: `timeout_ns` < 0 means it had no time-out.
long wait_error(int error, int64_t timeout_ns);

// Tries `attempt` until it returns something other than -EAGAIN, waiting on `queue` in between.
// After every wait, however it ended, the state is looked at first, as the kernel does.
template <typename Attempt>
long attempt_or_wait(File* file, WaitQueue* queue, bool nonblocking, int64_t timeout_ns,
                     Attempt attempt) {
  long result = attempt();
  if (result != -EAGAIN || nonblocking) {
    return result;
  }
  FileHold hold(file);
  const int64_t deadline = deadline_after(timeout_ns);
  int error = 0;
  while (error == 0) {
    error = sched_wait(queue, deadline);
    result = attempt();
    if (result != -EAGAIN) {
      return result;
    }
  }
  return wait_error(error, timeout_ns);
}

// --- notices: one line for the unit's events ---

class Notice {
 public:
  Notice& text(const char* words);
  Notice& number(int64_t value);
  Notice& constant(const char* name, int64_t value);     // the number where it has no name
  Notice& address(const uint8_t* bytes, size_t length);  // a socket address
  void emit();

 private:
  char line_[240] = {};
  size_t length_ = 0;
};

}  // namespace ftrun::shim
