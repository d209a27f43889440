// SPDX-License-Identifier: Apache-2.0
// poll and select: a thread watches several files for the length of one call.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/guarded.h"
#include "preload/net/descriptors.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

// All watches of one call lead to one queue, in which its thread waits: whichever file changes
// first wakes it.
struct PollWatch : Watch {
  WaitQueue* queue = nullptr;
  PollWatch* next_of_call = nullptr;
  uint32_t events = 0;
};

constexpr uint32_t kAlwaysReady = EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
constexpr uint32_t kSelectRead = EPOLLRDNORM | EPOLLRDBAND | EPOLLIN | EPOLLHUP | EPOLLERR;
constexpr uint32_t kSelectWrite = EPOLLWRBAND | EPOLLWRNORM | EPOLLOUT | EPOLLERR;
constexpr uint32_t kSelectExcept = EPOLLPRI;

constinit Pool<PollWatch> g_watches;

// The watches of one call; each holds its file, which may be closed meanwhile.
class WatchSet {
 public:
  WatchSet() = default;
  ~WatchSet() { clear(); }
  WatchSet(const WatchSet&) = delete;
  WatchSet& operator=(const WatchSet&) = delete;

  WaitQueue* queue() { return &queue_; }
  void add(int fd, uint32_t events) {
    File* file = virtual_file(fd);
    if (file == nullptr) {
      return;
    }
    PollWatch* watch = g_watches.get();
    watch->kind = WatchKind::kPoller;
    watch->queue = &queue_;
    watch->events = events;
    watch->next_of_call = first_;
    first_ = watch;
    file_retain(file);
    watch_add(file, watch);
  }
  void clear() {
    while (first_ != nullptr) {
      PollWatch* watch = first_;
      File* file = watch->file;
      first_ = watch->next_of_call;
      watch_remove(watch);
      g_watches.put(watch);
      file_release(file);
    }
  }

 private:
  PollWatch* first_ = nullptr;
  // On the shim's stack of the waiting thread, which outlives the wait; the watches, which others
  // link into their files' lists, are not.
  WaitQueue queue_;
};

// Polls `scan` (returns how many are ready) until it finds something or the time is over.
template <typename Scan, typename Register>
long poll_until(int64_t timeout_ns, Scan scan, Register watch_all) {
  ingest_point();
  long count = scan();
  if (count != 0 || timeout_ns == 0) {
    return count;
  }
  const int64_t deadline = deadline_after(timeout_ns);
  // ORDER: looked first without watching: most calls find something. Nothing is lost in between,
  // since the token was here.
  WatchSet watches;
  watch_all(&watches);
  for (int error = 0;;) {
    error = sched_wait(watches.queue(), deadline);
    // After every wait, also one that a signal or the time has ended: what is ready is told first.
    count = scan();
    if (count != 0 || error == -ETIMEDOUT) {
      return count;
    }
    if (error != 0) {
      return -EINTR;
    }
  }
}

short poll_one(const struct pollfd& entry) {
  if (entry.fd < 0) {
    return 0;
  }
  const File* file = virtual_file(entry.fd);
  const uint32_t wanted = static_cast<uint16_t>(entry.events) | EPOLLERR | EPOLLHUP;
  if (file != nullptr) {
    return static_cast<short>(file->ops->poll(const_cast<File*>(file), wanted) & wanted);
  }
  return fd_kind(entry.fd) == FdKind::kFree ? static_cast<short>(POLLNVAL)
                                            : static_cast<short>(kAlwaysReady & wanted);
}

// `fds` is the application's.
long poll_all(struct pollfd* fds, nfds_t count) {
  long ready = 0;
  for (nfds_t i = 0; i < count; ++i) {
    struct pollfd entry;
    if (!get_in(&entry, fds + i)) {
      return -EFAULT;
    }
    // Entries are read at each look, where the kernel copies them once: a program that changes them
    // while another thread waits with them is a race natively, too.
    const short found = poll_one(entry);
    if (!put_out(&fds[i].revents, found)) {
      return -EFAULT;
    }
    ready += found != 0 ? 1 : 0;
  }
  return ready;
}

using Word = unsigned long;
constexpr int kWordBits = 8 * sizeof(Word);
constexpr int kSelectWords = kDescriptorsMax / kWordBits;

// The sets of a call, copied in: read, write, except. Null sets are empty.
struct Select {
  int count;
  Word in[3][kSelectWords];

  size_t bytes() const {
    return static_cast<size_t>((count + kWordBits - 1) / kWordBits) * sizeof(Word);
  }
  // False: EFAULT.
  bool take(fd_set* const sets[3]) {
    for (int set = 0; set < 3; ++set) {
      if (sets[set] == nullptr) {
        __builtin_memset(in[set], 0, bytes());
      } else if (copy_in(in[set], sets[set], bytes()) != bytes()) {
        return false;
      }
    }
    return true;
  }
  bool give(fd_set* const sets[3]) const {
    for (int set = 0; set < 3; ++set) {
      if (sets[set] != nullptr && copy_out(sets[set], in[set], bytes()) != bytes()) {
        return false;
      }
    }
    return true;
  }
};

// Calls `visit(fd, wanted)` for every descriptor in a set; wanted bits: 1 read, 2 write, 4 except.
template <typename Visit>
void for_each_selected(const Select& call, Visit visit) {
  for (int base = 0; base < call.count; base += kWordBits) {
    const int index = base / kWordBits;
    Word any = call.in[0][index] | call.in[1][index] | call.in[2][index];
    while (any != 0) {
      const int bit = __builtin_ctzl(any);
      any &= any - 1;
      if (base + bit >= call.count) {
        return;
      }
      unsigned wanted = 0;
      for (int set = 0; set < 3; ++set) {
        wanted |= (call.in[set][index] >> bit & 1) << set;
      }
      visit(base + bit, wanted);
    }
  }
}

constexpr uint32_t kSelectEvents[3] = {kSelectRead, kSelectWrite, kSelectExcept};

unsigned select_hits(int fd, unsigned wanted) {
  uint32_t asked = 0;
  for (unsigned set = 0; set < 3; ++set) {
    asked |= (wanted >> set & 1) != 0 ? kSelectEvents[set] : 0;
  }
  File* file = virtual_file(fd);
  const uint32_t events = file != nullptr ? file->ops->poll(file, asked) : kAlwaysReady;
  unsigned hits = 0;
  for (unsigned set = 0; set < 3; ++set) {
    hits |= (wanted >> set & 1) != 0 && (events & kSelectEvents[set]) != 0 ? 1u << set : 0;
  }
  return hits;
}

long select_count(const Select& call) {
  long ready = 0;
  for_each_selected(call, [&](int fd, unsigned wanted) {
    const unsigned hits = select_hits(fd, wanted);
    ready += (hits & 1) + (hits >> 1 & 1) + (hits >> 2 & 1);
  });
  return ready;
}

// Leaves in the sets only what is ready.
void select_reduce(Select* call) {
  for_each_selected(*call, [&](int fd, unsigned wanted) {
    const unsigned hits = select_hits(fd, wanted);
    for (unsigned set = 0; set < 3; ++set) {
      if ((wanted >> set & 1) != 0 && (hits >> set & 1) == 0) {
        call->in[set][fd / kWordBits] &= ~(Word{1} << fd % kWordBits);
      }
    }
  });
  // Bits beyond `count` in the last word are cleared too, as the kernel does.
  const int odd = call->count % kWordBits;
  for (unsigned set = 0; odd != 0 && set < 3; ++set) {
    call->in[set][call->count / kWordBits] &= (Word{1} << odd) - 1;
  }
}

}  // namespace

bool poller_notified(Watch* watch, uint32_t key) {
  PollWatch* poller = static_cast<PollWatch*>(watch);
  if (key == kKeyAny || (key & poller->events) != 0) {
    wake(poller->queue, 1);
  }
  return true;
}

long net_poll(struct pollfd* fds, nfds_t count, int64_t timeout_ns) {
  if (count > static_cast<nfds_t>(descriptor_limit())) {
    return -EINVAL;
  }
  return poll_until(
      timeout_ns, [&] { return poll_all(fds, count); },
      [&](WatchSet* watches) {
        struct pollfd entry;
        for (nfds_t i = 0; i < count && get_in(&entry, fds + i); ++i) {
          if (entry.fd >= 0) {
            watches->add(entry.fd, static_cast<uint16_t>(entry.events) | EPOLLERR | EPOLLHUP);
          }
        }
      });
}

long net_select(int count, fd_set* read, fd_set* write, fd_set* except, int64_t timeout_ns) {
  if (count < 0) {
    return -EINVAL;
  }
  fd_set* const sets[3] = {read, write, except};
  Select call;  // 24 KiB, of which only what `count` needs is touched
  call.count = count < kDescriptorsMax ? count : kDescriptorsMax;
  if (!call.take(sets)) {
    return -EFAULT;
  }
  // ORDER: all numbers before any wait: one that is not open fails the call (select(2)).
  bool bad = false;
  for_each_selected(call, [&](int fd, unsigned) { bad |= fd_kind(fd) == FdKind::kFree; });
  if (bad) {
    return -EBADF;
  }
  const long ready = poll_until(
      timeout_ns, [&] { return select_count(call); },
      [&](WatchSet* watches) {
        for_each_selected(call, [&](int fd, unsigned wanted) {
          uint32_t events = EPOLLERR | EPOLLHUP;
          for (unsigned set = 0; set < 3; ++set) {
            events |= (wanted >> set & 1) != 0 ? kSelectEvents[set] : 0;
          }
          watches->add(fd, events);
        });
      });
  if (ready < 0) {
    return ready;
  }
  select_reduce(&call);
  return call.give(sets) ? ready : -EFAULT;
}

}  // namespace ftrun::shim
