// SPDX-License-Identifier: Apache-2.0
// Socketpairs inside the process: see pair.h; the model is net/unix/af_unix.c of Linux 6, but room
// is counted in payload bytes (the kernel counts the memory behind them).
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/pair.h"

#include "preload/net/descriptors.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

constexpr size_t kRoomBytes = 212992;              // net.core.wmem_default
constexpr size_t kWritableBelow = kRoomBytes / 4;  // unix_writable()
constexpr uint8_t kReceive = 1;
constexpr uint8_t kSend = 2;
constexpr uint8_t kBoth = 3;

struct Pair : File {
  Pair* other = nullptr;  // nullptr once it is closed
  int kind = SOCK_STREAM;
  int error = 0;
  uint8_t shut = 0;
  ByteQueue input;
};

constinit Pool<Pair> g_pairs;

void state_changed(Pair* end) {
  wake(&end->readers, kWakeAll);
  wake(&end->writers, kWakeAll);
  notify(end, kKeyAny);
}

uint32_t pair_poll(File* file) {
  const Pair* end = static_cast<Pair*>(file);
  uint32_t events = 0;
  events |= end->error != 0 ? EPOLLERR : 0u;
  events |= end->shut == kBoth ? EPOLLHUP : 0u;
  events |= (end->shut & kReceive) != 0 ? EPOLLRDHUP | EPOLLIN | EPOLLRDNORM : 0u;
  events |= end->input.size() > 0 ? EPOLLIN | EPOLLRDNORM : 0u;
  const bool writable = end->other == nullptr || end->other->input.size() <= kWritableBelow;
  return writable ? events | EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND : events;
}

void tell_room(Pair* end) {
  Pair* other = end->other;
  if (other != nullptr && end->input.size() <= kWritableBelow) {
    wake(&other->writers, kWakeAll);
    notify(other, kKeyWritable);
  }
}

struct Receive {
  Pair* end;
  IoCursor* to;
  int flags;
  size_t done = 0;
};

long receive_step(Receive* call, size_t target) {
  Pair* end = call->end;
  if (end->input.size() > call->done || (call->flags & MSG_PEEK) == 0) {
    if ((call->flags & MSG_PEEK) != 0) {
      call->done += end->input.peek(call->to, call->done, call->to->left());
    } else {
      const size_t n = end->input.take(call->to, call->to->left());
      call->done += n;
      if (n > 0) {
        tell_room(end);
      }
    }
  }
  if (call->done >= target) {
    return static_cast<long>(call->done);
  }
  const bool ended = end->error != 0 || (end->shut & kReceive) != 0;
  if (call->done > 0) {
    return ended ? static_cast<long>(call->done) : -EAGAIN;
  }
  const int error = end->error;
  end->error = 0;
  return ended ? -error : -EAGAIN;
}

long pair_read(File* file, IoCursor* to, int flags) {
  Pair* end = static_cast<Pair*>(file);
  const size_t length = to->left();
  const size_t target = (flags & MSG_WAITALL) != 0 && length > 0 ? length : 1;
  Receive call = {end, to, flags};
  const long result = attempt_or_wait(end, &end->readers, is_nonblocking(end, flags), -1,
                                      [&] { return receive_step(&call, target); });
  return result < 0 && call.done > 0 ? static_cast<long>(call.done) : result;
}

bool can_send(const Pair* end) {
  return (end->shut & kSend) == 0 && end->other != nullptr && (end->other->shut & kReceive) == 0;
}

size_t room_of(const Pair* end) {
  const size_t used = end->other->input.size();
  return used < kRoomBytes ? kRoomBytes - used : 0;
}

long broken(int flags) {
  if ((flags & MSG_NOSIGNAL) == 0) {
    raise_sigpipe();
  }
  return -EPIPE;
}

long wait_for_room(Pair* end, int flags) {
  return attempt_or_wait(end, &end->writers, is_nonblocking(end, flags), -1, [&]() -> long {
    return can_send(end) && room_of(end) == 0 ? -EAGAIN : 0;
  });
}

long pair_write(File* file, IoCursor* from, int flags) {
  Pair* end = static_cast<Pair*>(file);
  if ((flags & MSG_OOB) != 0) {
    return -EOPNOTSUPP;
  }
  long done = 0;
  for (;;) {
    if (!can_send(end)) {
      return done > 0 ? done : broken(flags);
    }
    const size_t n = end->other->input.append_from(from, room_of(end));
    done += static_cast<long>(n);
    if (n > 0) {
      wake(&end->other->readers, kWakeAll);
      notify(end->other, kKeyReadable);
    }
    if (from->left() == 0) {
      return done;
    }
    const long error = wait_for_room(end, flags);
    if (error < 0) {
      return done > 0 ? done : error;
    }
  }
}

long pair_room(File* file, int flags) {
  Pair* end = static_cast<Pair*>(file);
  const long error = wait_for_room(end, flags);
  if (error < 0) {
    return error;
  }
  return can_send(end) ? static_cast<long>(room_of(end)) : broken(flags);
}

void pair_release(File* file) {
  Pair* end = static_cast<Pair*>(file);
  Pair* other = end->other;
  const bool unread = end->input.size() > 0;
  end->input.clear();
  g_pairs.put(end);
  if (other == nullptr) {
    return;
  }
  other->other = nullptr;
  other->shut = kBoth;
  if (unread) {
    other->error = ECONNRESET;
  }
  state_changed(other);
}

constexpr FileOps kPairOps = {FileType::kPair, pair_poll, pair_read,
                              pair_write,      pair_room, pair_release};

}  // namespace

long pair_receive(File* file, const struct msghdr* message, long length, int flags, int*) {
  IoCursor to(message->msg_iov, static_cast<size_t>(length));
  return pair_read(file, &to, flags);
}

long pair_shutdown(File* file, int how) {
  Pair* end = static_cast<Pair*>(file);
  const uint8_t bits = static_cast<uint8_t>(how + 1);
  end->shut |= bits;
  if (end->other != nullptr) {
    end->other->shut |= static_cast<uint8_t>(((bits & kReceive) != 0 ? kSend : 0) |
                                             ((bits & kSend) != 0 ? kReceive : 0));
    state_changed(end->other);
  }
  state_changed(end);
  return 0;
}

size_t pair_bytes(const File* file) {
  return static_cast<const Pair*>(file)->input.size();
}

long net_socketpair(int domain, int type, int protocol, int fds[2]) {
  const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (domain != AF_UNIX) {
    return domain == AF_INET || domain == AF_INET6 ? -EOPNOTSUPP : -EAFNOSUPPORT;
  }
  if (protocol != 0 && protocol != AF_UNIX) {
    return -EPROTONOSUPPORT;
  }
  if (kind != SOCK_STREAM) {
    Notice().text("refused: socketpair of type ").number(kind).emit();
    return -ESOCKTNOSUPPORT;
  }
  const int status_flags = O_RDWR | ((type & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0);
  Pair* ends[2] = {g_pairs.get(), g_pairs.get()};
  for (int i = 0; i < 2; ++i) {
    file_init(ends[i], &kPairOps, status_flags);
    ends[i]->other = ends[1 - i];
    ends[i]->kind = kind;
  }
  long numbers[2] = {-1, -1};
  for (int i = 0; i < 2; ++i) {
    numbers[i] = install_file(ends[i], 0, (type & SOCK_CLOEXEC) != 0);
    if (numbers[i] < 0) {
      if (i == 1) {
        net_close(static_cast<int>(numbers[0]));
      } else {
        file_release(ends[0]);
      }
      file_release(ends[1]);
      return numbers[i];
    }
  }
  fds[0] = static_cast<int>(numbers[0]);
  fds[1] = static_cast<int>(numbers[1]);
  return 0;
}

}  // namespace ftrun::shim
