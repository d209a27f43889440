// SPDX-License-Identifier: Apache-2.0
// eventfd: a counter to wait for; the model is fs/eventfd.c of Linux 6.
// Runs in the application with the token held; no libc, no system calls.
#include <sys/cdefs.h>
#include <sys/eventfd.h>

#include "preload/net/descriptors.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

struct Event : File {
  uint64_t count = 0;
  bool semaphore = false;
};

constinit Pool<Event> g_events;

uint32_t event_poll(File* file, uint32_t) {
  const uint64_t count = static_cast<Event*>(file)->count;
  return (count > 0 ? EPOLLIN : 0u) | (count == UINT64_MAX ? EPOLLERR : 0u) |
         (count < UINT64_MAX - 1 ? EPOLLOUT : 0u);
}

long event_read(File* file, IoCursor* to, int flags) {
  Event* event = static_cast<Event*>(file);
  if (to->left() < sizeof(uint64_t)) {
    return -EINVAL;
  }
  const long error = attempt_or_wait(event, &event->readers, is_nonblocking(event, flags), -1,
                                     [&]() -> long { return event->count == 0 ? -EAGAIN : 0; });
  if (error < 0) {
    return error;
  }
  // ORDER: taken, then copied out: where it cannot be written it is lost (eventfd_read).
  const uint64_t value = event->semaphore ? 1 : event->count;
  event->count -= value;
  // All of them: how much each wants to add is not known here, and the first may not fit.
  wake(&event->writers, kWakeAll);
  notify(event, EPOLLOUT);
  to->put(reinterpret_cast<const uint8_t*>(&value), sizeof(value));
  return to->has_fault() ? -EFAULT : static_cast<long>(sizeof(value));
}

long event_write(File* file, IoCursor* from, int flags) {
  Event* event = static_cast<Event*>(file);
  uint64_t value = 0;
  // Exactly eight bytes (Linux 6.6 and later; longer writes were cut before).
  if (from->left() != sizeof(value)) {
    return -EINVAL;
  }
  from->get(reinterpret_cast<uint8_t*>(&value), sizeof(value));
  if (from->has_fault()) {
    return -EFAULT;
  }
  if (value == UINT64_MAX) {
    return -EINVAL;
  }
  const long error =
      attempt_or_wait(event, &event->writers, is_nonblocking(event, flags), -1,
                      [&]() -> long { return UINT64_MAX - event->count > value ? 0 : -EAGAIN; });
  if (error < 0) {
    return error;
  }
  event->count += value;
  wake(&event->readers, kWakeAll);
  notify(event, EPOLLIN);
  return sizeof(value);
}

void event_release(File* file) {
  g_events.put(static_cast<Event*>(file));
}

constexpr FileOps kEventOps = {FileType::kEvent, event_poll, event_read,
                               event_write,      nullptr,    event_release};

}  // namespace

long net_eventfd(unsigned initial, int flags) {
  if ((flags & ~(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK)) != 0) {
    return -EINVAL;
  }
  Event* event = g_events.get();
  file_init(event, &kEventOps, O_RDWR | ((flags & EFD_NONBLOCK) != 0 ? O_NONBLOCK : 0));
  event->count = initial;
  event->semaphore = (flags & EFD_SEMAPHORE) != 0;
  const long fd = install_file(event, 0, (flags & EFD_CLOEXEC) != 0);
  if (fd < 0) {
    file_release(event);
  }
  return fd;
}

}  // namespace ftrun::shim
