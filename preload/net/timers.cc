// SPDX-License-Identifier: Apache-2.0
// timerfd: deadlines on the virtual clock; the model is fs/timerfd.c of Linux 6. Expiry is decided
// by net_expire_timers(), which the clock calls when it moves, never by looking at a clock here.
// Runs in the application with the token held; no libc, no system calls.
#include <sys/timerfd.h>

#include "preload/net/descriptors.h"
#include "preload/net/pool.h"
#include "preload/times.h"

namespace ftrun::shim {
namespace {

// Accepted, and never happens: nobody can set the clock under the program (do_adjtimex).
constexpr int kCancelOnSet = TFD_TIMER_CANCEL_ON_SET;

struct Timer : File {
  int64_t deadline_ns = kNoDeadline;  // of the next expiry, while armed; virtual clock
  int64_t interval_ns = 0;
  uint64_t ticks = 0;  // expiries not read yet
  bool armed = false;  // linked below, waiting for its deadline
  bool real_time = false;
  Timer* next = nullptr;  // armed timers
  Timer* previous = nullptr;
};

constinit Pool<Timer> g_timers;
constinit Timer* g_armed = nullptr;
constinit int64_t g_next_ns = kNoDeadline;  // a lower bound; exact when !g_next_stale
constinit bool g_next_stale = false;

// REQUIRES: the deadline is set, the timer not armed. The list has no order: there are few timers,
// and the earliest deadline is remembered.
void arm(Timer* timer) {
  timer->armed = true;
  timer->previous = nullptr;
  timer->next = g_armed;
  if (g_armed != nullptr) {
    g_armed->previous = timer;
  }
  g_armed = timer;
  if (g_next_ns == kNoDeadline || timer->deadline_ns < g_next_ns) {
    g_next_ns = timer->deadline_ns;
  }
}

void disarm(Timer* timer) {
  if (!timer->armed) {
    return;
  }
  timer->armed = false;
  (timer->previous != nullptr ? timer->previous->next : g_armed) = timer->next;
  if (timer->next != nullptr) {
    timer->next->previous = timer->previous;
  }
  // Looked for only when it is asked for: a program that sets its timer anew at each request
  // disarms far more often than time passes.
  g_next_stale |= timer->deadline_ns == g_next_ns;
}

void expire(Timer* timer) {
  disarm(timer);
  ++timer->ticks;
  wake(&timer->readers, kWakeAll);
  notify(timer, EPOLLIN);
}

// A periodic timer that has expired starts anew when somebody looks: periods that went by since
// count as ticks, and the next deadline lies in the future (hrtimer_forward_now).
void forward(Timer* timer) {
  if (timer->ticks == 0 || timer->armed || timer->interval_ns == 0) {
    return;
  }
  timer->ticks +=
      periods_over(timer->deadline_ns, timer->interval_ns, virtual_now_ns(), &timer->deadline_ns) -
      1;
  arm(timer);
}

uint32_t timer_poll(File* file, uint32_t) {
  return static_cast<Timer*>(file)->ticks > 0 ? EPOLLIN : 0u;
}

long timer_read(File* file, IoCursor* to, int flags) {
  Timer* timer = static_cast<Timer*>(file);
  if (to->left() < sizeof(uint64_t)) {
    return -EINVAL;
  }
  auto attempt = [&]() -> long { return timer->ticks == 0 ? -EAGAIN : 0; };
  // Only where the answer would be that there are none: time that has passed since may have made
  // some, and a busy reader would never see it otherwise.
  if (attempt() != 0) {
    ingest_point();
  }
  const long error =
      attempt_or_wait(timer, &timer->readers, is_nonblocking(timer, flags), -1, attempt);
  if (error < 0) {
    return error;
  }
  forward(timer);
  // ORDER: taken, then copied out: where they cannot be written they are lost (timerfd_read).
  const uint64_t ticks = timer->ticks;
  timer->ticks = 0;
  to->put(reinterpret_cast<const uint8_t*>(&ticks), sizeof(ticks));
  return to->has_fault() ? -EFAULT : static_cast<long>(sizeof(ticks));
}

void timer_release(File* file) {
  Timer* timer = static_cast<Timer*>(file);
  disarm(timer);
  g_timers.put(timer);
}

constexpr FileOps kTimerOps = {FileType::kTimer, timer_poll, timer_read,
                               nullptr,          nullptr,    timer_release};

Timer* timer_of(int fd, long* error) {
  File* file = virtual_file(fd);
  if (file == nullptr || file->ops->type != FileType::kTimer) {
    *error = fd_kind(fd) == FdKind::kFree ? -EBADF : -EINVAL;
    return nullptr;
  }
  return static_cast<Timer*>(file);
}

void fill_current(Timer* timer, struct itimerspec* out) {
  forward(timer);
  int64_t remaining = 0;
  if (timer->armed) {
    remaining = timer->deadline_ns - virtual_now_ns();
    remaining = remaining > 0 ? remaining : 1;  // armed reads as not zero
  }
  out->it_value = to_timespec(remaining);
  out->it_interval = to_timespec(timer->interval_ns);
}

}  // namespace

long net_timerfd_create(int clock, int flags) {
  const bool known = clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME ||
                     clock == CLOCK_BOOTTIME || clock == CLOCK_REALTIME_ALARM ||
                     clock == CLOCK_BOOTTIME_ALARM;
  if ((flags & ~(TFD_CLOEXEC | TFD_NONBLOCK)) != 0 || !known) {
    return -EINVAL;
  }
  Timer* timer = g_timers.get();
  file_init(timer, &kTimerOps, O_RDWR | ((flags & TFD_NONBLOCK) != 0 ? O_NONBLOCK : 0));
  timer->real_time = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
  const long fd = install_file(timer, 0, (flags & TFD_CLOEXEC) != 0);
  if (fd < 0) {
    file_release(timer);
  }
  return fd;
}

long net_timerfd_settime(int fd, int flags, const struct itimerspec* value,
                         struct itimerspec* old_value) {
  if (value == nullptr) {
    return -EFAULT;
  }
  int64_t first = 0;
  int64_t interval = 0;
  if ((flags & ~(TFD_TIMER_ABSTIME | kCancelOnSet)) != 0 || to_ns(value->it_value, &first) != 0 ||
      to_ns(value->it_interval, &interval) != 0) {
    return -EINVAL;
  }
  // ORDER: the new value has been read by now; old_value may be the same memory.
  long error = 0;
  Timer* timer = timer_of(fd, &error);
  if (timer == nullptr) {
    return error;
  }
  if (old_value != nullptr) {
    fill_current(timer, old_value);
  }
  // A new setting forgets expiries that were not read (timerfd_setup).
  disarm(timer);
  timer->ticks = 0;
  timer->interval_ns = interval;
  if (first == 0) {
    return 0;
  }
  const int64_t now = virtual_now_ns();
  // All deadlines are on the virtual CLOCK_MONOTONIC. The distance of CLOCK_REALTIME is fixed for
  // the life of the log, so an absolute time needs to be converted only once, here.
  timer->deadline_ns = (flags & TFD_TIMER_ABSTIME) == 0
                           ? add_ns(now, first)
                           : absolute_deadline(first, timer->real_time ? realtime_offset_ns() : 0);
  arm(timer);
  if (timer->deadline_ns <= now) {
    expire(timer);
  }
  return 0;
}

long net_timerfd_gettime(int fd, struct itimerspec* value) {
  long error = 0;
  Timer* timer = timer_of(fd, &error);
  if (timer == nullptr) {
    return error;
  }
  if (value == nullptr) {
    return -EFAULT;
  }
  fill_current(timer, value);
  return 0;
}

int64_t net_next_timer_ns() {
  if (g_next_stale) {
    g_next_stale = false;
    g_next_ns = kNoDeadline;
    for (const Timer* timer = g_armed; timer != nullptr; timer = timer->next) {
      if (g_next_ns == kNoDeadline || timer->deadline_ns < g_next_ns) {
        g_next_ns = timer->deadline_ns;
      }
    }
  }
  return g_next_ns;
}

void net_expire_timers(int64_t now_ns) {
  // Earliest first, so that the order of wake-ups is the order of deadlines.
  for (int64_t next = net_next_timer_ns(); next != kNoDeadline && next <= now_ns;
       next = net_next_timer_ns()) {
    // Of equal deadlines the one armed last comes first: an order that all replicas share.
    Timer* timer = g_armed;
    while (timer->deadline_ns != next) {
      timer = timer->next;
    }
    expire(timer);
  }
}

}  // namespace ftrun::shim
