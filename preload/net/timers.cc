// SPDX-License-Identifier: Apache-2.0
// timerfd: deadlines on the virtual clock; the model is fs/timerfd.c of Linux 6. Expiry is decided
// by net_expire_timers(), which the clock calls when it moves, never by looking at a clock here.
// Runs in the application with the token held; no libc, no system calls.
#include <sys/timerfd.h>

#include "preload/net/descriptors.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

constexpr int64_t kSecond = 1000000000;
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
  g_next_stale |= timer->deadline_ns == g_next_ns;
}

void expire(Timer* timer) {
  disarm(timer);
  ++timer->ticks;
  wake(&timer->readers, kWakeAll);
  notify(timer, EPOLLIN);
}

int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

// A periodic timer that has expired starts anew when somebody looks: periods that went by since
// count as ticks, and the next deadline lies in the future (hrtimer_forward_now).
void forward(Timer* timer) {
  if (timer->ticks == 0 || timer->armed || timer->interval_ns == 0) {
    return;
  }
  const int64_t late = virtual_now_ns() - timer->deadline_ns;
  const int64_t periods = late < 0 ? 0 : late / timer->interval_ns;
  timer->ticks += static_cast<uint64_t>(periods);
  timer->deadline_ns = saturating_add(timer->deadline_ns, (periods + 1) * timer->interval_ns);
  arm(timer);
}

uint32_t timer_poll(File* file) {
  return static_cast<Timer*>(file)->ticks > 0 ? EPOLLIN : 0u;
}

long timer_read(File* file, IoCursor* to, int flags) {
  Timer* timer = static_cast<Timer*>(file);
  if (to->left() < sizeof(uint64_t)) {
    return -EINVAL;
  }
  auto attempt = [&]() -> long { return timer->ticks == 0 ? -EAGAIN : 0; };
  if (attempt() != 0) {
    ingest_point();
  }
  const long error =
      attempt_or_wait(timer, &timer->readers, is_nonblocking(timer, flags), -1, attempt);
  if (error < 0) {
    return error;
  }
  forward(timer);
  const uint64_t ticks = timer->ticks;
  timer->ticks = 0;
  to->put(reinterpret_cast<const uint8_t*>(&ticks), sizeof(ticks));
  return sizeof(ticks);
}

void timer_release(File* file) {
  Timer* timer = static_cast<Timer*>(file);
  disarm(timer);
  g_timers.put(timer);
}

constexpr FileOps kTimerOps = {FileType::kTimer, timer_poll, timer_read,
                               nullptr,          nullptr,    timer_release};

bool is_valid(const struct timespec& time) {
  return time.tv_sec >= 0 && time.tv_nsec >= 0 && time.tv_nsec < kSecond;
}

int64_t to_ns(const struct timespec& time) {
  return time.tv_sec > INT64_MAX / kSecond - 1 ? INT64_MAX : time.tv_sec * kSecond + time.tv_nsec;
}

struct timespec to_timespec(int64_t ns) {
  return {.tv_sec = ns / kSecond, .tv_nsec = ns % kSecond};
}

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
  if ((flags & ~(TFD_TIMER_ABSTIME | kCancelOnSet)) != 0 || !is_valid(value->it_value) ||
      !is_valid(value->it_interval)) {
    return -EINVAL;
  }
  long error = 0;
  Timer* timer = timer_of(fd, &error);
  if (timer == nullptr) {
    return error;
  }
  const struct itimerspec wanted = *value;  // may be the same memory as old_value
  if (old_value != nullptr) {
    fill_current(timer, old_value);
  }
  disarm(timer);
  timer->ticks = 0;
  timer->interval_ns = to_ns(wanted.it_interval);
  const int64_t first = to_ns(wanted.it_value);
  if (first == 0) {
    return 0;
  }
  const int64_t now = virtual_now_ns();
  if ((flags & TFD_TIMER_ABSTIME) == 0) {
    timer->deadline_ns = saturating_add(now, first);
  } else {
    timer->deadline_ns = timer->real_time ? first - realtime_offset_ns() : first;
  }
  timer->deadline_ns = timer->deadline_ns > 0 ? timer->deadline_ns : 0;
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
    Timer* timer = g_armed;
    while (timer->deadline_ns != next) {
      timer = timer->next;
    }
    expire(timer);
  }
}

}  // namespace ftrun::shim
