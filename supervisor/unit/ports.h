// SPDX-License-Identifier: Apache-2.0
// The ports of the unit core: what it asks of the world. Calls come from inside on_* and flush();
// an implementation must not call back into the core from them (queue the event and deliver it
// later).
#pragma once

#include <cstdint>
#include <string_view>

#include "eventlog/arrivals.h"
#include "eventlog/limits.h"
#include "supervisor/unit/frames.h"
#include "supervisor/unit/view.h"

namespace ftrun::unit {

// How a connection ends for its peer: see EdgePort::edge_close().
enum class Ending : uint8_t {
  kAsRead,  // with a FIN, if all input was read
  kReset,
};

// A connection found on a dead sender's supervisor (or one accepted just before it died).
struct AdoptedConnection {
  ConnectionId id = 0;          // 0: accepted, but on_edge_open() had not returned an id yet
  uint64_t handle = 0;          // names the socket until EdgePort::edge_adopt() gives it an id
  uint64_t input_dropped = 0;   // input bytes already dropped from the kernel
  uint64_t output_written = 0;  // output bytes that the kernel has taken, without a FIN
  bool output_shut = false;     // our FIN is out
  uint32_t listener = 0;        // socket id of the listener that accepted it
  Address local, peer;
};

// A bound or listening socket found there; the edge knows it by its socket id already.
struct AdoptedListener {
  uint32_t socket = 0;
  Address address;  // as getsockname
  bool listening = false;
  // A lock: what it was asked for last may not have been carried out, and may be asked for again.
  bool ask_again = false;
};

// What a connection has still to write when its edge lets it go.
struct Unwritten {
  ConnectionId id = 0;
  uint64_t written = 0;  // position that the kernel has taken
  Bytes output;          // from there on
};

// The other members of the unit, and whoever decides who they are.
class MembersPort {
 public:
  virtual ~MembersPort() = default;
  virtual void send(ReplicaId to, const Frame& frame) = 0;
  // Publish `view`; answered by on_view() with the view that is now current, whether this one won,
  // another one did, or none could be published.
  virtual void propose_view(const View& view) = 0;
  // Answered by on_view() with the current view.
  virtual void read_view() = 0;
  // See to it that a member that has left does nothing any more: its supervisor and its application
  // are killed, its sockets stay with its keeper. Answered by on_member_gone(). All members ask
  // for it; none goes on before.
  virtual void fence(ReplicaId member) = 0;
  // Nothing of it is needed any more, its keeper included.
  virtual void bury(ReplicaId member) = 0;
};

// The own application.
class ApplicationPort {
 public:
  virtual ~ApplicationPort() = default;
  // Whole encoded items, into the input ring of the primary's application. Only where
  // CoreConfig::sender_serves_primary; kInput frames carry them elsewhere.
  virtual void feed_primary(Bytes arrivals) = 0;
  // Whole encoded items, for a live application or one that is told to go live right after.
  virtual void feed_input(Bytes arrivals) = 0;
  // What a live application was fed and stands in no turn that on_app_turns() has told. If another
  // supervisor has served it, this one does so from now on. Borrowed until the next event.
  virtual Bytes fed_input() = 0;
  virtual void feed_log(Bytes turns) = 0;  // whole turns; only while secondary
  // Early logging: more records of the turn that follows the fed log, or none; with them, the log
  // has all records up to this point. feed_log() will bring them again.
  virtual void feed_part(Bytes records, uint64_t points) = 0;
  // What feed_part() has brought of the turn that neither feed_log() nor, once the application is
  // live, on_app_turns() has brought yet. Borrowed until the next event.
  virtual Bytes fed_ahead() const = 0;
  // A member waits to hear that the application, the primary's, has passed this point; 0: none.
  virtual void want_point(uint64_t point) = 0;
  virtual void go_live() = 0;  // become primary at the end of the fed log
  // Of a live application: follow from the end of a turn on. Answered by on_stepped_down(), also
  // where it has not come to such an end in time; not where the application has ended. Until then
  // feed_input() is kept back, and is void if it steps down, with all that it has been fed and has
  // not logged.
  virtual void step_down() = 0;
  // Hurries that answer: done already, or not at all.
  virtual void stay() = 0;
  // Kill it. `why`: what it did wrong (then on_app_failed() with the same text is already the
  // core's own conclusion); empty when this replica was excluded.
  virtual void stop_application(std::string_view why) = 0;
};

// The outside connections; asked only in the sender, and in whoever becomes it.
class EdgePort {
 public:
  virtual ~EdgePort() = default;
  // Take the sockets of these members, each of which is gone, or has let them go, or never had any
  // (this one may be among them); answered by on_edge_adopted(). More than one: a sender that died
  // while it took over may have left them at either.
  virtual void edge_take_over(const std::vector<ReplicaId>& from) = 0;
  // Another member is to take the sockets, and this one lives on: from this call on it neither
  // reads nor writes nor accepts, and reports nothing, but keeps them open. Every connection that
  // the edge has not closed is in the answer; bytes are borrowed until the next event.
  virtual std::vector<Unwritten> edge_let_go() = 0;
  // It has taken them: what is left of them here is closed, which no peer notices.
  virtual void edge_forget() = 0;
  virtual void edge_bind(uint32_t socket, uint32_t flags, const Address& address) = 0;
  // Answered by on_edge_bound(), as edge_bind() is.
  virtual void edge_listen(uint32_t socket, int backlog) = 0;
  // The application has accepted the connection: it counts against its listener's backlog no more.
  virtual void edge_accepted(ConnectionId connection) = 0;
  virtual void edge_unlisten(uint32_t socket) = 0;
  // `id` is a connection, or a socket | kOptionOfSocket.
  virtual void edge_option(uint32_t id, int level, int name, Bytes value) = 0;
  // Output of a connection from `position` on; the edge writes what the kernel takes and reports
  // on_edge_sent(). The core offers each byte once and never has more than kSendWindowBytes unsent.
  virtual void edge_write(ConnectionId connection, uint64_t position, Bytes data) = 0;
  // The output byte at `position` is TCP urgent data; said before the edge_write() that has it.
  virtual void edge_urgent(ConnectionId connection, uint64_t position) = 0;
  virtual void edge_shutdown(ConnectionId connection) = 0;  // after all output offered before
  // After all output offered before: close, then on_edge_closed(). The peer sees what a bare
  // server's kernel shows it: a reset, at once and without what is still unsent, where input beyond
  // `consumed` has come, whether that was dropped or not; else a FIN; a reset in any case for
  // Ending::kReset. Every connection of the edge ends in this way, reset ones included; no other
  // event of it may follow on_edge_closed().
  virtual void edge_close(ConnectionId connection, uint64_t consumed, Ending ending) = 0;
  // Input up to `position` is held by f + 1 replicas: the kernel may forget it (ack-out). Holds for
  // good, also beyond what the edge has read so far and through edge_reoffer_input().
  virtual void edge_release_input(ConnectionId connection, uint64_t position) = 0;
  // Read on from `position` (a promotion or takeover): what was reported beyond it is forgotten.
  // Data comes again through on_edge_data(). A FIN may be reported again but need not be.
  virtual void edge_reoffer_input(ConnectionId connection, uint64_t position) = 0;
  // Window: input up to `position` may be reported by on_edge_data(); the edge stops reading there.
  // It starts at kReceiveWindowBytes, and only grows.
  virtual void edge_input_limit(ConnectionId connection, uint64_t position) = 0;
  // The adopted socket named `handle` is this connection from now on; edge_reoffer_input(),
  // edge_input_limit() and the output that is still to be written follow in the same event.
  virtual void edge_adopt(uint64_t handle, ConnectionId connection) = 0;
  virtual void edge_discard(uint64_t handle) = 0;  // reset the adopted socket: it cannot go on
  // `connection` is suspected of having crashed the primary with its input up to `position`: report
  // it. It is closed soon: wait for the peer to get what was written, then reset it. Answered by
  // on_quarantine_over() when its address has been kept away for long enough.
  virtual void edge_quarantine(ConnectionId connection, uint64_t position) = 0;
};

// Who runs the unit.
class OperatorPort {
 public:
  virtual ~OperatorPort() = default;
  virtual void console(int stream, Bytes data) = 0;  // stdout or stderr of this replica
  virtual void event(std::string_view kind, std::string_view text) = 0;
  // The end of this replica: the application has exited and all its output is out, or the unit is
  // lost (an event says so). Called once; nothing is asked of the host afterwards.
  virtual void finished(int status) = 0;
};

class Host : public MembersPort, public ApplicationPort, public EdgePort, public OperatorPort {};

}  // namespace ftrun::unit
