// SPDX-License-Identifier: Apache-2.0
// The client-facing side of the sender: turns TCP sockets into the unit's arrivals and its output
// into bytes. Runs in the supervisor's event loop (one thread), on the loop's epoll instance.
//
// Input is read with MSG_PEEK and SO_PEEK_OFF, so that the kernel keeps every byte until the unit
// has it (ack-out rule), and dropped in bulk with MSG_TRUNC as far as release_input() allows.
// Sockets with peeked input stay readable for ever, hence edge-triggered epoll without re-arming;
// a connection that was left readable (limit reached, peer supervisor slow) is kept in a list.
//
// Urgent data stays in the stream (SO_OOBINLINE), so that the kernel's positions are ours; where it
// is, is told beside it: see edge_urgent.cc.
//
// Calls into EdgeSink come from process(), read_pending() and report() only, never from inside the
// functions that the unit core calls: what they learn is reported by the next report().
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "eventlog/limits.h"
#include "supervisor/base/result.h"
#include "supervisor/edge/outside_locks.h"
#include "supervisor/edge/socket_table.h"
#include "supervisor/unit/core.h"

namespace ftrun::edge {

using unit::Bytes;

inline constexpr size_t kPeekBytesMax = 64 * 1024;  // most input handed over in one call
inline constexpr size_t kDropBytesMin = 64 * 1024;  // drop from the kernel from here on,
inline constexpr unsigned kDropPeeksMin = 64;       // or after as many peeks
inline constexpr unsigned kAcceptBatchMax = 256;    // connections accepted in one go
// Descriptors that clients do not get: the supervisor needs them for a new keeper, the control
// socket, a look into /proc, and what it has open anyway.
inline constexpr size_t kDescriptorsReserved = 96;
// Orphans: connections that the application has closed and whose peers have yet to take output. A
// kernel keeps those of a bare server, up to a number and an amount of memory (tcp_max_orphans,
// tcp_mem in tcp(7)), and resets what is beyond; so does the edge.
inline constexpr size_t kOrphanBytesMax = 64u << 20;  // of output, in all of them
inline constexpr size_t kSuspectBytesMax = 64;        // of a suspect's last input, for the report

class EdgeSink {
 public:
  virtual ~EdgeSink() = default;
  virtual ConnectionId edge_open(uint32_t listener, const Address& local, const Address& peer) = 0;
  virtual void edge_data(ConnectionId connection, uint64_t position, Bytes data) = 0;
  // The input byte at `position` is urgent, and is `byte`. Comes before the edge_data() that has
  // it.
  virtual void edge_urgent(ConnectionId connection, uint64_t position, uint8_t byte) = 0;
  virtual void edge_fin(ConnectionId connection) = 0;
  virtual void edge_reset(ConnectionId connection, int error) = 0;
  virtual void edge_sent(ConnectionId connection, uint64_t position) = 0;
  virtual void edge_closed(ConnectionId connection) = 0;
  virtual void edge_bound(uint32_t socket, int error, const Address& address) = 0;
  virtual void edge_trouble(const std::string& text) = 0;  // for the unit's events
};

// A socket taken from a dead supervisor, with what the socket table and the kernel say about it.
struct TakenSocket {
  int fd = -1;  // owned by whoever holds this
  uint64_t cookie = 0;
  SocketKind kind = SocketKind::kNone;
  uint32_t id = 0;  // 0: a connection that the dead supervisor had not named yet
  uint32_t listener = 0;
  uint32_t flags = 0;
};

class Edge {
 public:
  // `tag` is or'ed into epoll data, so that the loop can tell this edge's events from others.
  static Result<std::unique_ptr<Edge>> create(int epoll_fd, uint64_t tag, EdgeSink* sink);
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;
  ~Edge();
  // The own application (a pidfd, borrowed), whose descriptors name what it locks.
  void set_application(int pidfd) { locks_.set_application(pidfd); }

  // --- the loop ---
  void process(const epoll_event& event);
  // What was read since last asked.
  struct Traffic {
    uint64_t reads = 0;
    uint64_t bytes = 0;
    int core = -1;  // on which the last of it came in; -1: unknown
  };
  Traffic take_traffic();
  // Goes on reading where it was stopped by a limit or by `paused`.
  void read_pending();
  bool has_pending() const { return (!pending_.empty() && !paused_) || accept_pending_; }
  // Reports what happened in calls from the core: written positions, closed connections, binds.
  void report();
  bool has_reports() const { return !reports_.empty() || !closed_.empty() || !bound_.empty(); }
  // Drops what may be dropped, however little, and tries again to accept where that failed. Call it
  // now and then (every few ticks): many tiny segments fill a receive buffer long before
  // kDropBytesMin.
  void drop_released();
  // While paused no input is read (the peer supervisor is behind). Also from inside
  // EdgeSink::edge_data().
  void pause(bool paused);
  size_t connections() const { return by_id_.size(); }
  bool flushed() const { return unsent_connections_ == 0; }
  size_t orphans() const { return orphans_.size(); }
  size_t output_memory() const;  // of all output that waits for peers; walks all connections
  void limit_orphans(size_t most) { orphans_max_ = most; }
  void limit_orphan_bytes(size_t most) { orphan_bytes_max_ = most; }

  // --- called by the core (unit::Host) ---
  void bind(uint32_t socket, uint32_t flags, const Address& address);
  // Also to be called for a listener that was taken over: until then one connection is accepted.
  void listen(uint32_t socket, int backlog);
  // The application has accepted the connection: it counts against the backlog no more.
  void accepted(ConnectionId connection);
  void unlisten(uint32_t socket);
  void option(uint32_t id, int level, int name, Bytes value);
  void write(ConnectionId connection, uint64_t position, Bytes data);
  // The output byte at `position`, which is written next or later, is urgent.
  void urgent(ConnectionId connection, uint64_t position);
  void shutdown(ConnectionId connection);
  void close(ConnectionId connection, uint64_t consumed, unit::Ending ending);
  void release_input(ConnectionId connection, uint64_t position);
  void reoffer_input(ConnectionId connection, uint64_t position);
  void input_limit(ConnectionId connection, uint64_t position);
  void adopt(uint64_t handle, ConnectionId connection);
  void discard(uint64_t handle);

  // --- the request of death ---
  struct Suspect {
    std::string peer;        // address and port
    std::string last_bytes;  // before `position`, made printable
  };
  // Reads no more from this connection. When it is closed, its peer first gets what was written
  // (for a second at most), then a reset.
  Suspect quarantine(ConnectionId connection, uint64_t position);
  // Ends such connections. Call it at every tick.
  void part(int64_t now_ns);

  // Tries to take the locks that somebody else held. Call it at every tick.
  void retry_locks();

  // --- takeover ---
  // Takes over the sockets (and closes those that are unusable). What is returned goes to the core.
  struct Adopted {
    std::vector<unit::AdoptedConnection> connections;
    std::vector<unit::AdoptedListener> listeners;
  };
  Adopted take(std::vector<TakenSocket> sockets);
  // Another supervisor is to have the sockets, and this one lives on (edge_let_go.cc): uses them no
  // more, but keeps them open and in the table. What every connection has still to write; borrowed
  // until the next call or forget().
  std::vector<unit::Unwritten> let_go();
  // Those sockets again, for take(): nobody else has become their user.
  std::vector<TakenSocket> take_back() { return std::exchange(let_go_, {}); }
  // Closes them: somebody else has.
  void forget();

 private:
  struct Connection;
  struct Listener;
  Edge() = default;

  Connection* find(ConnectionId id);
  Connection* add(int fd, uint32_t listener);
  Listener* add_listener(uint32_t socket, int fd);
  void watch(int fd, uint64_t slot, uint32_t events);
  void name(Connection* connection, ConnectionId id);
  bool is_full() const;
  void wait_for_room(Listener* listener, const std::string& why);
  void accept_again();
  void report_answers();
  void set_unaccepted(Connection* connection);
  void set_accepted(Connection* connection);
  void accept_from(Listener* listener);
  void accept_one(Listener* listener, int fd, const Address& peer);
  void read_input(Connection* connection);
  bool read_once(Connection* connection);
  static Result<void> count_urgent_signals();
  void expect_urgent(Connection* connection);
  bool may_be_urgent(const Connection* connection, uint64_t position) const;
  bool is_stopped_at_mark(Connection* connection);
  void look_for_urgent(Connection* connection);
  uint64_t find_mark(Connection* connection);
  void end_of_input(Connection* connection);
  void defer_reading(Connection* connection);
  void drop_input(Connection* connection, uint64_t position);
  void apply_release(Connection* connection);
  ssize_t send_output(Connection* connection, Bytes data);
  void output_failed(Connection* connection, int error);
  void flush_output(Connection* connection);
  void note_sent(Connection* connection);
  void finish_output(Connection* connection);
  void set_unsent(Connection* connection, bool unsent);
  void destroy(Connection* connection);
  void drop_output(Connection* connection);
  void keep_orphan(Connection* connection);
  void forget_orphan(Connection* connection);
  void note_orphan_sent(Connection* connection, size_t bytes);
  void take_listener(const TakenSocket& socket, Adopted* adopted);
  void take_connection(const TakenSocket& socket, Adopted* adopted);
  uint32_t listener_of(const Address& local) const;

  int epoll_fd_ = -1;
  uint64_t tag_ = 0;
  EdgeSink* sink_ = nullptr;
  bool paused_ = false;
  size_t sockets_max_ = 0;  // connections and listeners
  SocketTable table_;
  OutsideLocks locks_;
  std::unique_ptr<uint8_t[]> buffer_;
  // Slots are never moved or freed; a closed one is used again only after report() has run, so
  // that events of the batch in hand never hit its successor.
  std::vector<std::unique_ptr<Connection>> slots_;
  std::vector<uint32_t> free_slots_;
  std::unordered_map<ConnectionId, Connection*> by_id_;
  std::unordered_map<uint32_t, std::unique_ptr<Listener>> listeners_;  // by socket id
  std::vector<Connection*> pending_;    // readable, but reading was stopped
  std::vector<Connection*> reports_;    // written position has moved
  std::vector<Connection*> droppable_;  // with released input that is not dropped yet
  std::vector<Connection*> closed_;     // to be reported, then their slots are free
  std::vector<Connection*> parting_;    // closed by the core, peer still gets its last answers
  std::vector<Connection*> working_;    // one of these lists while it is gone through
  Traffic traffic_;                     // but for the core, which is that
  Connection* last_read_ = nullptr;     // of this connection's
  bool accept_pending_ = false;         // some listener has not been emptied
  struct Bound {
    uint32_t socket;
    int error;
    Address address;
  };
  std::vector<Bound> bound_;
  size_t unsent_connections_ = 0;
  std::list<Connection*> orphans_;  // whose peer has taken nothing for longest comes first
  size_t orphan_bytes_ = 0;         // of output that waits in them
  size_t orphans_max_ = 0;
  size_t orphan_bytes_max_ = kOrphanBytesMax;
  std::vector<TakenSocket> let_go_;                      // owned
  std::vector<std::unique_ptr<Connection>> last_slots_;  // whose bytes let_go() has answered with
};

}  // namespace ftrun::edge
