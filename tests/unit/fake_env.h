// SPDX-License-Identifier: Apache-2.0
// The shim's environment (preload/env.h) for tests: virtual objects run in an ordinary process.
// Arrivals are queued by the test and applied at the next ingest point or wait; time moves only
// when everybody waits. Application threads are fibers, so every schedule is repeatable.
// Runs in test processes only; one instance per process, because the objects are globals.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "preload/env.h"
#include "preload/net/net.h"

namespace ftrun::shim::fake {

struct RecordedOutput {
  OutputKind kind;
  uint32_t id;
  uint64_t value;
  uint64_t value2;
  std::string data;
  Address address;
};

struct QueuedArrival {
  Arrival item;
  std::string data;  // owns item.data
};

struct Environment {
  std::vector<RecordedOutput> outputs;
  std::deque<QueuedArrival> arrivals;
  // Called when everybody waits and no arrival is queued; true if it queued one or woke somebody.
  std::function<bool()> when_idle;
  int64_t now_ns = 1'000'000'000;
  int64_t realtime_offset_ns = 1'600'000'000'000'000'000;
  int descriptor_limit = 1024;
  std::deque<int> forced_descriptors;  // numbers to give out next, instead of the lowest free
  int sigpipes = 0;
  std::vector<siginfo_t> signals;  // sent to owners of files
  int ingest_points = 0;
  int waits = 0;  // how often a thread really waited
  bool answer_binds = true;
  bool record_outputs = true;
  // What the next interrupted wait returns (kErrRestart), once; 0: nothing.
  int interrupt_next_wait = 0;
};
Environment& env();

// Forgets outputs, arrivals and settings; sockets and ids live on. Initialises at the first call.
void reset();

// --- the world: queues arrivals ---
uint32_t next_connection_id();
Address address_v4(uint32_t ip, uint16_t port);
// Queues a kOpen on `listener` (a socket id); returns the new connection's id.
uint32_t open(uint32_t listener);
void data(uint32_t connection, const std::string& bytes);
void urgent(uint32_t connection, uint64_t position, uint8_t byte);
void fin(uint32_t connection);
void reset_connection(uint32_t connection, int error);
void credit(uint32_t connection, uint64_t position);
void apply_arrivals();  // applies what is queued now, as an ingest point does

// --- what came out ---
uint32_t last_bound_socket();  // id of the latest kBind
std::string written(uint32_t connection);
std::vector<RecordedOutput> outputs_of(OutputKind kind);

// --- threads ---
// Starts a fiber; it runs when the caller waits or calls run_threads().
void spawn(std::function<void()> body);
// Runs all fibers until each has ended or waits and nothing more can happen without time moving.
void run_threads();

// --- shortcuts ---
int listening_socket(int flags = SOCK_NONBLOCK);  // bound to 127.0.0.1, fails the process if not
struct Connection {
  int fd;
  uint32_t id;
};
Connection connect_to(int listener, uint32_t listener_id, int flags = SOCK_NONBLOCK);
long read_fd(int fd, void* buffer, size_t length);
long write_fd(int fd, const std::string& bytes);
long recv_fd(int fd, void* buffer, size_t length, int flags);
long send_fd(int fd, const std::string& bytes, int flags);
std::string read_string(int fd, size_t length = 65536);  // "!errno" on error

}  // namespace ftrun::shim::fake
