// SPDX-License-Identifier: Apache-2.0
// Reference counts, watches, waiting and notices: see file.h.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/file.h"

#include <netinet/in.h>

#include "preload/exec/carry.h"
#include "preload/times.h"

namespace ftrun::shim {
namespace {

constexpr uint64_t kFirstInode = 10000;
// Of all virtual objects, in order of creation: fstat and /proc/self/fd show them, so they are
// carried over an exec and never given twice.
constinit uint64_t g_inodes = kFirstInode;

}  // namespace

void inodes_carry(Carry& carry) {
  carry.value(g_inodes);
}

void file_init(File* file, const FileOps* ops, int status_flags) {
  file->ops = ops;
  file->status_flags = status_flags;
  file->inode = g_inodes++;
}

void file_release(File* file) {
  if (file->references == 0) {
    shim_fail("a virtual object was released twice", static_cast<int64_t>(file->inode));
  }
  if (--file->references > 0) {
    return;
  }
  // ORDER: epoll items go first (eventpoll_release): a release may notify, and must find nobody.
  while (file->watch_first != nullptr) {
    epoll_item_orphaned(file->watch_first);
  }
  file->ops->release(file);
}

void watch_add(File* file, Watch* watch) {
  watch->file = file;
  if (file->watch_first == nullptr) {
    watch->next = watch->previous = nullptr;
    file->watch_first = file->watch_last = watch;
  } else if (watch->exclusive) {
    // add_wait_queue_exclusive(): behind all others, so that these are always told.
    watch->next = nullptr;
    watch->previous = file->watch_last;
    file->watch_last->next = watch;
    file->watch_last = watch;
  } else {
    watch->previous = nullptr;
    watch->next = file->watch_first;
    file->watch_first->previous = watch;
    file->watch_first = watch;
  }
}

void watch_remove(Watch* watch) {
  File* file = watch->file;
  (watch->previous != nullptr ? watch->previous->next : file->watch_first) = watch->next;
  (watch->next != nullptr ? watch->next->previous : file->watch_last) = watch->previous;
  watch->next = watch->previous = nullptr;
  watch->file = nullptr;
}

void notify_watches(File* file, uint32_t key) {
  // Nobody called here adds or removes a watch: items become ready, threads become runnable, and
  // both look for themselves later. So the list is whole while it is gone through.
  for (Watch* watch = file->watch_first; watch != nullptr; watch = watch->next) {
    const bool used = watch->kind == WatchKind::kEpollItem ? epoll_item_notified(watch, key)
                                                           : poller_notified(watch, key);
    // State changes (key 0) go to everybody, as wake_up_interruptible_all does.
    if (used && watch->exclusive && key != kKeyAny) {
      break;
    }
  }
}

int64_t deadline_after(int64_t timeout_ns) {
  if (timeout_ns < 0) {
    return kNoDeadline;
  }
  return add_ns(virtual_now_ns(), timeout_ns);
}

long wait_error(int error, int64_t timeout_ns) {
  // SO_RCVTIMEO and SO_SNDTIMEO that run out are EAGAIN; with such a time-out a call never starts
  // over after a handler (socket(7), signal(7)).
  if (error == -ETIMEDOUT) {
    return -EAGAIN;
  }
  return timeout_ns < 0 ? kErrRestart : -EINTR;
}

// A notice is output like any other: it stands in the turn's digest. So it may name only what all
// replicas have alike, and no address, time or process id of this one. What does not fit is cut.
Notice& Notice::text(const char* words) {
  while (*words != '\0' && length_ < sizeof(line_)) {
    line_[length_++] = *words++;
  }
  return *this;
}

Notice& Notice::number(int64_t value) {
  char digits[24] = {};
  size_t at = sizeof(digits) - 1;
  uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  do {
    digits[--at] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest > 0);
  if (value < 0) {
    digits[--at] = '-';
  }
  return text(digits + at);
}

Notice& Notice::constant(const char* name, int64_t value) {
  return name != nullptr ? text(name) : number(value);
}

Notice& Notice::address(const uint8_t* bytes, size_t length) {
  if (length >= sizeof(sockaddr_in) && bytes[0] == AF_INET && bytes[1] == 0) {
    for (int i = 4; i < 8; ++i) {
      text(i > 4 ? "." : "").number(bytes[i]);
    }
    return text(":").number(bytes[2] * 256 + bytes[3]);
  }
  if (length >= sizeof(sockaddr_in6) && bytes[0] == AF_INET6 && bytes[1] == 0) {
    text("[");
    for (int i = 8; i < 24; i += 2) {
      char group[5] = {};
      for (int nibble = 0; nibble < 4; ++nibble) {
        const int value = bytes[i + nibble / 2] >> (nibble % 2 == 0 ? 4 : 0) & 15;
        group[nibble] = "0123456789abcdef"[value];
      }
      text(i > 8 ? ":" : "").text(group);
    }
    return text("]:").number(bytes[2] * 256 + bytes[3]);
  }
  return text("an address of family ").number(length >= 2 ? bytes[0] + bytes[1] * 256 : -1);
}

void Notice::emit() {
  Output entry;
  entry.kind = OutputKind::kNotice;
  entry.data = reinterpret_cast<const uint8_t*>(line_);
  entry.length = length_;
  emit_output(entry);
}

}  // namespace ftrun::shim
