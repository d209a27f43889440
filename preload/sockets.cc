// SPDX-License-Identifier: Apache-2.0
// Handlers of the calls on virtual objects: argument decoding only, the objects are in net/.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/time.h>

#include "preload/calls.h"
#include "preload/env.h"
#include "preload/net/net.h"
#include "preload/signals.h"
#include "preload/times.h"

namespace ftrun::shim {
namespace {

int number_of(long value) {
  return static_cast<int>(value);
}
template <typename T>
T* at(long value) {
  return reinterpret_cast<T*>(value);
}

// Calls that make sense on virtual descriptors only: what is native is a file.
#define FTRUN_REQUIRE_SOCKET(fd)    \
  switch (fd_kind(number_of(fd))) { \
    case FdKind::kFree:             \
      return -EBADF;                \
    case FdKind::kNative:           \
      return -ENOTSOCK;             \
    case FdKind::kVirtual:          \
      break;                        \
  }

int64_t milliseconds_to_ns(long milliseconds) {
  return static_cast<int>(milliseconds) < 0 ? -1 : static_cast<int>(milliseconds) * 1'000'000LL;
}

constexpr int64_t kNoTimeout = -1;

// Reads the optional time-out of a wait: kNoTimeout where there is none. 0, or -errno.
long read_timeout(long address, int64_t* ns) {
  *ns = kNoTimeout;
  return address == 0 ? 0 : read_timespec(address, ns);
}

// What is left of a wait that began at `start_ns`.
int64_t left_of(int64_t start_ns, int64_t timeout_ns) {
  const int64_t left = add_ns(start_ns, timeout_ns) - virtual_now_ns();
  return left > 0 ? left : 0;
}

// Linux writes back what is left of the time, whatever the call returned (poll_select_finish).
void write_time_left(long address, int64_t start_ns, int64_t timeout_ns) {
  if (address != 0 && timeout_ns != 0) {
    *at<timespec>(address) = to_timespec(left_of(start_ns, timeout_ns));
  }
}

// The mask of signals for the length of a call, if there is one (set_user_sigmask). 0, or -errno.
long set_temporary_mask(long address, size_t size) {
  if (address != 0 && size != sizeof(SignalSet)) {
    return -EINVAL;
  }
  signals_temporary_mask(at<const SignalSet>(address));
  return 0;
}

}  // namespace

long do_socket(long, const long* a) {
  return net_socket(number_of(a[0]), number_of(a[1]), number_of(a[2]));
}
long do_socketpair(long, const long* a) {
  return net_socketpair(number_of(a[0]), number_of(a[1]), number_of(a[2]), at<int>(a[3]));
}
long do_bind(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_bind(number_of(a[0]), at<const sockaddr>(a[1]), static_cast<socklen_t>(a[2]));
}
long do_listen(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_listen(number_of(a[0]), number_of(a[1]));
}
long do_accept(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_accept(number_of(a[0]), at<sockaddr>(a[1]), at<socklen_t>(a[2]), 0);
}
long do_accept4(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_accept(number_of(a[0]), at<sockaddr>(a[1]), at<socklen_t>(a[2]), number_of(a[3]));
}
long do_connect(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_connect(number_of(a[0]), at<const sockaddr>(a[1]), static_cast<socklen_t>(a[2]));
}
long do_getsockname(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_getsockname(number_of(a[0]), at<sockaddr>(a[1]), at<socklen_t>(a[2]));
}
long do_getpeername(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_getpeername(number_of(a[0]), at<sockaddr>(a[1]), at<socklen_t>(a[2]));
}
long do_getsockopt(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_getsockopt(number_of(a[0]), number_of(a[1]), number_of(a[2]), at<void>(a[3]),
                        at<socklen_t>(a[4]));
}
long do_setsockopt(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_setsockopt(number_of(a[0]), number_of(a[1]), number_of(a[2]), at<const void>(a[3]),
                        static_cast<socklen_t>(a[4]));
}
long do_shutdown(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_shutdown(number_of(a[0]), number_of(a[1]));
}

long do_sendto(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  struct iovec iov = {at<void>(a[1]), static_cast<size_t>(a[2])};
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_name = at<void>(a[4]);
  message.msg_namelen = a[4] != 0 ? static_cast<socklen_t>(a[5]) : 0;
  return net_sendmsg(number_of(a[0]), &message, number_of(a[3]));
}
long do_recvfrom(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  struct iovec iov = {at<void>(a[1]), static_cast<size_t>(a[2])};
  struct msghdr message = {};
  auto* length = at<socklen_t>(a[5]);
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_name = at<void>(a[4]);
  message.msg_namelen = a[4] != 0 && length != nullptr ? *length : 0;
  const long result = net_recvmsg(number_of(a[0]), &message, number_of(a[3]));
  if (result >= 0 && a[4] != 0 && length != nullptr) {
    *length = message.msg_namelen;
  }
  return result;
}
long do_sendmsg(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_sendmsg(number_of(a[0]), at<const msghdr>(a[1]), number_of(a[2]));
}
long do_recvmsg(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_recvmsg(number_of(a[0]), at<msghdr>(a[1]), number_of(a[2]));
}

long do_pipe(long, const long* a) {
  return net_pipe(at<int>(a[0]), 0);
}
long do_pipe2(long, const long* a) {
  return net_pipe(at<int>(a[0]), number_of(a[1]));
}
long do_eventfd(long, const long* a) {
  return net_eventfd(static_cast<unsigned>(a[0]), 0);
}
long do_eventfd2(long, const long* a) {
  return net_eventfd(static_cast<unsigned>(a[0]), number_of(a[1]));
}
long do_timerfd_create(long, const long* a) {
  return net_timerfd_create(number_of(a[0]), number_of(a[1]));
}
long do_timerfd_settime(long, const long* a) {
  return net_timerfd_settime(number_of(a[0]), number_of(a[1]), at<const itimerspec>(a[2]),
                             at<itimerspec>(a[3]));
}
long do_timerfd_gettime(long, const long* a) {
  return net_timerfd_gettime(number_of(a[0]), at<itimerspec>(a[1]));
}

long do_epoll_create(long, const long* a) {
  return a[0] <= 0 ? -EINVAL : net_epoll_create(0);
}
long do_epoll_create1(long, const long* a) {
  return net_epoll_create(number_of(a[0]));
}
long do_epoll_ctl(long, const long* a) {
  return net_epoll_ctl(number_of(a[0]), number_of(a[1]), number_of(a[2]), at<epoll_event>(a[3]));
}
long do_epoll_wait(long, const long* a) {
  return net_epoll_wait(number_of(a[0]), at<epoll_event>(a[1]), number_of(a[2]),
                        milliseconds_to_ns(a[3]));
}
long do_epoll_pwait(long number, const long* a) {
  const long error = set_temporary_mask(a[4], static_cast<size_t>(a[5]));
  return error < 0 ? error : do_epoll_wait(number, a);
}
long do_epoll_pwait2(long, const long* a) {
  int64_t timeout_ns = kNoTimeout;
  long error = read_timeout(a[3], &timeout_ns);
  if (error == 0) {
    error = set_temporary_mask(a[4], static_cast<size_t>(a[5]));
  }
  return error < 0
             ? error
             : net_epoll_wait(number_of(a[0]), at<epoll_event>(a[1]), number_of(a[2]), timeout_ns);
}

long do_poll(long, const long* a) {
  return net_poll(at<pollfd>(a[0]), static_cast<uint32_t>(a[1]), milliseconds_to_ns(a[2]));
}
long do_ppoll(long, const long* a) {
  int64_t timeout_ns = kNoTimeout;
  const int64_t start_ns = virtual_now_ns();
  long result = read_timeout(a[2], &timeout_ns);
  if (result == 0) {
    result = set_temporary_mask(a[3], static_cast<size_t>(a[4]));
  }
  if (result < 0) {
    return result;
  }
  result = net_poll(at<pollfd>(a[0]), static_cast<uint32_t>(a[1]), timeout_ns);
  write_time_left(a[2], start_ns, timeout_ns);
  return result;
}

long do_select(long, const long* a) {
  int64_t timeout_ns = kNoTimeout;
  const int64_t start_ns = virtual_now_ns();
  auto* time = at<timeval>(a[4]);
  if (time != nullptr) {
    // Unlike elsewhere, microseconds may be more than a second.
    const struct timeval whole = {time->tv_sec + time->tv_usec / 1'000'000,
                                  time->tv_usec % 1'000'000};
    if (to_ns(whole, &timeout_ns) != 0) {
      return -EINVAL;
    }
  }
  const long result =
      net_select(number_of(a[0]), at<fd_set>(a[1]), at<fd_set>(a[2]), at<fd_set>(a[3]), timeout_ns);
  if (time != nullptr && timeout_ns != 0) {
    *time = to_timeval(left_of(start_ns, timeout_ns));
  }
  return result;
}
long do_pselect6(long, const long* a) {
  struct MaskArgument {
    long set;
    size_t size;
  };
  const MaskArgument mask = a[5] != 0 ? *at<const MaskArgument>(a[5]) : MaskArgument{0, 0};
  int64_t timeout_ns = kNoTimeout;
  const int64_t start_ns = virtual_now_ns();
  long result = read_timeout(a[4], &timeout_ns);
  if (result == 0) {
    result = set_temporary_mask(mask.set, mask.size);
  }
  if (result < 0) {
    return result;
  }
  result =
      net_select(number_of(a[0]), at<fd_set>(a[1]), at<fd_set>(a[2]), at<fd_set>(a[3]), timeout_ns);
  write_time_left(a[4], start_ns, timeout_ns);
  return result;
}

}  // namespace ftrun::shim
