// SPDX-License-Identifier: Apache-2.0
// See fifo.h; the model is fs/pipe.c of Linux 6. Runs in the application with the token held; no
// libc.
//
// ORDER: what a look has found is taken out of the pipe at the next look at the earliest, and only
// once its record has been taken from the log ring. A record of a further look therefore tells that
// it was; a promoted replica without such a record compares.
#include "preload/files/fifo.h"

#include <sys/stat.h>

#include "preload/doors.h"
#include "preload/files/replicate.h"
#include "preload/net/descriptors.h"
#include "preload/net/pool.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {
namespace {

constexpr int64_t kLookIntervalNs = 10'000'000;
constexpr size_t kLookBytesMax = 16 * 1024;
constexpr size_t kUnreadBytesMax = 64 * 1024;  // beyond it nothing more is looked for
// Results of a look beside a number of bytes and 0 (nobody has it open to write).
constexpr long kNothingYet = -EAGAIN;     // somebody has, but has written nothing
constexpr long kNotTakenOutYet = -EBUSY;  // what was found last is still in the pipe: not looked

struct Fifo : File {
  Fifo* next = nullptr;  // of all that are open
  struct stat about = {};
  ByteQueue input;
  bool has_writer = false;
  bool had_writer = false;
  bool unsure = false;     // promoted since the last look: what was found may have been taken out
  uint64_t looked_in = 0;  // in which live period this replica has looked itself; 0: in none
  int64_t looked_ns = 0;
  uint64_t log_position = 0;  // behind the record of what was found last
  uint32_t found = 0;         // its bytes, still in the pipe
  uint8_t bytes[kLookBytesMax];
};

constinit Pool<Fifo> g_fifos;
constinit Fifo* g_first = nullptr;

bool reads(const Fifo* fifo) {
  return (fifo->status_flags & O_ACCMODE) != O_WRONLY;
}

// Copies what is in the pipe without taking it out: as read(2), but for O_NONBLOCK.
long peek(int fd, uint8_t* to) {
  int ends[2] = {-1, -1};
  if (raw(__NR_pipe2, ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    return kNotTakenOutYet;  // no descriptors: later
  }
  constexpr unsigned kNonblocking = 2;  // SPLICE_F_NONBLOCK
  long result = raw(__NR_tee, fd, ends[1], kLookBytesMax, kNonblocking);
  if (result > 0) {
    result = raw(__NR_read, ends[0], to, kLookBytesMax);
  }
  raw(__NR_close, ends[0]);
  raw(__NR_close, ends[1]);
  return result;
}

void drop(Fifo* fifo, int fd) {
  uint8_t away[kLookBytesMax];
  raw(__NR_read, fd, away, fifo->found);
  fifo->found = 0;
}

// After a promotion: the dead primary may have taken out what it found last. Then the pipe does not
// begin with these bytes, unless the same have been written again meanwhile.
void settle(Fifo* fifo, int fd) {
  uint8_t now[kLookBytesMax];
  const long there = peek(fd, now);
  fifo->unsure = false;
  if (there < static_cast<long>(fifo->found) ||
      __builtin_memcmp(now, fifo->bytes, fifo->found) != 0) {
    fifo->found = 0;
  }
}

// Primary: one look. Only here, where this replica looks itself, is it known whether it is the
// first time since it went live.
long look_natively(Fifo* fifo) {
  const int fd = fd_number_of(fifo);
  fifo->unsure = fifo->looked_in != doors_live_period();
  fifo->looked_in = doors_live_period();
  if (fifo->found != 0 && fifo->unsure) {
    settle(fifo, fd);
  }
  if (fifo->found != 0) {
    if (!doors_log_is_taken(fifo->log_position)) {
      return kNotTakenOutYet;
    }
    drop(fifo, fd);
  }
  return peek(fd, fifo->bytes);
}

void look(Fifo* fifo) {
  fifo->looked_ns = virtual_now_ns();
  const long result =
      choose_counted(__NR_tee, fifo->bytes, kLookBytesMax, [&] { return look_natively(fifo); });
  if (result == kNotTakenOutYet) {
    return;
  }
  fifo->log_position = doors_are_live() ? doors_log_written() : 0;
  fifo->found = result > 0 ? static_cast<uint32_t>(result) : 0;
  const bool had_one = fifo->has_writer;
  fifo->has_writer = result != 0;
  fifo->had_writer |= fifo->has_writer;
  if (result > 0) {
    fifo->input.append(fifo->bytes, fifo->found);
    wake(&fifo->readers, kWakeAll);
    notify(fifo, kKeyReadable);
  }
  if (had_one != fifo->has_writer) {
    wake(&fifo->readers, kWakeAll);
    notify(fifo, kKeyAny);
  }
}

bool is_due(const Fifo* fifo, int64_t now_ns) {
  return now_ns >= fifo->looked_ns + kLookIntervalNs;
}

bool is_awaited(const Fifo* fifo) {
  return reads(fifo) && fifo->input.size() < kUnreadBytesMax &&
         (fifo->watch_first != nullptr || fifo->readers.first != nullptr);
}

uint32_t fifo_poll(File* file, uint32_t) {
  auto* fifo = static_cast<Fifo*>(file);
  if (!reads(fifo)) {
    return EPOLLOUT | EPOLLWRNORM;
  }
  // Only what a poll would find empty is looked at, and not at each poll of a busy loop.
  if (fifo->input.size() == 0 && is_due(fifo, virtual_now_ns())) {
    look(fifo);
  }
  uint32_t events = fifo->input.size() != 0 ? EPOLLIN | EPOLLRDNORM : 0u;
  events |= fifo->had_writer && !fifo->has_writer ? EPOLLHUP : 0u;
  return events | ((fifo->status_flags & O_ACCMODE) == O_RDWR ? EPOLLOUT | EPOLLWRNORM : 0u);
}

long fifo_read(File* file, IoCursor* to, int flags) {
  auto* fifo = static_cast<Fifo*>(file);
  if (!reads(fifo)) {
    return -EBADF;
  }
  return attempt_or_wait(fifo, &fifo->readers, is_nonblocking(fifo, flags), -1, [&]() -> long {
    if (fifo->input.size() == 0) {
      look(fifo);
    }
    if (fifo->input.size() != 0) {
      const size_t taken = fifo->input.take(to, fifo->input.size());
      return taken != 0 || to->left() == 0 ? static_cast<long>(taken) : -EFAULT;
    }
    return fifo->has_writer ? -EAGAIN : 0;
  });
}

long fifo_write(File* file, IoCursor*, int) {
  if ((file->status_flags & O_ACCMODE) == O_RDONLY) {
    return -EBADF;
  }
  char name[kPathBytesMax];
  Text text;
  text.add("refused: writing to a named pipe outside the state directories: ");
  text.add(name_of_descriptor(fd_number_of(file), name) ? name : "?").add("\n");
  shim_notice(text.c_str());
  return -EROFS;
}

// What the application has read must be gone when the pipe is opened again.
void fifo_last_close(File* file, int fd) {
  auto* fifo = static_cast<Fifo*>(file);
  if (!reads(fifo)) {
    return;
  }
  // A record, so that a replica which goes live here knows that this has not been done.
  choose(__NR_tee, [&]() -> long {
    if (fifo->found != 0 && (fifo->unsure || fifo->looked_in != doors_live_period())) {
      settle(fifo, fd);
    }
    if (fifo->found != 0) {
      drop(fifo, fd);
    }
    return 0;
  });
}

void fifo_release(File* file) {
  auto* fifo = static_cast<Fifo*>(file);
  Fifo** link = &g_first;
  while (*link != fifo) {
    link = &(*link)->next;
  }
  *link = fifo->next;
  fifo->input.clear();
  g_fifos.put(fifo);
}

void fifo_stat(const File* file, struct stat* out) {
  *out = static_cast<const Fifo*>(file)->about;
}

constexpr FileOps kFifoOps = {FileType::kFifo, fifo_poll,    fifo_read, fifo_write,
                              nullptr,         fifo_release, fifo_stat, fifo_last_close};

// Waits until a writer has come; 0, or what ended the wait.
long wait_for_writer(Fifo* fifo) {
  return attempt_or_wait(fifo, &fifo->readers, false, -1, [&]() -> long {
    if (!fifo->had_writer) {
      look(fifo);
    }
    return fifo->had_writer ? 0 : -EAGAIN;
  });
}

}  // namespace

long fifo_install(int fd, long flags) {
  Fifo* fifo = g_fifos.get();
  file_init(fifo, &kFifoOps, static_cast<int>(flags & (O_ACCMODE | O_APPEND | O_NONBLOCK)));
  fifo->looked_in = doors_live_period();
  choose(__NR_fstat, &fifo->about, sizeof(fifo->about),
         [&] { return raw(__NR_fstat, fd, &fifo->about); });
  fifo->next = g_first;
  g_first = fifo;
  fd_set_virtual(fd, fifo, (flags & O_CLOEXEC) != 0);
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_NONBLOCK) != 0) {
    return fd;
  }
  if (const long error = wait_for_writer(fifo)) {
    net_close(fd);
    return error;
  }
  return fd;
}

bool is_fifo(int fd) {
  const File* file = virtual_file(fd);
  return file != nullptr && file->ops == &kFifoOps;
}

void fifo_dupped(int fd) {
  if (is_fifo(fd)) {
    const int other = fd_number_of(virtual_file(fd), fd);
    if (other >= 0) {
      raw(__NR_dup3, other, fd, O_CLOEXEC);
    }
  }
}

int64_t fifo_next_look_ns() {
  int64_t next = kNoDeadline;
  for (const Fifo* fifo = g_first; fifo != nullptr; fifo = fifo->next) {
    const int64_t due = fifo->looked_ns + kLookIntervalNs;
    if (is_awaited(fifo) && (next == kNoDeadline || due < next)) {
      next = due;
    }
  }
  return next;
}

void fifo_look_if_due(int64_t now_ns) {
  for (Fifo* fifo = g_first; fifo != nullptr; fifo = fifo->next) {
    if (is_awaited(fifo) && is_due(fifo, now_ns)) {
      look(fifo);
    }
  }
}

}  // namespace ftrun::shim
