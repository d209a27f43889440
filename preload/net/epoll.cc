// SPDX-License-Identifier: Apache-2.0
// epoll: interest sets over virtual files, with the kernel's order of reporting (fs/eventpoll.c of
// Linux 6). Items hang on their file's watch list and on their epoll's lists; nothing is searched
// but a file's own watches, and waiting costs only what is ready.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/guarded.h"
#include "preload/net/descriptors.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

struct Epoll;

// A file in a set, by the number under which it was added. It holds no reference: a file that goes
// away takes its items with it (epoll_item_orphaned), so a close of the last dup ends the watching,
// and an earlier one does not (epoll(7)).
struct EpollItem : Watch {
  Epoll* owner = nullptr;
  EpollItem* next_item = nullptr;  // all items of the owner
  EpollItem* previous_item = nullptr;
  EpollItem* next_ready = nullptr;  // the owner's ready list
  EpollItem* previous_ready = nullptr;
  uint64_t data = 0;
  uint32_t events = 0;
  int fd = -1;
  bool is_ready = false;
};

// First in, first out, with removal from the middle.
struct ReadyList {
  EpollItem* first = nullptr;
  EpollItem* last = nullptr;
};

struct Epoll : File {
  EpollItem* items = nullptr;
  ReadyList ready;
};

constexpr int kMaxEvents = INT32_MAX / static_cast<int>(sizeof(struct epoll_event));
constexpr int kNestsMax = 4;  // EP_MAX_NESTS
constexpr uint32_t kPrivateBits = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;
constexpr uint32_t kExclusiveAllowed =
    EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

constinit Pool<EpollItem> g_items;
constinit Pool<Epoll> g_epolls;

void ready_append(ReadyList* list, EpollItem* item) {
  item->is_ready = true;
  item->next_ready = nullptr;
  item->previous_ready = list->last;
  (list->last != nullptr ? list->last->next_ready : list->first) = item;
  list->last = item;
}

void ready_remove(ReadyList* list, EpollItem* item) {
  (item->previous_ready != nullptr ? item->previous_ready->next_ready : list->first) =
      item->next_ready;
  (item->next_ready != nullptr ? item->next_ready->previous_ready : list->last) =
      item->previous_ready;
  item->next_ready = item->previous_ready = nullptr;
  item->is_ready = false;
}

// The state now, not that of the notification: between the two the file may have been read empty.
uint32_t item_poll(const EpollItem* item) {
  return item->file->ops->poll(item->file, item->events) & item->events;
}

// One thread: each takes what it can, and wakes the next if something is left (collect). Sets that
// this one is a member of are told as well.
void announce(Epoll* epoll) {
  wake(&epoll->readers, 1);
  notify(epoll, EPOLLIN);
}

void item_remove(EpollItem* item) {
  Epoll* epoll = item->owner;
  if (item->is_ready) {
    ready_remove(&epoll->ready, item);
  }
  (item->previous_item != nullptr ? item->previous_item->next_item : epoll->items) =
      item->next_item;
  if (item->next_item != nullptr) {
    item->next_item->previous_item = item->previous_item;
  }
  watch_remove(item);
  g_items.put(item);
}

// An epoll is readable when an item is. Items that are not ready any more are dropped on the way.
uint32_t epoll_poll(File* file, uint32_t) {
  Epoll* epoll = static_cast<Epoll*>(file);
  while (epoll->ready.first != nullptr) {
    if (item_poll(epoll->ready.first) != 0) {
      return EPOLLIN | EPOLLRDNORM;
    }
    ready_remove(&epoll->ready, epoll->ready.first);
  }
  return 0;
}

void epoll_release(File* file) {
  Epoll* epoll = static_cast<Epoll*>(file);
  while (epoll->items != nullptr) {
    item_remove(epoll->items);
  }
  g_epolls.put(epoll);
}

constexpr FileOps kEpollOps = {FileType::kEpoll, epoll_poll, nullptr,
                               nullptr,          nullptr,    epoll_release};

bool is_epoll(const File* file) {
  return file->ops->type == FileType::kEpoll;
}

EpollItem* find_item(const Epoll* epoll, const File* file, int fd) {
  for (Watch* watch = file->watch_first; watch != nullptr; watch = watch->next) {
    EpollItem* item = static_cast<EpollItem*>(watch);
    if (watch->kind == WatchKind::kEpollItem && item->owner == epoll && item->fd == fd) {
      return item;
    }
  }
  return nullptr;
}

// Epolls below `epoll`, itself included; more than kNestsMax + 1 when `target` is among them.
// ep_loop_check(): bounded, so that neither a ring of sets nor a deep nest makes the recursion of
// notifications endless on a stack of 64 KiB.
int depth_below(const Epoll* epoll, const Epoll* target, int level) {
  int deepest = 1;
  if (epoll == target || level > kNestsMax + 1) {
    return kNestsMax + 2;
  }
  for (const EpollItem* item = epoll->items; item != nullptr; item = item->next_item) {
    if (is_epoll(item->file)) {
      const int below = 1 + depth_below(static_cast<const Epoll*>(item->file), target, level + 1);
      deepest = below > deepest ? below : deepest;
    }
  }
  return deepest;
}

int depth_above(const Epoll* epoll, int level) {
  int highest = 0;
  for (const Watch* watch = epoll->watch_first; watch != nullptr && level <= kNestsMax;
       watch = watch->next) {
    if (watch->kind == WatchKind::kEpollItem) {
      const int above = 1 + depth_above(static_cast<const EpollItem*>(watch)->owner, level + 1);
      highest = above > highest ? above : highest;
    }
  }
  return highest;
}

// After an add or a change: what holds already must be reported, also where only edges are.
void make_ready_if(EpollItem* item) {
  if (item_poll(item) != 0 && !item->is_ready) {
    ready_append(&item->owner->ready, item);
    announce(item->owner);
  }
}

long item_insert(Epoll* epoll, File* file, int fd, const struct epoll_event& event) {
  if (is_epoll(file) &&
      depth_above(epoll, 0) + depth_below(static_cast<Epoll*>(file), epoll, 1) > kNestsMax) {
    return -ELOOP;
  }
  EpollItem* item = g_items.get();
  item->kind = WatchKind::kEpollItem;
  item->exclusive = (event.events & EPOLLEXCLUSIVE) != 0;
  item->owner = epoll;
  item->fd = fd;
  item->events = event.events | EPOLLERR | EPOLLHUP;
  item->data = event.data.u64;
  item->next_item = epoll->items;
  if (epoll->items != nullptr) {
    epoll->items->previous_item = item;
  }
  epoll->items = item;
  watch_add(file, item);
  make_ready_if(item);
  return 0;
}

long item_modify(EpollItem* item, const struct epoll_event& event) {
  if ((item->events & EPOLLEXCLUSIVE) != 0) {
    return -EINVAL;
  }
  item->events = event.events | EPOLLERR | EPOLLHUP;
  item->data = event.data.u64;
  make_ready_if(item);
  return 0;
}

// Ready items of a scan that are left over go in front of those that came back.
void put_in_front(ReadyList* list, ReadyList scan) {
  if (scan.first == nullptr) {
    return;
  }
  scan.last->next_ready = list->first;
  if (list->first != nullptr) {
    list->first->previous_ready = scan.last;
    scan.last = list->last;
  }
  *list = scan;
}

// Reports up to `max_events` items into `events`, which is the application's. Those left over stay
// in front; level-triggered ones that were reported go to the end, so that a small max_events
// starves nobody.
int collect(Epoll* epoll, struct epoll_event* events, int max_events) {
  // ORDER: taken off first, as ep_send_events() does: what becomes ready meanwhile stands behind
  // what was ready before, and each item is looked at once a call, however often it comes back.
  ReadyList scan = epoll->ready;
  epoll->ready = ReadyList{};
  int count = 0;
  bool fault = false;
  while (scan.first != nullptr && count < max_events) {
    EpollItem* item = scan.first;
    const uint32_t found = item_poll(item);
    if (found == 0) {
      ready_remove(&scan, item);
      continue;
    }
    struct epoll_event event = {};
    event.events = found;
    event.data.u64 = item->data;
    fault = !put_out(events + count, event);
    if (fault) {
      break;  // it stays in front
    }
    ready_remove(&scan, item);
    ++count;
    // Edge-triggered items wait for the next notification, level-triggered ones for the next look,
    // which drops them if nothing is left.
    if ((item->events & EPOLLONESHOT) != 0) {
      item->events &= kPrivateBits;
    } else if ((item->events & EPOLLET) == 0) {
      ready_append(&epoll->ready, item);
    }
  }
  put_in_front(&epoll->ready, scan);
  if (epoll->ready.first != nullptr) {
    wake(&epoll->readers, 1);  // another waiting thread takes the rest
  }
  return fault && count == 0 ? -EFAULT : count;
}

}  // namespace

bool epoll_item_notified(Watch* watch, uint32_t key) {
  EpollItem* item = static_cast<EpollItem*>(watch);
  if ((item->events & ~kPrivateBits) == 0 || (key != kKeyAny && (key & item->events) == 0)) {
    return false;
  }
  Epoll* epoll = item->owner;
  if (!item->is_ready) {
    ready_append(&epoll->ready, item);
  }
  const bool had_waiter = epoll->readers.first != nullptr;
  announce(epoll);
  if (!item->exclusive) {
    return true;
  }
  const uint32_t direction = key & (EPOLLIN | EPOLLOUT);
  return had_waiter && (direction == 0 || (direction & item->events) == direction);
}

void epoll_item_orphaned(Watch* watch) {
  item_remove(static_cast<EpollItem*>(watch));
}

long net_epoll_create(int flags) {
  if ((flags & ~EPOLL_CLOEXEC) != 0) {
    return -EINVAL;
  }
  Epoll* epoll = g_epolls.get();
  file_init(epoll, &kEpollOps, O_RDWR);
  const long fd = install_file(epoll, 0, (flags & EPOLL_CLOEXEC) != 0);
  if (fd < 0) {
    file_release(epoll);
  }
  return fd;
}

long net_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event* event) {
  if (fd_kind(epoll_fd) == FdKind::kFree || fd_kind(fd) == FdKind::kFree) {
    return -EBADF;
  }
  File* file = virtual_file(fd);
  if (file == nullptr) {
    return -EPERM;  // files of the kernel's have no readiness
  }
  Epoll* epoll = static_cast<Epoll*>(virtual_file(epoll_fd));
  if (epoll == nullptr || !is_epoll(epoll) || epoll == file) {
    return -EINVAL;
  }
  if (operation != EPOLL_CTL_DEL && (event->events & EPOLLEXCLUSIVE) != 0) {
    if (operation == EPOLL_CTL_MOD ||
        (operation == EPOLL_CTL_ADD &&
         (is_epoll(file) || (event->events & ~kExclusiveAllowed) != 0))) {
      return -EINVAL;
    }
  }
  EpollItem* item = find_item(epoll, file, fd);
  switch (operation) {
    case EPOLL_CTL_ADD:
      return item != nullptr ? -EEXIST : item_insert(epoll, file, fd, *event);
    case EPOLL_CTL_MOD:
      return item == nullptr ? -ENOENT : item_modify(item, *event);
    case EPOLL_CTL_DEL:
      if (item == nullptr) {
        return -ENOENT;
      }
      item_remove(item);
      return 0;
    default:
      return -EINVAL;
  }
}

long net_epoll_wait(int epoll_fd, struct epoll_event* events, int max_events, int64_t timeout_ns) {
  if (max_events <= 0 || max_events > kMaxEvents) {
    return -EINVAL;
  }
  Epoll* epoll = static_cast<Epoll*>(virtual_file(epoll_fd));
  if (epoll == nullptr) {
    return fd_kind(epoll_fd) == FdKind::kFree ? -EBADF : -EINVAL;
  }
  if (!is_epoll(epoll)) {
    return -EINVAL;
  }
  // Before the first look, even if something is ready: a server that is never idle must still learn
  // of what comes.
  ingest_point();
  const long result = attempt_or_wait(epoll, &epoll->readers, timeout_ns == 0, timeout_ns, [&] {
    const int count = collect(epoll, events, max_events);
    return count != 0 ? static_cast<long>(count) : -EAGAIN;
  });
  if (result == -EAGAIN) {
    return 0;
  }
  // epoll_wait never starts over, whatever the handler asks for (signal(7)).
  return result == kErrRestart ? -EINTR : result;
}

}  // namespace ftrun::shim
