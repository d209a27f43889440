// SPDX-License-Identifier: Apache-2.0
// Pipes inside the process: see pipe.h; the model is fs/pipe.c of Linux 6.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/pipe.h"

#include "preload/net/descriptors.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

constexpr uint32_t kPageBytes = 4096;
constexpr uint32_t kPagesDefault = 16;  // PIPE_DEF_BUFFERS: 64 KiB (pipe(7))

// A slot of the kernel's ring. It is in use until its last byte is read, however few it holds: that
// decides when a pipe is full, and a program that counts what fits must find the same.
struct Page {
  Page* next;
  uint32_t begin;
  uint32_t end;
  bool packet;  // O_DIRECT: one write, one read; takes no more bytes
  uint8_t bytes[kPageBytes];
};

struct PipeEnd;

struct Pipe {
  Page* first = nullptr;  // pages in use, oldest first
  Page* last = nullptr;
  uint32_t pages = 0;
  uint32_t pages_max = kPagesDefault;
  // Polled at least once (poll_usage of the kernel): edge-triggered watchers, who rely on it, hear
  // of every write from then on; else only of the first into an empty pipe.
  bool polled = false;
  PipeEnd* reader = nullptr;  // nullptr once closed
  PipeEnd* writer = nullptr;
};

struct PipeEnd : File {
  Pipe* pipe = nullptr;
};

constinit Pool<Page> g_pages;
constinit Pool<Pipe> g_pipes;
constinit Pool<PipeEnd> g_ends;

bool is_full(const Pipe* pipe) {
  return pipe->pages >= pipe->pages_max;
}
Pipe* pipe_of(const File* file) {
  return static_cast<const PipeEnd*>(file)->pipe;
}

uint32_t pipe_poll(File* file, uint32_t) {
  Pipe* pipe = pipe_of(file);
  pipe->polled = true;
  uint32_t events = 0;
  if (file == pipe->reader) {
    events |= pipe->pages > 0 ? EPOLLIN | EPOLLRDNORM : 0u;
    events |= pipe->writer == nullptr ? EPOLLHUP : 0u;
  } else {
    events |= !is_full(pipe) ? EPOLLOUT | EPOLLWRNORM : 0u;
    events |= pipe->reader == nullptr ? EPOLLERR : 0u;
  }
  return events;
}

// Readers and writers wait exclusively (wait_event_interruptible_exclusive): the oldest is woken,
// and wakes the next one itself if something is left when it is done. So nobody is woken for
// nothing, and who gets what does not rest on how many wait.
void notify_readable(Pipe* pipe) {
  if (pipe->reader != nullptr) {
    wake(&pipe->reader->readers, 1);
    notify(pipe->reader, EPOLLIN | EPOLLRDNORM);
  }
}

void notify_writable(Pipe* pipe) {
  if (pipe->writer != nullptr) {
    wake(&pipe->writer->writers, 1);
    notify(pipe->writer, EPOLLOUT | EPOLLWRNORM);
  }
}

void drop_first_page(Pipe* pipe) {
  Page* page = pipe->first;
  pipe->first = page->next;
  if (pipe->first == nullptr) {
    pipe->last = nullptr;
  }
  --pipe->pages;
  g_pages.put(page);
}

// Takes what is there; -EAGAIN if nothing is and a writer is left.
long read_pages(Pipe* pipe, IoCursor* to) {
  if (pipe->pages == 0) {
    return pipe->writer == nullptr ? 0 : -EAGAIN;
  }
  const bool was_full = is_full(pipe);
  long done = 0;
  bool packet = false;
  while (pipe->pages > 0 && to->left() > 0 && !packet) {
    Page* page = pipe->first;
    const size_t n = to->put(page->bytes + page->begin, page->end - page->begin);
    if (to->has_fault()) {
      done = after_fault(done);
      break;
    }
    done += static_cast<long>(n);
    page->begin += static_cast<uint32_t>(n);
    packet = page->packet;
    if (packet || page->begin == page->end) {
      drop_first_page(pipe);
    }
  }
  // Not for each page: watchers of an edge hear once that a full pipe has room.
  if (was_full) {
    notify_writable(pipe);
  }
  if (pipe->pages > 0) {
    wake(&pipe->reader->readers, 1);  // another blocked reader may go on
  }
  return done;
}

long pipe_read(File* file, IoCursor* to, int flags) {
  if (to->left() == 0) {
    return 0;
  }
  const long result = attempt_or_wait(file, &file->readers, is_nonblocking(file, flags), -1,
                                      [&] { return read_pages(pipe_of(file), to); });
  if (pipe_of(file)->writer != nullptr) {
    tell_owner(pipe_of(file)->writer, POLL_OUT);  // whatever came of it, as the kernel does
  }
  return result;
}

// Appends to the newest page the part of the data that would not fill whole pages, if it fits.
// The kernel's order: the odd part first, into what is left of the newest page, then whole pages. A
// write of PIPE_BUF, a page, or less so goes into one page as a whole, old or new, and is neither
// split nor mixed with another's bytes (pipe(7)).
size_t merge_into_last(Pipe* pipe, IoCursor* from) {
  const size_t odd = from->left() % kPageBytes;
  Page* last = pipe->last;
  if (odd == 0 || last == nullptr || last->packet || last->end + odd > kPageBytes) {
    return 0;
  }
  // What a fault leaves behind `end` is not in the pipe.
  if (from->get(last->bytes + last->end, odd) != odd) {
    return 0;
  }
  last->end += static_cast<uint32_t>(odd);
  return odd;
}

size_t append_page(Pipe* pipe, IoCursor* from, bool packet) {
  Page* page = g_pages.get_raw();
  page->next = nullptr;
  page->begin = 0;
  page->end = static_cast<uint32_t>(from->get(page->bytes, kPageBytes));
  if (from->has_fault()) {
    g_pages.put(page);
    return 0;
  }
  page->packet = packet;
  (pipe->last != nullptr ? pipe->last->next : pipe->first) = page;
  pipe->last = page;
  ++pipe->pages;
  return page->end;
}

long broken_pipe() {
  raise_sigpipe();
  return -EPIPE;
}

// Waits until the full pipe has room or no reader. 0, or the error to return.
long wait_for_room(File* file, int flags) {
  return attempt_or_wait(file, &file->writers, is_nonblocking(file, flags), -1, [&]() -> long {
    const Pipe* pipe = pipe_of(file);
    return is_full(pipe) && pipe->reader != nullptr ? -EAGAIN : 0;
  });
}

long pipe_write(File* file, IoCursor* from, int flags) {
  Pipe* pipe = pipe_of(file);
  if (from->left() == 0) {
    return 0;
  }
  if (pipe->reader == nullptr) {
    return broken_pipe();
  }
  const bool packet = (file->status_flags & O_DIRECT) != 0;
  bool was_empty = pipe->pages == 0;
  long done = static_cast<long>(merge_into_last(pipe, from));
  long error = 0;
  while (from->left() > 0) {
    if (from->has_fault()) {
      error = -EFAULT;
      break;
    }
    // Looked at again after each wait: meanwhile the reader may have gone, another writer may have
    // filled the pipe, or its size may be another. The pipe itself stays: this end is held.
    if (pipe->reader == nullptr) {
      error = broken_pipe();  // the signal comes also where a part was written (pipe_write() there)
      break;
    }
    if (!is_full(pipe)) {
      done += static_cast<long>(append_page(pipe, from, packet));
      continue;
    }
    if (!is_nonblocking(file, flags) && was_empty) {
      notify_readable(pipe);  // ORDER: readers learn of the bytes before this thread sleeps
    }
    if (!is_nonblocking(file, flags)) {
      tell_owner(pipe->reader, POLL_IN);
    }
    error = wait_for_room(file, flags);
    if (error < 0) {
      break;
    }
    was_empty = pipe->pages == 0;
  }
  if (was_empty || pipe->polled) {
    notify_readable(pipe);
  }
  if (pipe->reader != nullptr) {
    tell_owner(pipe->reader, POLL_IN);
  }
  if (!is_full(pipe)) {
    wake(&file->writers, 1);  // another blocked writer may go on
  }
  return done > 0 ? done : error;
}

long pipe_room(File* file, int flags) {
  const long error = wait_for_room(file, flags);
  const Pipe* pipe = pipe_of(file);
  // A reader that goes ends the wait too, but is an error of its own.
  if (error < 0 || pipe->reader == nullptr) {
    return error < 0 ? error : broken_pipe();
  }
  return static_cast<long>(pipe->pages_max - pipe->pages) * kPageBytes;
}

void pipe_release(File* file) {
  Pipe* pipe = pipe_of(file);
  PipeEnd* other = nullptr;
  if (file == pipe->reader) {
    pipe->reader = nullptr;
    other = pipe->writer;
  } else {
    pipe->writer = nullptr;
    other = pipe->reader;
  }
  // ORDER: the pipe no longer names this end when the other one's waiters look: they are to find
  // the end of the file, or nobody to write to.
  g_ends.put(static_cast<PipeEnd*>(file));
  if (other != nullptr) {
    wake(&other->readers, kWakeAll);
    wake(&other->writers, kWakeAll);
    notify(other, kKeyAny);
    tell_owner(other, other == pipe->reader ? POLL_IN : POLL_OUT);
    return;
  }
  while (pipe->pages > 0) {
    drop_first_page(pipe);
  }
  g_pipes.put(pipe);
}

constexpr FileOps kPipeOps = {FileType::kPipe, pipe_poll, pipe_read,
                              pipe_write,      pipe_room, pipe_release};

PipeEnd* end_create(Pipe* pipe, int status_flags) {
  PipeEnd* end = g_ends.get();
  file_init(end, &kPipeOps, status_flags);
  end->pipe = pipe;
  return end;
}

}  // namespace

long net_pipe(int fds[2], int flags) {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) != 0) {
    return -EINVAL;
  }
  const bool close_on_exec = (flags & O_CLOEXEC) != 0;
  const int status_flags = flags & (O_NONBLOCK | O_DIRECT);
  // The reader is made first and gets the lower number, as in the kernel; an inode number is used
  // up each time, whether or not there are descriptors left.
  Pipe* pipe = g_pipes.get();
  pipe->reader = end_create(pipe, O_RDONLY | (status_flags & O_NONBLOCK));
  pipe->writer = end_create(pipe, O_WRONLY | status_flags);
  pipe->writer->inode = pipe->reader->inode;  // fstat shows one pipe
  File* reader = pipe->reader;
  File* writer = pipe->writer;
  const long read_fd = install_file(reader, 0, close_on_exec);
  if (read_fd < 0) {
    file_release(reader);
    file_release(writer);
    return read_fd;
  }
  const long write_fd = install_file(writer, 0, close_on_exec);
  if (write_fd < 0) {
    net_close(static_cast<int>(read_fd));
    file_release(writer);
    return write_fd;
  }
  fds[0] = static_cast<int>(read_fd);
  fds[1] = static_cast<int>(write_fd);
  return 0;
}

long pipe_capacity(File* file, bool set, unsigned long bytes) {
  if (file->ops->type != FileType::kPipe) {
    return -EBADF;
  }
  Pipe* pipe = pipe_of(file);
  if (set) {
    if (bytes > (1UL << 31)) {
      return -EINVAL;
    }
    // Bytes are asked for and told, pages are what counts.
    uint32_t pages = 1;  // the kernel rounds up to a power of two
    while (static_cast<unsigned long>(pages) * kPageBytes < bytes) {
      pages *= 2;
    }
    // More than every pipe has is a matter of limits and privileges.
    const bool asks = pages > pipe->pages_max && pages > kPagesDefault;
    const long error = asks ? ask_pipe_capacity(pages * size_t{kPageBytes}) : 0;
    if (error < 0) {
      return error;
    }
    if (pages < pipe->pages) {
      return -EBUSY;
    }
    pipe->pages_max = pages;
    if (pipe->writer != nullptr) {
      wake(&pipe->writer->writers, 1);
      notify(pipe->writer, kKeyAny);
    }
  }
  return static_cast<long>(pipe->pages_max) * kPageBytes;
}

File* pipe_reopen(File* file, int status_flags) {
  Pipe* pipe = pipe_of(file);
  const int access = status_flags & O_ACCMODE;
  if (access == O_RDWR) {
    return nullptr;
  }
  PipeEnd** end = access == O_RDONLY ? &pipe->reader : &pipe->writer;
  // The kernel would make a new description with flags of its own; here both names share one, with
  // the flags of the first.
  if (*end != nullptr) {
    file_retain(*end);
    return *end;
  }
  *end = end_create(pipe, status_flags);
  (*end)->inode = file->inode;
  notify(file, kKeyAny);
  return *end;
}

size_t pipe_bytes(const File* file) {
  size_t bytes = 0;
  for (const Page* page = pipe_of(file)->first; page != nullptr; page = page->next) {
    bytes += page->end - page->begin;
  }
  return bytes;
}

}  // namespace ftrun::shim
