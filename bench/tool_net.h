// SPDX-License-Identifier: Apache-2.0
// What the load tools share: the clock, non-blocking TCP clients, an epoll loop of handlers.
// For ordinary single-threaded tool processes; never used in the shim or the supervisor.
// Errors are returned as text; an empty text means success.
#pragma once

#include <cstdint>
#include <string>

namespace ftrun::load {

// CLOCK_MONOTONIC in ns: comparable with other processes on the same host.
int64_t now_ns();

// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~Descriptor() { reset(-1); }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd);

 private:
  int fd_ = -1;
};

// Where the server is: a port on 127.0.0.1.
struct Endpoint {
  uint16_t port = 0;
};

// Starts a non-blocking connect to 127.0.0.1 with TCP_NODELAY. The socket becomes writable when it
// is done; then ask connect_error().
std::string start_connect(const Endpoint& endpoint, Descriptor* socket);
// 0 when the connect succeeded, else its errno.
int connect_error(int fd);
// Blocking connect within `timeout_ms`; the socket stays non-blocking.
std::string connect_now(const Endpoint& endpoint, int timeout_ms, Descriptor* socket);

// Sends all of `bytes` and waits for at least one whole reply line, up to `timeout_ms`: for set-up
// and final questions, not for load.
std::string ask_line(int fd, const std::string& bytes, int timeout_ms, std::string* line);

// Raises the soft limit of descriptors to the hard one.
void raise_descriptor_limit();

// Receives the events of one descriptor in a Loop.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void on_ready(uint32_t epoll_events, int64_t now) = 0;
};

// A thin epoll: handlers are called with the time of the wake-up.
class Loop {
 public:
  Loop();
  void add(int fd, uint32_t events, Handler* handler);
  void change(int fd, uint32_t events, Handler* handler);
  void remove(int fd);
  // Waits up to `timeout_ms` (-1: for ever) and calls the handlers; returns the time after the
  // wait.
  int64_t step(int timeout_ms);

 private:
  Descriptor epoll_;
};

}  // namespace ftrun::load
