// SPDX-License-Identifier: Apache-2.0
// A server of lines with planted non-determinism: it looks at things behind the shim's back, which
// differ between replicas. Knows where the shim keeps its clock, as no honest program would.
//
//   program_planted PORT      serve
//   program_planted layout    where things are in a process of it, for tests that write there
//
// Lines: "add N" adds to the total and answers with it; "clock" and "random" answer with a value
// that no log has, "clock-call" and "random-call" make as many calls as it says instead; "last"
// answers with the last such value; "spin N" computes for a while; "where" is the total's address.
#include <arpa/inet.h>
#include <cpuid.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "eventlog/shared_region.h"

namespace {

using ftrun::Control;

uint64_t total = 0;
uint64_t last = 0;

// The unlogged clock: the supervisor's word in shared memory (0 where there is no ftrun).
uint64_t unlogged_clock() {
  const auto* control = reinterpret_cast<const Control*>(ftrun::kRegionAddress);
  return control->coarse_now_ns.load(std::memory_order_relaxed);
}

bool has_rdrand() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_RDRND) != 0;
}

uint64_t unlogged_random() {
  unsigned long long value = 0;
  unsigned char done = 0;
  while (done == 0) {
    __asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(value), "=qm"(done) : : "cc");
  }
  return value;
}

// Some calls that the log must have, as many as nobody could foresee: a few milliseconds' worth,
// and a prime, so that two replicas hardly ever make as many.
constexpr uint64_t kCallsMax = 20011;
__attribute__((noinline)) void make_calls(uint64_t count) {
  for (uint64_t i = 0; i <= count % kCallsMax; ++i) {
    char byte;
    if (getrandom(&byte, 1, 0) != 1) {
      std::abort();
    }
  }
}

std::string spin(uint64_t rounds) {
  volatile uint64_t sink = 0;
  for (uint64_t i = 0; i < rounds; ++i) {
    sink = sink + i;
  }
  return "spun";
}

std::string answer(const std::string& line) {
  const auto number = [&line] { return std::strtoull(line.c_str() + line.find(' '), nullptr, 10); };
  if (line.starts_with("add ")) {
    total += number();
    return "total " + std::to_string(total);
  }
  if (line.starts_with("spin ")) {
    return spin(number());
  }
  if (line == "where") {
    return std::to_string(reinterpret_cast<uintptr_t>(&total));
  }
  if (line.starts_with("clock")) {
    last = unlogged_clock();
  } else if (line.starts_with("random")) {
    if (!has_rdrand()) {
      return "no such instruction";
    }
    last = unlogged_random();
  }
  if (line.ends_with("-call")) {
    make_calls(last);
    return "called";
  }
  return std::to_string(last);
}

int listen_on(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, 64) != 0) {
    std::perror("program_planted");
    std::exit(1);
  }
  return fd;
}

// Reads what is there and answers whole lines. False when the peer has left.
bool serve_client(int fd, std::string* input) {
  char buffer[4096];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got <= 0) {
    return false;
  }
  input->append(buffer, static_cast<size_t>(got));
  for (size_t end; (end = input->find('\n')) != std::string::npos; input->erase(0, end + 1)) {
    const std::string reply = answer(input->substr(0, end)) + "\n";
    if (write(fd, reply.data(), reply.size()) != static_cast<ssize_t>(reply.size())) {
      return false;
    }
  }
  return true;
}

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void serve(uint16_t port) {
  const int listener = listen_on(port);
  const int epoll = epoll_create1(0);
  watch(epoll, listener);
  std::map<int, std::string> clients;
  for (;;) {
    epoll_event event;
    if (epoll_wait(epoll, &event, 1, -1) != 1) {
      continue;
    }
    if (event.data.fd == listener) {
      const int fd = accept(listener, nullptr, nullptr);
      clients[fd];
      watch(epoll, fd);
    } else if (!serve_client(event.data.fd, &clients[event.data.fd])) {
      clients.erase(event.data.fd);
      close(event.data.fd);
    }
  }
}

void print_layout() {
  const size_t ring = offsetof(Control, rings) + ftrun::kRingLogIn * sizeof(ftrun::RingControl);
  std::printf(
      "{\"log_in_head\": %zu, \"log_in_tail\": %zu, \"log_in_data\": %zu, \"log_in_bytes\": %zu}\n",
      ftrun::kRegionAddress + ring + offsetof(ftrun::RingControl, head),
      ftrun::kRegionAddress + ring + offsetof(ftrun::RingControl, tail),
      ftrun::kRegionAddress + ftrun::ring_map_offset(ftrun::kRingLogIn),
      ftrun::kRingBytes[ftrun::kRingLogIn]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  if (std::string(argv[1]) == "layout") {
    print_layout();
    return 0;
  }
  serve(static_cast<uint16_t>(std::atoi(argv[1])));
}
