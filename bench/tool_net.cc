// SPDX-License-Identifier: Apache-2.0
// Sockets and the epoll loop of the load tools. Ordinary single-threaded tool processes.
#include "bench/tool_net.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace ftrun::load {

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void Descriptor::reset(int fd) {
  if (fd_ >= 0) {
    close(fd_);
  }
  fd_ = fd;
}

static std::string os_error(const char* what) {
  return fmt::format("{}: {}", what, strerror(errno));
}

std::string start_connect(const Endpoint& endpoint, Descriptor* socket) {
  Descriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    return os_error("socket");
  }
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(endpoint.port);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    return os_error("connect");
  }
  *socket = std::move(fd);
  return {};
}

int connect_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

std::string connect_now(const Endpoint& endpoint, int timeout_ms, Descriptor* socket) {
  Descriptor fd;
  if (std::string error = start_connect(endpoint, &fd); !error.empty()) {
    return error;
  }
  pollfd wait{fd.get(), POLLOUT, 0};
  if (poll(&wait, 1, timeout_ms) != 1) {
    return fmt::format("connect: no answer within {} ms", timeout_ms);
  }
  if (const int error = connect_error(fd.get()); error != 0) {
    return fmt::format("connect: {}", strerror(error));
  }
  *socket = std::move(fd);
  return {};
}

std::string ask_line(int fd, const std::string& bytes, int timeout_ms, std::string* line) {
  const int64_t deadline = now_ns() + timeout_ms * 1'000'000LL;
  size_t sent = 0;
  line->clear();
  while (line->find("\r\n") == std::string::npos) {
    const auto left_ms = static_cast<int>((deadline - now_ns()) / 1'000'000);
    pollfd wait{fd, static_cast<short>(sent < bytes.size() ? POLLIN | POLLOUT : POLLIN), 0};
    if (left_ms <= 0 || poll(&wait, 1, left_ms) != 1) {
      return fmt::format("no answer within {} ms", timeout_ms);
    }
    if ((wait.revents & POLLOUT) != 0 && sent < bytes.size()) {
      const ssize_t n = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) {
        return os_error("send");
      }
      sent += n > 0 ? static_cast<size_t>(n) : 0;
    }
    if ((wait.revents & ~POLLOUT) != 0) {
      char buffer[4096];
      const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
      if (n == 0 || (n < 0 && errno != EAGAIN)) {
        return n == 0 ? std::string("connection closed by the server") : os_error("recv");
      }
      line->append(buffer, n > 0 ? static_cast<size_t>(n) : 0);
    }
  }
  line->resize(line->find("\r\n"));
  return {};
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

static void control(int epoll, int operation, int fd, uint32_t events, Handler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  if (epoll_ctl(epoll, operation, fd, &event) != 0) {
    perror("epoll_ctl");
    abort();
  }
}

Loop::Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
void Loop::add(int fd, uint32_t events, Handler* handler) {
  control(epoll_.get(), EPOLL_CTL_ADD, fd, events, handler);
}
void Loop::change(int fd, uint32_t events, Handler* handler) {
  control(epoll_.get(), EPOLL_CTL_MOD, fd, events, handler);
}
void Loop::remove(int fd) {
  control(epoll_.get(), EPOLL_CTL_DEL, fd, 0, nullptr);
}

int64_t Loop::step(int timeout_ms) {
  constexpr int events_max = 256;
  epoll_event events[events_max];
  const int count = epoll_wait(epoll_.get(), events, events_max, timeout_ms);
  const int64_t now = now_ns();
  for (int i = 0; i < count; ++i) {
    static_cast<Handler*>(events[i].data.ptr)->on_ready(events[i].events, now);
  }
  return now;
}

}  // namespace ftrun::load
