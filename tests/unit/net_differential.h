// SPDX-License-Identifier: Apache-2.0
// Two worlds side by side: every operation is applied to kernel objects and to virtual ones, and
// every result is compared. Peers of the kernel's connections are sockets of the test; what they do
// reaches the virtual world as arrivals once the kernel has settled.
// Runs in test processes only; single-threaded.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/fake_env.h"
#include "tests/unit/net_worlds.h"

namespace ftrun::shim {

enum class SlotKind {
  kListener,
  kFresh,
  kConnection,
  kEpoll,
  kPipeRead,
  kPipeWrite,
  kPair,
  kEvent,
  kTimer
};

// A TCP connection: the kernel's end pair and the virtual one.
struct Link {
  int peer = -1;  // the client's socket in the kernel; -1 once it is closed
  uint32_t id = 0;
  size_t sent = 0;      // by the peer
  size_t unread = 0;    // of that, not read by the server, its urgent bytes included
  size_t consumed = 0;  // of that, taken from the kernel when its last descriptor was closed
  size_t unseen = 0;    // written by the server, not read by the peer
  size_t checked = 0;   // output bytes compared so far
  bool peer_ended = false;
  bool reset = false;
  int server_shut = 0;  // bits: 1 receive, 2 send
  int slots = 0;        // open slots of the server's end
};

// One descriptor in both worlds.
struct Slot {
  SlotKind kind;
  int fd[2];  // kernel, virtual
  std::shared_ptr<Link> link;
};

class Differential {
 public:
  Differential();
  ~Differential();

  World& kernel() { return *kernel_; }
  World& virtual_world() { return *virtual_; }
  std::vector<Slot>& slots() { return slots_; }
  Slot& slot(size_t index) { return slots_[index]; }
  // Everything done so far, for the message of a failure.
  void log(const std::string& line);
  std::string history() const;

  // Compares results; a mismatch is a test failure with the history.
  void same_signals();  // about files, since the last call
  void same(long kernel, long virtual_result, const std::string& what);

  // --- the world's doings; each returns once the kernel has settled ---
  size_t connect();  // opens and accepts; the index of the new slot
  // `flags`: MSG_OOB makes the last byte urgent.
  void peer_send(Link* link, size_t length, int flags);
  void peer_drain(Link* link);  // reads all output, compares it, gives credit
  void peer_shutdown(Link* link);
  void peer_close(Link* link);
  void peer_reset(Link* link);
  // After an operation of the server's that the peer's kernel may answer.
  void settle_server(const Slot& slot);

  // --- operations of the application ---
  void read(size_t index, size_t length, int flags);
  void write(size_t index, size_t length, int flags);
  void read_scattered(size_t index, const std::vector<size_t>& lengths);
  void write_gathered(size_t index, const std::vector<size_t>& lengths);
  // Sets or asks an integer by fcntl or getsockopt, whose results must agree.
  void control(size_t index, int command, unsigned long argument);
  void ask_option(size_t index, int level, int name);
  void set_option(size_t index, int level, int name, int value);
  void shutdown(size_t index, int how);
  void close(size_t index);
  void dup(size_t index);
  void dup_over(size_t index, size_t target);
  void add(SlotKind kind, int flags);
  void epoll_ctl(size_t epoll, int operation, size_t target, uint32_t events);
  void epoll_wait(size_t epoll, int max_events);
  void poll(const std::vector<size_t>& indexes, const std::vector<short>& events);
  void select(const std::vector<size_t>& indexes, const std::vector<int>& sets);
  void look(size_t index);  // everything that can be asked without changing it
  void own(size_t index, int signal, bool async);  // F_SETOWN to this process
  void timer_set(size_t index, int64_t first_ns, int64_t interval_ns);

 private:
  void push(SlotKind kind, long kernel_fd, long virtual_fd, std::shared_ptr<Link> link = nullptr);
  void note_consumed(const Slot& slot);
  void forget(const Slot& slot);
  void was_written(const Slot& slot, long bytes);
  void was_read(const Slot& slot, long bytes);
  std::string pattern(size_t length);

  std::unique_ptr<World> kernel_ = make_kernel_world();
  std::unique_ptr<World> virtual_ = make_virtual_world();
  std::vector<Slot> slots_;
  std::vector<std::string> log_;
  sockaddr_storage address_ = {};  // of the kernel's listener
  socklen_t address_length_ = 0;
  uint32_t listener_id_ = 0;
  uint8_t next_byte_ = 0;
};

// Waits for the kernel, which delivers on loopback soon but not at once.
bool eventually(const std::function<bool()>& condition);

}  // namespace ftrun::shim
