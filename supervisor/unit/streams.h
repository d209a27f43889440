// SPDX-License-Identifier: Apache-2.0
// The outside connections and listening sockets as one member knows them. The member with the edge
// hears of input and of written output from its edge; every other member learns of connections,
// input and credit from the log. In both, what stands in the log decides. Runs in the unit core;
// pure. Files:
//   streams_edge.cc      what the edge reports, on its way to the primary
//   streams_log.cc       what stands in logged turns: held, and to be forgotten outside
//   streams_output.cc    what the application puts out: to the edge or to the resend queues
//   streams_restart.cc   after a change of view: what the primary has not is offered again
//   streams_takeover.cc  a dead sender's sockets; the request of death; the end
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eventlog/output.h"
#include "supervisor/unit/arrival_batch.h"
#include "supervisor/unit/connections.h"
#include "supervisor/unit/fifo.h"
#include "supervisor/unit/mutation.h"
#include "supervisor/unit/ports.h"
#include "supervisor/unit/signals.h"

namespace ftrun::unit {

class Streams {
 public:
  // `arrivals`: where everything is put that the primary is to be fed.
  Streams(EdgePort* edge, OperatorPort* ops, ArrivalBatch* arrivals, Signals* signals,
          Mutation mutation)
      : edge_(edge), operator_(ops), arrivals_(arrivals), signals_(signals), mutation_(mutation) {}

  size_t connections() const { return connections_.size(); }
  uint64_t input_bytes_logged() const { return input_bytes_logged_; }
  size_t resend_bytes_max();
  // This member's edge has the sockets, and knows all input that the primary was fed.
  bool has_edge() const { return has_edge_; }
  void begin_with_edge() { has_edge_ = knows_input_ = true; }
  // The own application is the primary: what it does with arrivals can be checked as it is logged.
  void set_live(bool live) { live_ = live; }

  // --- the edge's reports (streams_edge.cc) ---
  // `ending`: nobody will hear of it.
  ConnectionId open(uint32_t listener, const Address& local, const Address& peer, bool ending);
  void data(ConnectionId id, uint64_t position, Bytes data);
  void urgent(ConnectionId id, uint64_t position, uint8_t byte);
  void fin(ConnectionId id);
  void reset(ConnectionId id, int error);
  void sent(ConnectionId id, uint64_t position);
  bool closed(ConnectionId id);  // false: nobody else knows it
  void bound(uint32_t socket, int error, const Address& address);
  // Tells the primary how far output was written, where it may wait for that or trims by it; and
  // the edge, who is kept away. Not while the edge gives a connection its number.
  void flush();
  // The sender's edge has closed it; here its output queue can go.
  void closed_elsewhere(ConnectionId id);
  // For members that may have missed such news: all connections below the result that are not in
  // the list have been closed. And their part: false if the list does not decode.
  ConnectionId list_open(std::vector<uint8_t>* list);
  bool keep_open(ConnectionId end, Bytes list);
  // The sender begins anew, and tells what is open: what an earlier one has closed is no news.
  void forget_early_closed() { early_closed_.clear(); }

  // --- the log (streams_log.cc) ---
  // Takes note of an arrival in a turn. Why it cannot be there, or an empty text.
  std::string note(const Arrival& item);
  // All arrivals noted since the last settle() or undo() stand in the log up to `end`, or not.
  void settle(uint64_t end);
  void undo();
  // Ack-out: the log up to `held` is held by f + 1 members; outside, its input may be forgotten.
  void release_input(uint64_t held);

  // --- output (streams_output.cc) ---
  // Carries out one entry that may leave. Why the application must be stopped, or an empty text.
  std::string apply(const Output& entry);

  // --- a new primary, or a living one anew (streams_restart.cc) ---
  // Nobody has been fed anything beyond the log.
  void restart();
  // A living primary was fed this beyond its log. Why that cannot be, or an empty text.
  std::string note_fed(const Arrival& item);
  // Puts all that the primary has not been fed. REQUIRES: has_edge().
  void offer();
  // The dead primary was crashed by input of this connection: offer() keeps that from the next.
  void suspect(ConnectionId id) { suspect_ = id; }
  void quarantine_over();

  // --- takeover (streams_takeover.cc) ---
  // No connection gets an id any more that one of these has.
  void reserve_ids(const std::vector<AdoptedConnection>& connections);
  // A dead sender's sockets are this member's now. `ended`: the application has exited.
  void adopt(const std::vector<AdoptedConnection>& connections,
             const std::vector<AdoptedListener>& listeners, bool ended);
  // Another member is to have the sockets: from here on this one knows what the log says.
  void let_go(const std::vector<Unwritten>& connections);
  // The end: the edge writes what it has, then closes everything.
  void close_all();

 private:
  bool mutated(Mutation mutation) const { return mutation_ == mutation; }
  void event(std::string_view kind, const std::string& text) { operator_->event(kind, text); }
  Socket* find_socket(uint32_t id);
  void put_open(Connection* connection);
  void put_bound(const Socket& socket);
  void mark_sent(Connection* connection);
  void pass_credit(Connection* connection);
  void pass_fin(Connection* connection);
  // The application may be waiting for room, or soon will (DESIGN section 3, arrivals).
  static bool wants_credit(const Connection& connection) {
    return connection.released - connection.credited > kSendWindowBytes / 2 &&
           connection.written > connection.credited;
  }

  std::string note_open(const Arrival& item);
  std::string note_bound(const Arrival& item);
  std::string learn_answer(const Arrival& item, bool is_new);
  std::string learn(Connection* connection, const Arrival& item);
  static void note_passed(Connection* connection, const Arrival& item);
  std::string note_logged(Connection* connection, const Arrival& item);
  std::string insert(const Arrival& item);

  std::string apply_to_connection(const Output& entry);
  std::string apply_to_socket(const Output& entry);
  std::string option(const Output& entry);
  std::string write(Connection* connection, Bytes data);
  void trim_resend(Connection* connection);
  void close_at_edge(const Connection& connection, Ending ending);
  std::string add_socket(uint32_t id, Socket** socket);

  void offer_connection(Connection* connection);
  void quarantine_suspect();
  void put_suspect(Connection* suspect);
  bool is_quarantined(const Address& peer) const;
  void hold(Connection* connection);
  void put_answers();
  void adopt_connection(const AdoptedConnection& adopted);
  void adopt_known(Connection* connection, const AdoptedConnection& adopted);
  void resend(Connection* connection, const AdoptedConnection& adopted);
  void adopt_missing();
  void let_connection_go(Connection* connection, const Unwritten* unwritten);
  void adopt_listeners(const std::vector<AdoptedListener>& listeners);
  void restore_socket(Socket* socket, const AdoptedListener* adopted);

  EdgePort* const edge_;
  OperatorPort* const operator_;
  ArrivalBatch* const arrivals_;
  Signals* const signals_;
  const Mutation mutation_;
  bool has_edge_ = false;
  bool knows_input_ = false;
  bool live_ = false;
  uint64_t input_bytes_logged_ = 0;  // in turns that were noted

  ConnectionTable connections_;
  std::vector<Socket> sockets_;
  std::vector<uint32_t> unanswered_;        // closed while an answer was to come; ids of sockets
  ConnectionId next_id_ = 1;                // above every id ever seen,
  ConnectionId next_logged_id_ = 1;         // and in the log
  std::vector<ConnectionId> early_closed_;  // closed at the edge before the log told of them
  std::vector<uint32_t> sent_list_;         // slots of connections with progress in `written`
  ConnectionId suspect_ = 0;                // whose input has crashed the last primary; 0: nobody's
  uint64_t suspect_received_ = 0;           // its input that the dead primary was given
  std::vector<ConnectionId> held_anew_;     // of which the edge is to be told by flush()
  Address quarantined_;                     // where it came from; length 0: nowhere

  // An arrival found in turns that are being noted, and what its connection was before. While turns
  // are being noted no connection goes, so that slots name them.
  struct Noted {
    ArrivalKind kind;
    uint32_t id;  // slot of the connection; the signal's sequence number; the socket
    bool inserted;
    Progress before;
  };
  std::vector<Noted> noted_;
  // As they were before the first answer in these turns was learnt. Answers are rare.
  struct Answers {
    std::vector<Socket> sockets;
    std::vector<uint32_t> unanswered;
  };
  std::optional<Answers> before_answers_;
  // Input of a connection that stands in the log before `end`.
  struct LoggedInput {
    uint64_t end;
    uint32_t slot;
    ConnectionId id;
    uint64_t logged;
  };
  Fifo<LoggedInput> unheld_;
};

}  // namespace ftrun::unit
