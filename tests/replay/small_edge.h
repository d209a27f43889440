// SPDX-License-Identifier: Apache-2.0
// The smallest edge that can serve real clients of one recorded application: plain non-blocking
// sockets, no hand-over, no guarantees. Lets the shim be tested without the unit core.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "eventlog/arrivals.h"
#include "eventlog/output.h"
#include "supervisor/edge/outside_locks.h"

namespace ftrun::replay {

class SmallEdge {
 public:
  SmallEdge();
  void set_application(int pidfd) { locks_.set_application(pidfd); }
  // Carries out one output entry.
  void output(const Output& entry);
  // Waits up to `timeout_ms` for the network (or `wake_fd`), and appends what arrived.
  void poll(int wake_fd, int timeout_ms, std::vector<uint8_t>* arrivals);

 private:
  struct Connection {
    int fd = -1;
    std::string queue;  // output not written yet
    uint64_t received = 0, consumed = 0, written = 0, credited = 0;
    bool closing = false, shut = false, fin = false;
  };
  void append(const Arrival& item, std::vector<uint8_t>* arrivals);
  void accept_all(uint32_t listener, std::vector<uint8_t>* arrivals);
  void read_some(uint32_t id, Connection* connection, std::vector<uint8_t>* arrivals);
  void write_some(uint32_t id, Connection* connection);
  void take_early(std::vector<uint8_t>* arrivals);
  void watch(int fd, uint64_t tag);

  void bind_socket(const Output& entry);
  void listen_on(uint32_t socket, int backlog);
  void answer_bind(uint32_t id, int error, const Address& address);

  int epoll_fd_;
  edge::OutsideLocks locks_;
  uint32_t next_id_ = 1;
  std::map<uint32_t, int> sockets_;
  std::map<uint32_t, Connection> connections_;
  std::vector<uint8_t> early_;  // arrivals made while carrying out output
};

}  // namespace ftrun::replay
