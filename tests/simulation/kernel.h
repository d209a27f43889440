// SPDX-License-Identifier: Apache-2.0
// The simulated host's kernel: TCP connections between clients and the unit, listening sockets, and
// the keepers that hold a dead supervisor's sockets. It outlives every process of the unit. Models
// what the core depends on: input that is peeked, then dropped; positions; FINs; a close with
// undropped input resets and discards queued output. Test program only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/arrivals.h"

namespace ftrun::sim {

inline constexpr int kNobody = -1;

// Ports are told to the core as ordinary socket addresses.
inline Address make_address(uint16_t port) {
  Address address;
  address.length = 16;
  address.bytes[0] = 2;
  address.bytes[2] = static_cast<uint8_t>(port >> 8);
  address.bytes[3] = static_cast<uint8_t>(port);
  return address;
}
// Each client has a host of its own.
inline Address make_peer(int client) {
  Address address = make_address(static_cast<uint16_t>(1000 + client));
  address.bytes[7] = static_cast<uint8_t>(1 + client);
  return address;
}
struct KernelConnection {
  int number = 0;
  uint32_t listener = 0;  // socket id
  Address peer;
  int holder = kNobody;  // replica whose descriptor table (or keeper) has it
  ConnectionId tag = 0;  // id in the table that supervisors share; 0: not entered yet
  bool accepted = false;
  bool closed = false;             // by the unit
  uint64_t came_before_close = 0;  // bytes that the client had sent by then
  bool no_delay = false;
  bool lost = false;  // a second fault took it: its client may see a reset

  // From client to server: all bytes ever; those before `dropped` are forgotten by the kernel.
  std::vector<uint8_t> in;
  uint64_t dropped = 0;
  bool in_fin = false;
  bool client_reset = false;

  // From server to client: all bytes ever written; the client has read `read` of them.
  std::vector<uint8_t> out;
  uint64_t read = 0;
  uint64_t urgent_end = 0;   // after the last urgent byte
  uint64_t send_buffer = 0;  // most bytes written and not read
  bool out_fin = false;
  bool server_reset = false;
};

struct KernelListener {
  uint32_t socket = 0;
  int holder = kNobody;
  uint16_t port = 0;
  bool listening = false;
  bool closed = false;
  std::deque<int> backlog;  // connections established, not accepted
  size_t backlog_max = 0;
};

// A lock of the unit on the one file outside, by its description.
struct KernelLock {
  uint32_t id = 0;
  int holder = kNobody;  // as of a connection
  bool held = false;
  bool waits = false;  // until nobody else holds it
};

class Kernel {
 public:
  // A client's connect. nullptr: refused, or there is no room for it now.
  KernelConnection* connect(uint16_t port, uint64_t send_buffer, const Address& peer) {
    for (KernelListener& listener : listeners) {
      if (listener.port == port && listener.listening && !listener.closed &&
          listener.backlog.size() <= listener.backlog_max) {
        connections.push_back(std::make_unique<KernelConnection>());
        KernelConnection& connection = *connections.back();
        connection.number = static_cast<int>(connections.size()) - 1;
        connection.listener = listener.socket;
        connection.send_buffer = send_buffer;
        connection.peer = peer;
        listener.backlog.push_back(connection.number);
        return &connection;
      }
    }
    return nullptr;
  }

  bool port_in_use(uint16_t port) const {
    for (const KernelListener& listener : listeners) {
      if (listener.port == port && !listener.closed) {
        return true;
      }
    }
    return false;
  }

  KernelListener* find_listener(int holder, uint32_t socket) {
    for (KernelListener& listener : listeners) {
      if (listener.holder == holder && listener.socket == socket && !listener.closed) {
        return &listener;
      }
    }
    return nullptr;
  }

  // The last descriptor of the connection goes away; `reset`: with SO_LINGER 0.
  static void close(KernelConnection& connection, bool reset = false) {
    connection.closed = true;
    connection.came_before_close = connection.in.size();
    if (reset || connection.dropped < connection.in.size()) {
      connection.server_reset = true;
      connection.out.resize(connection.read);
    } else {
      connection.out_fin = true;
    }
  }

  // Bytes of the client. A closed socket answers them with a reset.
  static void receive(KernelConnection& connection, const uint8_t* bytes, size_t count) {
    if (connection.closed && count != 0) {
      connection.server_reset = true;
      connection.out.resize(connection.read);
    }
    connection.in.insert(connection.in.end(), bytes, bytes + count);
  }

  void close_listener(KernelListener& listener) {
    listener.closed = true;
    for (const int number : listener.backlog) {
      connections[number]->server_reset = true;
      connections[number]->closed = true;
    }
    listener.backlog.clear();
  }

  // All descriptors of a replica go away, the keeper's included.
  void close_all(int holder) {
    for (auto& connection : connections) {
      if (connection->holder == holder && !connection->closed) {
        close(*connection);
      }
    }
    for (KernelListener& listener : listeners) {
      if (listener.holder == holder && !listener.closed) {
        close_listener(listener);
      }
    }
    std::erase_if(locks, [holder](const KernelLock& lock) { return lock.holder == holder; });
  }

  bool is_locked() const {
    return locked_by_stranger || std::any_of(locks.begin(), locks.end(),
                                             [](const KernelLock& lock) { return lock.held; });
  }

  std::vector<std::unique_ptr<KernelConnection>> connections;
  std::deque<KernelListener> listeners;  // stable addresses
  std::vector<KernelLock> locks;
  bool locked_by_stranger = false;
};

inline uint16_t port_of(const Address& address) {
  return static_cast<uint16_t>(address.bytes[2] << 8 | address.bytes[3]);
}

}  // namespace ftrun::sim
