// SPDX-License-Identifier: Apache-2.0
// Handlers of the calls on virtual objects: argument decoding only, the objects are in net/.
// Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <fcntl.h>
#include <sys/time.h>

#include "preload/calls.h"
#include "preload/env.h"
#include "preload/guarded.h"
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

// Calls that make sense on sockets only. ORDER: before the arguments are looked at, as the kernel.
#define FTRUN_REQUIRE_SOCKET(fd)                                 \
  if (const long bad_socket = net_check_socket(number_of(fd))) { \
    return bad_socket;                                           \
  }

// move_addr_to_kernel(): an address into the shim's copy. 0 or -errno.
long address_in(struct sockaddr_storage* to, long address, long length) {
  const auto bytes = static_cast<int>(length);
  if (bytes < 0 || bytes > static_cast<int>(sizeof(*to))) {
    return -EINVAL;
  }
  *to = {};
  const auto wanted = static_cast<size_t>(bytes);
  return copy_in(to, at<void>(address), wanted) == wanted ? 0 : -EFAULT;
}

// The header of a message and its array of buffers into the shim's copies. 0 or -errno.
long message_in(struct msghdr* to, struct iovec (&iov)[kIovecCountMax], long address) {
  if (!get_in(to, at<void>(address))) {
    return -EFAULT;
  }
  // readv says EINVAL to this (sendmsg(2)).
  if (to->msg_iovlen > kIovecCountMax) {
    return -EMSGSIZE;
  }
  const long error = iovecs_in(iov, to->msg_iov, static_cast<long>(to->msg_iovlen));
  to->msg_iov = iov;
  return error;
}

// Two new descriptors to the application; they are closed again if it cannot be told.
// The numbers are used up and free again, as in the kernel, so the next ones are the same.
long descriptors_out(long result, const int (&fds)[2], long address) {
  if (result < 0) {
    return result;
  }
  if (copy_out(at<void>(address), fds, sizeof(fds)) == sizeof(fds)) {
    return result;
  }
  net_close(fds[0]);
  net_close(fds[1]);
  return -EFAULT;
}

int64_t milliseconds_to_ns(long milliseconds) {
  return static_cast<int>(milliseconds) < 0 ? -1 : static_cast<int>(milliseconds) * 1'000'000LL;
}

// Waits are nanoseconds of the virtual clock; what is negative waits for ever.
constexpr int64_t kNoTimeout = -1;

// Reads the optional time-out of a wait: kNoTimeout where there is none. 0, or -errno.
long read_timeout(long address, int64_t* ns) {
  *ns = kNoTimeout;
  return address == 0 ? 0 : read_timespec(address, ns);
}

// What is left of a wait that began at `start_ns`.
// By the clock as it stands. A reading would move it, and might need a record (doors_clock_ns).
int64_t left_of(int64_t start_ns, int64_t timeout_ns) {
  const int64_t left = add_ns(start_ns, timeout_ns) - virtual_now_ns();
  return left > 0 ? left : 0;
}

// Linux writes back what is left of the time, whatever the call returned (poll_select_finish).
void write_time_left(long address, int64_t start_ns, int64_t timeout_ns) {
  if (address != 0 && timeout_ns != 0) {
    // Where it cannot be written nobody is told (the same place in the kernel).
    [[maybe_unused]] const bool is_written =
        put_out(at<void>(address), to_timespec(left_of(start_ns, timeout_ns)));
  }
}

// The mask of signals for the length of a call, if there is one (set_user_sigmask). 0, or -errno.
long set_temporary_mask(long address, size_t size) {
  if (address == 0) {
    return 0;
  }
  SignalSet set = 0;
  if (size != sizeof(set)) {
    return -EINVAL;
  }
  if (!get_in(&set, at<void>(address))) {
    return -EFAULT;
  }
  // ORDER: after a time-out was read, as in the kernel. The end of the call restores the mask,
  // whatever comes of it (signals_finish_call).
  signals_temporary_mask(set);
  return 0;
}

}  // namespace

long do_socket(long, const long* a) {
  return net_socket(number_of(a[0]), number_of(a[1]), number_of(a[2]));
}
long do_socketpair(long, const long* a) {
  int fds[2];
  const long result = net_socketpair(number_of(a[0]), number_of(a[1]), number_of(a[2]), fds);
  return descriptors_out(result, fds, a[3]);
}
long do_bind(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  struct sockaddr_storage address;
  const long error = address_in(&address, a[1], a[2]);
  return error < 0 ? error
                   : net_bind(number_of(a[0]), reinterpret_cast<const sockaddr*>(&address),
                              static_cast<socklen_t>(a[2]));
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
  struct sockaddr_storage address;
  const long error = address_in(&address, a[1], a[2]);
  return error < 0 ? error
                   : net_connect(number_of(a[0]), reinterpret_cast<const sockaddr*>(&address),
                                 static_cast<socklen_t>(a[2]));
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
  // More than any option that the shim has; of longer values the rest is not looked at.
  uint8_t value[256];
  const auto length = static_cast<socklen_t>(a[4]);
  if (static_cast<int>(length) < 0) {
    return -EINVAL;
  }
  const size_t bytes = length < sizeof(value) ? length : sizeof(value);
  if (copy_in(value, at<void>(a[3]), bytes) != bytes) {
    return -EFAULT;
  }
  return net_setsockopt(number_of(a[0]), number_of(a[1]), number_of(a[2]), value,
                        static_cast<socklen_t>(bytes));
}
long do_shutdown(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  return net_shutdown(number_of(a[0]), number_of(a[1]));
}

long do_sendto(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  struct iovec iov = {at<void>(a[1]), static_cast<size_t>(a[2])};
  struct sockaddr_storage address;
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (a[4] != 0) {
    if (const long error = address_in(&address, a[4], a[5])) {
      return error;
    }
    message.msg_name = &address;
    message.msg_namelen = static_cast<socklen_t>(a[5]);
  }
  return net_sendmsg(number_of(a[0]), &message, number_of(a[3]));
}
long do_recvfrom(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  struct iovec iov = {at<void>(a[1]), static_cast<size_t>(a[2])};
  struct msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  const long result = net_recvmsg(number_of(a[0]), &message, number_of(a[3]));
  if (result < 0 || a[4] == 0) {
    return result;
  }
  // Streams tell no sender, but that there is none (move_addr_to_user).
  int room = 0;
  if (!get_in(&room, at<void>(a[5]))) {
    return -EFAULT;
  }
  if (room < 0) {
    return -EINVAL;
  }
  return put_out(at<void>(a[5]), message.msg_namelen) ? result : -EFAULT;
}
long do_sendmsg(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  struct iovec iov[kIovecCountMax];
  struct msghdr message;
  struct sockaddr_storage address;
  if (const long error = message_in(&message, iov, a[1])) {
    return error;
  }
  if (message.msg_name != nullptr && message.msg_namelen > 0) {
    const long name = reinterpret_cast<long>(message.msg_name);
    const socklen_t room = sizeof(address);
    message.msg_namelen = message.msg_namelen < room ? message.msg_namelen : room;
    if (const long error = address_in(&address, name, message.msg_namelen)) {
      return error;
    }
    message.msg_name = &address;
  }
  return net_sendmsg(number_of(a[0]), &message, number_of(a[2]));
}
long do_recvmsg(long, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  struct iovec iov[kIovecCountMax];
  struct msghdr message;
  if (const long error = message_in(&message, iov, a[1])) {
    return error;
  }
  const long result = net_recvmsg(number_of(a[0]), &message, number_of(a[2]));
  if (result < 0) {
    return result;
  }
  auto* given = at<msghdr>(a[1]);
  const bool is_told =
      (message.msg_name == nullptr || put_out(&given->msg_namelen, message.msg_namelen)) &&
      put_out(&given->msg_flags, message.msg_flags) &&
      put_out(&given->msg_controllen, message.msg_controllen);
  return is_told ? result : -EFAULT;
}

// Several messages, each as if it came by itself (net/socket.c).
long do_sendmmsg(long number, const long* a) {
  FTRUN_REQUIRE_SOCKET(a[0]);
  auto* messages = at<mmsghdr>(a[1]);
  const auto wanted = static_cast<uint32_t>(a[2]);
  const int count = static_cast<int>(wanted < kIovecCountMax ? wanted : kIovecCountMax);
  long result = 0;
  int done = 0;
  while (done < count) {
    const long one[3] = {a[0], reinterpret_cast<long>(&messages[done].msg_hdr), a[3]};
    result = do_sendmsg(number, one);
    if (result >= 0 && !put_out(&messages[done].msg_len, static_cast<unsigned>(result))) {
      result = -EFAULT;
    }
    if (result < 0) {
      break;
    }
    ++done;
  }
  return done > 0 ? done : result;
}
long do_recvmmsg(long number, const long* a) {
  int64_t timeout_ns = kNoTimeout;
  const int64_t start_ns = virtual_now_ns();
  if (const long error = read_timeout(a[4], &timeout_ns)) {
    return error;
  }
  FTRUN_REQUIRE_SOCKET(a[0]);
  auto* messages = at<mmsghdr>(a[1]);
  const auto count = static_cast<uint32_t>(a[2]);
  long flags = a[3] & ~long{MSG_WAITFORONE};
  long result = 0;
  uint32_t done = 0;
  // The time is looked at after each message only, as the kernel does.
  while (done < count && (timeout_ns < 0 || done == 0 || left_of(start_ns, timeout_ns) > 0)) {
    const long one[3] = {a[0], reinterpret_cast<long>(&messages[done].msg_hdr), flags};
    result = do_recvmsg(number, one);
    if (result >= 0 && !put_out(&messages[done].msg_len, static_cast<unsigned>(result))) {
      result = -EFAULT;
    }
    if (result < 0) {
      break;
    }
    ++done;
    flags |= (a[3] & MSG_WAITFORONE) != 0 ? MSG_DONTWAIT : 0;
  }
  if (done > 0) {
    write_time_left(a[4], start_ns, timeout_ns);
  }
  return done > 0 ? done : result;
}

long do_pipe2(long, const long* a) {
  int fds[2];
  return descriptors_out(net_pipe(fds, number_of(a[1])), fds, a[0]);
}
long do_pipe(long number, const long* a) {
  const long arguments[2] = {a[0], 0};
  return do_pipe2(number, arguments);
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
  struct itimerspec wanted;
  struct itimerspec old;
  if (!get_in(&wanted, at<void>(a[2]))) {
    return -EFAULT;
  }
  const long result = net_timerfd_settime(number_of(a[0]), number_of(a[1]), &wanted, &old);
  return result < 0 || a[3] == 0 || put_out(at<void>(a[3]), old) ? result : -EFAULT;
}
long do_timerfd_gettime(long, const long* a) {
  struct itimerspec now;
  const long result = net_timerfd_gettime(number_of(a[0]), &now);
  return result < 0 || put_out(at<void>(a[1]), now) ? result : -EFAULT;
}

long do_epoll_create(long, const long* a) {
  return a[0] <= 0 ? -EINVAL : net_epoll_create(0);
}
long do_epoll_create1(long, const long* a) {
  return net_epoll_create(number_of(a[0]));
}
long do_epoll_ctl(long, const long* a) {
  struct epoll_event event = {};
  if (a[1] != EPOLL_CTL_DEL && !get_in(&event, at<void>(a[3]))) {
    return -EFAULT;
  }
  return net_epoll_ctl(number_of(a[0]), number_of(a[1]), number_of(a[2]), &event);
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
  // From here counts the time-out, waits in between included, as in the kernel
  // (poll_select_set_timeout).
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
  if (a[4] != 0) {
    struct timeval time;
    if (!get_in(&time, at<void>(a[4]))) {
      return -EFAULT;
    }
    // Unlike elsewhere, microseconds may be more than a second.
    // ORDER: made whole before the check of its parts (kern_select).
    const struct timeval whole = {time.tv_sec + time.tv_usec / 1'000'000, time.tv_usec % 1'000'000};
    if (to_ns(whole, &timeout_ns) != 0) {
      return -EINVAL;
    }
  }
  const long result =
      net_select(number_of(a[0]), at<fd_set>(a[1]), at<fd_set>(a[2]), at<fd_set>(a[3]), timeout_ns);
  if (a[4] != 0 && timeout_ns != 0) {
    [[maybe_unused]] const bool is_written =
        put_out(at<void>(a[4]), to_timeval(left_of(start_ns, timeout_ns)));
  }
  return result;
}
long do_pselect6(long, const long* a) {
  struct MaskArgument {
    long set;
    size_t size;
  };
  MaskArgument mask = {0, 0};
  if (a[5] != 0 && !get_in(&mask, at<void>(a[5]))) {
    return -EFAULT;
  }
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
