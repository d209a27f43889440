// SPDX-License-Identifier: Apache-2.0
// What the unit core knows of each connection and each listening socket, and the table that finds
// a connection by its id. Owned by Streams. Runs in the supervisor, inside the unit core.
#pragma once

#include <cstdint>
#include <vector>

#include "eventlog/arrivals.h"
#include "eventlog/limits.h"
#include "supervisor/base/result.h"
#include "supervisor/unit/byte_queue.h"

namespace ftrun::unit {

// A setsockopt that the application asked for, kept until the edge is known to have done it.
struct SocketOption {
  static constexpr size_t kValueBytesMax = 32;
  int level = 0;
  int name = 0;
  uint8_t length = 0;
  uint8_t value[kValueBytesMax] = {};
};

// How far a connection has come. Positions are bytes since it was opened.
//   input:  consumed <= logged <= received;  output: credited <= written
// and written <= released, once the own application has come to the end of the log.
struct Progress {
  uint64_t received = 0;      // input that was passed on to the primary, as far as is known here
  uint64_t logged = 0;        // input that stands in logged turns
  uint64_t written = 0;       // output that the edge has reported as taken by the kernel
  uint64_t credited = 0;      // credit as last fed to the application or found in the log
  uint64_t fin_position = 0;  // of the peer's FIN, once fin_seen
  int reset_error = 0;
  // Passed: on to the primary, so that it may come to stand in a turn.
  bool open_passed : 1 = false;
  bool open_logged : 1 = false;
  bool fin_seen : 1 = false;
  bool fin_passed : 1 = false;
  bool fin_logged : 1 = false;
  bool reset_seen : 1 = false;
  bool reset_passed : 1 = false;
  bool reset_logged : 1 = false;
};

struct Connection : Progress {
  ConnectionId id = 0;  // 0: a free slot
  uint32_t listener = 0;
  Address local, peer;

  uint64_t consumed = 0;  // input that the own application has reported as read
  uint64_t released = 0;  // output that may leave: given to the edge, or to the resend queue
  uint64_t relayed = 0;   // at the edge: of what is written, what the primary was told
  ByteQueue resend;       // released but not known to be written; only where the edge is elsewhere
  uint64_t urgent_end = 0;  // released output whose last byte is urgent ends here; 0: there is none
  std::vector<SocketOption> options;  // as `resend`

  bool shut : 1 = false;       // the application's shutdown was released
  bool closed : 1 = false;     // the application's close was released
  bool accepted : 1 = false;   // by the application
  bool at_edge : 1 = false;    // this supervisor's edge has the socket
  bool gone : 1 = false;       // no edge has the socket any more
  bool held : 1 = false;       // kept from the application: it is from the suspect's address
  bool suspected : 1 = false;  // its input has crashed a primary: all that is offered is a reset
  bool in_sent_list : 1 = false;
  bool in_held_list : 1 = false;
};

// What the edge has said to a bind or a listen.
struct SocketAnswer {
  int error = 0;
  Address address;  // as getsockname
};

// A socket that the application has bound. Answers come in the order of the questions; a member
// that only follows the log may learn an answer before its application has asked.
struct Socket {
  uint32_t id = 0;
  uint32_t bind_flags = 0;
  Address wanted;  // as given to bind
  Address bound;   // as answered last
  int error = 0;   // as answered last
  int backlog = 0;
  bool is_bound = false;
  bool listening = false;       // or asked to listen
  uint32_t asked = 0;           // binds and listens of the own application
  uint32_t answers = 0;         // that are known,
  uint32_t answers_passed = 0;  // of those, passed on to the primary,
  uint32_t answers_logged = 0;  // and in logged turns
  uint32_t silent_answers = 0;  // to come from the edge, after a takeover, that the application has
  std::vector<SocketAnswer> early;  // known, but not asked for yet
  std::vector<SocketOption> options;

  // Answers that no turn has are not known any more. There is one at most: who asks waits for it.
  void forget_unlogged() {
    if (answers > answers_logged && is_bound) {
      listening = listening || error != 0;  // asked for
      is_bound = listening;
    }
    answers = answers_passed = answers_logged;
    silent_answers = 0;
  }
  bool answered() const { return answers >= asked; }  // all that was asked
  // The answer to a listen, if that was asked last, else to a bind.
  void take(const SocketAnswer& answer) {
    error = answer.error;
    if (listening) {
      listening = error == 0;
    } else {
      is_bound = error == 0;
      bound = answer.address;
    }
  }
  void learn(const SocketAnswer& answer) {
    if (++answers > asked) {
      early.push_back(answer);
    } else {
      take(answer);
    }
  }
  void ask() {
    ++asked;
    if (!early.empty()) {
      take(early.front());
      early.erase(early.begin());
    }
  }
};

// Connections by id. A slot's address changes when the table grows; slot numbers do not.
class ConnectionTable {
 public:
  ConnectionTable() : index_(kIndexSlotsMin) {}
  size_t size() const { return used_; }
  size_t slots() const { return slots_.size(); }
  Connection& at(uint32_t slot) { return slots_[slot]; }
  uint32_t slot_of(const Connection& connection) const {
    return static_cast<uint32_t>(&connection - slots_.data());
  }

  // nullptr if there is none, as for id 0.
  Connection* find(ConnectionId id) {
    for (size_t i = home(id);; i = next(i)) {
      if (index_[i].id == 0) {
        return nullptr;
      }
      if (index_[i].id == id) {
        return &slots_[index_[i].slot];
      }
    }
  }

  // REQUIRES: id != 0 and not in the table.
  Connection& insert(ConnectionId id) {
    if ((used_ + 1) * 2 > index_.size()) {
      rehash(index_.size() * 2);
    }
    uint32_t slot = 0;
    if (free_.empty()) {
      slot = static_cast<uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    slots_[slot].id = id;
    place(id, slot);
    ++used_;
    return slots_[slot];
  }

  void erase(Connection& connection) {
    size_t hole = home(connection.id);
    while (index_[hole].id != connection.id) {
      FTRUN_ASSERT(index_[hole].id != 0);
      hole = next(hole);
    }
    // Linear probing without tombstones: move back what would become unreachable.
    for (size_t i = next(hole); index_[i].id != 0; i = next(i)) {
      const size_t distance_home = (i - home(index_[i].id)) & (index_.size() - 1);
      const size_t distance_hole = (i - hole) & (index_.size() - 1);
      if (distance_home >= distance_hole) {
        index_[hole] = index_[i];
        hole = i;
      }
    }
    index_[hole] = {};
    free_.push_back(slot_of(connection));
    connection = Connection{};
    --used_;
  }

  template <typename Visit>  // visit(Connection&); may erase that connection, may not insert
  void for_each(Visit&& visit) {
    for (size_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot].id != 0) {
        visit(slots_[slot]);
      }
    }
  }

 private:
  static constexpr size_t kIndexSlotsMin = 64;
  struct IndexEntry {
    ConnectionId id = 0;
    uint32_t slot = 0;
  };

  size_t home(ConnectionId id) const { return (id * 2654435769u) & (index_.size() - 1); }
  size_t next(size_t i) const { return (i + 1) & (index_.size() - 1); }
  void place(ConnectionId id, uint32_t slot) {
    size_t i = home(id);
    while (index_[i].id != 0) {
      i = next(i);
    }
    index_[i] = {id, slot};
  }
  void rehash(size_t size) {
    index_.assign(size, {});
    for (size_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot].id != 0) {
        place(slots_[slot].id, static_cast<uint32_t>(slot));
      }
    }
  }

  std::vector<Connection> slots_;
  std::vector<uint32_t> free_;
  std::vector<IndexEntry> index_;  // a power of two, at most half full
  size_t used_ = 0;
};

}  // namespace ftrun::unit
