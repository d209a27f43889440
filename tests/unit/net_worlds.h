// SPDX-License-Identifier: Apache-2.0
// The same calls on two worlds: the kernel's objects and the virtual ones. Results are as system
// calls give them: a value or -errno. For the differential tests; runs in test processes only.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "preload/net/net.h"

namespace ftrun::shim {

using Events = std::vector<std::pair<uint64_t, uint32_t>>;  // data, events

inline int real_time_signal() {
  return SIGRTMIN + 3;
}

class World {
 public:
  virtual ~World() = default;
  // `flags` < 0: read and write; else recv and send.
  virtual long read(int fd, char* buffer, size_t length, int flags) = 0;
  virtual long write(int fd, const char* bytes, size_t length, int flags) = 0;
  virtual long readv(int fd, const iovec* iov, int count) = 0;
  virtual long writev(int fd, const iovec* iov, int count) = 0;
  virtual long socket(int domain, int type) = 0;
  virtual long accept(int fd, int flags) = 0;
  virtual long shutdown(int fd, int how) = 0;
  virtual long close(int fd) = 0;
  virtual long dup(int fd) = 0;
  virtual long dup2(int fd, int at) = 0;
  virtual long fcntl(int fd, int command, unsigned long argument) = 0;
  virtual long ioctl(int fd, unsigned long request, int* value) = 0;
  virtual long getsockopt(int fd, int level, int name, int* value) = 0;
  virtual long setsockopt(int fd, int level, int name, int value) = 0;
  virtual long getpeername(int fd) = 0;
  virtual long pipe(int fds[2], int flags) = 0;
  virtual long socketpair(int type, int fds[2]) = 0;
  virtual long eventfd(unsigned initial, int flags) = 0;
  virtual long timerfd(int flags) = 0;
  virtual long timerfd_settime(int fd, int flags, const itimerspec& value) = 0;
  virtual long epoll_create() = 0;
  virtual long epoll_ctl(int epoll, int operation, int fd, uint32_t events, uint64_t data) = 0;
  virtual long epoll_wait(int epoll, int max_events, Events* events) = 0;
  virtual long poll(std::vector<pollfd>* fds) = 0;
  virtual long select(int count, fd_set* read, fd_set* write, fd_set* except) = 0;
  virtual int take_sigpipes() = 0;  // raised since the last call
  // Signals about files since the last call: each kind once, since how often a kernel's segment
  // arrives is its own business. Number, code, band, descriptor.
  using Signals = std::set<std::tuple<int, int, long, int>>;
  virtual Signals take_file_signals() = 0;
};

std::unique_ptr<World> make_kernel_world();  // blocks SIGPIPE in this thread
std::unique_ptr<World> make_virtual_world();

}  // namespace ftrun::shim
