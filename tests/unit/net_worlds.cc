// SPDX-License-Identifier: Apache-2.0
// See net_worlds.h.
#include "tests/unit/net_worlds.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <utility>

#include "tests/unit/fake_env.h"

namespace ftrun::shim {
namespace {

constexpr int kEventsMax = 256;

long checked(long result) {
  return result < 0 ? -errno : result;
}

World::Signals signals_of(const std::vector<siginfo_t>& infos) {
  World::Signals signals;
  for (const siginfo_t& info : infos) {
    const bool detailed = info.si_code != SI_KERNEL;
    signals.emplace(info.si_signo, info.si_code, detailed ? info.si_band : 0,
                    detailed ? info.si_fd : 0);
  }
  return signals;
}

class KernelWorld : public World {
 public:
  KernelWorld() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    for (const int number : {SIGURG, SIGIO, real_time_signal()}) {
      sigaddset(&set, number);
    }
    sigprocmask(SIG_BLOCK, &set, nullptr);
  }
  long read(int fd, char* buffer, size_t length, int flags) override {
    return checked(flags < 0 ? ::read(fd, buffer, length) : ::recv(fd, buffer, length, flags));
  }
  long write(int fd, const char* bytes, size_t length, int flags) override {
    return checked(flags < 0 ? ::write(fd, bytes, length) : ::send(fd, bytes, length, flags));
  }
  long readv(int fd, const iovec* iov, int count) override {
    return checked(::readv(fd, iov, count));
  }
  long writev(int fd, const iovec* iov, int count) override {
    return checked(::writev(fd, iov, count));
  }
  long socket(int domain, int type) override { return checked(::socket(domain, type, 0)); }
  long accept(int fd, int flags) override {
    return checked(::accept4(fd, nullptr, nullptr, flags));
  }
  long shutdown(int fd, int how) override { return checked(::shutdown(fd, how)); }
  long close(int fd) override { return checked(::close(fd)); }
  long dup(int fd) override { return checked(::dup(fd)); }
  long dup2(int fd, int at) override { return checked(::dup2(fd, at)); }
  long fcntl(int fd, int command, unsigned long argument) override {
    return checked(::fcntl(fd, command, argument));
  }
  long ioctl(int fd, unsigned long request, int* value) override {
    return checked(::ioctl(fd, request, value));
  }
  long getsockopt(int fd, int level, int name, int* value) override {
    socklen_t length = sizeof(*value);
    return checked(::getsockopt(fd, level, name, value, &length));
  }
  long setsockopt(int fd, int level, int name, int value) override {
    return checked(::setsockopt(fd, level, name, &value, sizeof(value)));
  }
  long getpeername(int fd) override {
    sockaddr_storage address;
    socklen_t length = sizeof(address);
    return checked(::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length));
  }
  long pipe(int fds[2], int flags) override { return checked(::pipe2(fds, flags)); }
  long socketpair(int type, int fds[2]) override {
    return checked(::socketpair(AF_UNIX, type, 0, fds));
  }
  long eventfd(unsigned initial, int flags) override { return checked(::eventfd(initial, flags)); }
  long timerfd(int flags) override { return checked(::timerfd_create(CLOCK_MONOTONIC, flags)); }
  long timerfd_settime(int fd, int flags, const itimerspec& value) override {
    return checked(::timerfd_settime(fd, flags, &value, nullptr));
  }
  long epoll_create() override { return checked(::epoll_create1(0)); }
  long epoll_ctl(int epoll, int operation, int fd, uint32_t events, uint64_t data) override {
    epoll_event event = {};
    event.events = events;
    event.data.u64 = data;
    return checked(::epoll_ctl(epoll, operation, fd, &event));
  }
  long epoll_wait(int epoll, int max_events, Events* events) override {
    epoll_event buffer[kEventsMax];
    const long count = checked(::epoll_wait(epoll, buffer, max_events, 0));
    for (long i = 0; i < count; ++i) {
      events->emplace_back(uint64_t{buffer[i].data.u64}, uint32_t{buffer[i].events});
    }
    return count;
  }
  long poll(std::vector<pollfd>* fds) override {
    return checked(::poll(fds->data(), fds->size(), 0));
  }
  long select(int count, fd_set* read, fd_set* write, fd_set* except) override {
    timeval zero = {};
    return checked(::select(count, read, write, except, &zero));
  }
  int take_sigpipes() override {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    const timespec zero = {};
    return sigtimedwait(&set, nullptr, &zero) == SIGPIPE ? 1 : 0;
  }
  Signals take_file_signals() override {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGURG, SIGIO, real_time_signal()}) {
      sigaddset(&set, number);
    }
    const timespec zero = {};
    std::vector<siginfo_t> infos;
    siginfo_t info;
    while (sigtimedwait(&set, &info, &zero) > 0) {
      infos.push_back(info);
    }
    return signals_of(infos);
  }
};

class VirtualWorld : public World {
 public:
  long read(int fd, char* buffer, size_t length, int flags) override {
    return flags < 0 ? fake::read_fd(fd, buffer, length) : fake::recv_fd(fd, buffer, length, flags);
  }
  long write(int fd, const char* bytes, size_t length, int flags) override {
    const std::string data(bytes, length);
    return flags < 0 ? fake::write_fd(fd, data) : fake::send_fd(fd, data, flags);
  }
  long readv(int fd, const iovec* iov, int count) override { return net_readv(fd, iov, count); }
  long writev(int fd, const iovec* iov, int count) override { return net_writev(fd, iov, count); }
  long socket(int domain, int type) override { return net_socket(domain, type, 0); }
  long accept(int fd, int flags) override { return net_accept(fd, nullptr, nullptr, flags); }
  long shutdown(int fd, int how) override { return net_shutdown(fd, how); }
  long close(int fd) override { return net_close(fd); }
  long dup(int fd) override { return net_dup(fd, 0, -1, false); }
  long dup2(int fd, int at) override { return net_dup(fd, 0, at, false); }
  long fcntl(int fd, int command, unsigned long argument) override {
    return net_fcntl(fd, command, argument);
  }
  long ioctl(int fd, unsigned long request, int* value) override {
    return net_ioctl(fd, request, reinterpret_cast<unsigned long>(value));
  }
  long getsockopt(int fd, int level, int name, int* value) override {
    socklen_t length = sizeof(*value);
    return net_getsockopt(fd, level, name, value, &length);
  }
  long setsockopt(int fd, int level, int name, int value) override {
    return net_setsockopt(fd, level, name, &value, sizeof(value));
  }
  long getpeername(int fd) override {
    sockaddr_storage address;
    socklen_t length = sizeof(address);
    return net_getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length);
  }
  long pipe(int fds[2], int flags) override { return net_pipe(fds, flags); }
  long socketpair(int type, int fds[2]) override { return net_socketpair(AF_UNIX, type, 0, fds); }
  long eventfd(unsigned initial, int flags) override { return net_eventfd(initial, flags); }
  long timerfd(int flags) override { return net_timerfd_create(CLOCK_MONOTONIC, flags); }
  long timerfd_settime(int fd, int flags, const itimerspec& value) override {
    return net_timerfd_settime(fd, flags, &value, nullptr);
  }
  long epoll_create() override { return net_epoll_create(0); }
  long epoll_ctl(int epoll, int operation, int fd, uint32_t events, uint64_t data) override {
    epoll_event event = {};
    event.events = events;
    event.data.u64 = data;
    return net_epoll_ctl(epoll, operation, fd, &event);
  }
  long epoll_wait(int epoll, int max_events, Events* events) override {
    epoll_event buffer[kEventsMax];
    const long count = net_epoll_wait(epoll, buffer, max_events, 0);
    for (long i = 0; i < count; ++i) {
      events->emplace_back(uint64_t{buffer[i].data.u64}, uint32_t{buffer[i].events});
    }
    return count;
  }
  long poll(std::vector<pollfd>* fds) override { return net_poll(fds->data(), fds->size(), 0); }
  long select(int count, fd_set* read, fd_set* write, fd_set* except) override {
    return net_select(count, read, write, except, 0);
  }
  int take_sigpipes() override { return std::exchange(fake::env().sigpipes, 0); }
  Signals take_file_signals() override {
    return signals_of(std::exchange(fake::env().signals, {}));
  }
};

}  // namespace

std::unique_ptr<World> make_kernel_world() {
  return std::make_unique<KernelWorld>();
}
std::unique_ptr<World> make_virtual_world() {
  return std::make_unique<VirtualWorld>();
}

}  // namespace ftrun::shim
