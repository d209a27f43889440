// SPDX-License-Identifier: Apache-2.0
// The virtual kernel objects: TCP sockets, epoll, poll/select, pipes, socketpairs, eventfd, timerfd
// and the console. Each function is one system call on virtual descriptors: same arguments, result
// or -errno, computed from arrivals and from what the application did alone.
// Runs in the application on the shim's stack with the token held; no libc, no system calls.
#pragma once

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

namespace ftrun::shim {

// What stands behind a descriptor number.
enum class FdKind : uint8_t {
  kFree = 0,     // closed as far as the shim knows
  kNative = 1,   // a descriptor of the kernel's: files; calls on it are not virtual
  kVirtual = 2,  // an object of this directory
};
FdKind fd_kind(int fd);  // kFree for numbers out of range
// Native descriptors: what preload/files/ wants to remember with the number (a class and a record).
void fd_set_native(int fd, uint8_t native_class, bool close_on_exec);
uint8_t fd_native_class(int fd);
void fd_clear_native(int fd);  // after a native close
// The open file description behind a native number, named by a count of them: dups have the same.
// 0 for numbers that are not native.
uint32_t fd_description(int fd);
void fd_share_description(int fd, int other);  // `fd` is a dup of `other`
bool fd_description_is_open(uint32_t description);

void net_init();  // makes 1 and 2 the console (they are held by /dev/null natively)
void net_end();   // the process ends: closes all connections for the world, lets go of nothing

// Pointers: what says "the application's" is followed with a guard (guarded.h); addresses, options,
// arrays of buffers and other structures are the caller's copies.

// How a message-like call names its buffers, which are the application's. Shared by
// read/readv/recv/recvfrom/recvmsg, …. `flags`: MSG_DONTWAIT or 0.
long net_readv(int fd, const struct iovec* iov, int count, int flags = 0);
long net_writev(int fd, const struct iovec* iov, int count, int flags = 0);
// `writable_space`, see sendfile: at most this many bytes would be taken now (or -EAGAIN, -EPIPE);
// blocks like a write when the descriptor is blocking.
long net_send_room(int fd, int flags = 0);
// Waits until there is something to read, an end or an error; 0 or -errno. `flags`: as above.
long net_wait_input(int fd, int flags);
long net_recvmsg(int fd, struct msghdr* message, int flags);
long net_sendmsg(int fd, const struct msghdr* message, int flags);

// 0 if the number is a virtual socket; else -EBADF or -ENOTSOCK.
long net_check_socket(int fd);
long net_socket(int domain, int type, int protocol);
long net_socketpair(int domain, int type, int protocol, int fds[2]);
long net_bind(int fd, const struct sockaddr* address, socklen_t length);
long net_listen(int fd, int backlog);
// `address` and `length` here and in the names below: the application's.
long net_accept(int fd, struct sockaddr* address, socklen_t* length, int flags);
long net_connect(int fd, const struct sockaddr* address, socklen_t length);
long net_getsockname(int fd, struct sockaddr* address, socklen_t* length);
long net_getpeername(int fd, struct sockaddr* address, socklen_t* length);
// `value` and `length`: the application's.
long net_getsockopt(int fd, int level, int name, void* value, socklen_t* length);
long net_setsockopt(int fd, int level, int name, const void* value, socklen_t length);
long net_shutdown(int fd, int how);

long net_pipe(int fds[2], int flags);
long net_eventfd(unsigned initial, int flags);
long net_timerfd_create(int clock, int flags);
long net_timerfd_settime(int fd, int flags, const struct itimerspec* value,
                         struct itimerspec* old_value);
long net_timerfd_gettime(int fd, struct itimerspec* value);

long net_epoll_create(int flags);
long net_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event* event);
// `timeout_ns` < 0 waits for ever.
// `events`: the application's.
long net_epoll_wait(int epoll_fd, struct epoll_event* events, int max_events, int64_t timeout_ns);
// Mixed virtual and native descriptors; native ones are files and always ready. `fds` and the sets
// are the application's.
long net_poll(struct pollfd* fds, nfds_t count, int64_t timeout_ns);
long net_select(int count, fd_set* read, fd_set* write, fd_set* except, int64_t timeout_ns);

long net_close(int fd);
// dup, dup2, dup3, F_DUPFD for an `old_fd` that is virtual. `at` >= 0: exactly that number.
long net_dup(int old_fd, int at_least, int at, bool close_on_exec);
long net_fcntl(int fd, int command, unsigned long argument);  // F_DUPFD* included
// `argument`: the application's, where it is a pointer.
long net_ioctl(int fd, unsigned long request, unsigned long argument);
long net_fstat(int fd, struct stat* out);
void net_fchmod(int fd, unsigned permissions);  // REQUIRES: `fd` is virtual
long net_lseek(int fd);                         // -ESPIPE
// Opens what the virtual descriptor `fd` names anew, as open("/proc/self/fd/N") does: -ENOENT where
// there is none, -ENXIO for what has no name to open.
long net_reopen(int fd, int flags);
// readlink("/proc/self/fd/N"): the length of the text, `size` at most.
long net_link_name(int fd, char* out, size_t size);

}  // namespace ftrun::shim
