// SPDX-License-Identifier: Apache-2.0
// TCP sockets whose kernel side is the edge: state comes from arrivals and from the application's
// own calls, effects leave as output entries. The model is Linux 6's TCP seen from user space.
// Runs in the application with the token held; no libc, no system calls.
#pragma once

#include "eventlog/limits.h"
#include "preload/net/file.h"
#include "preload/net/id_table.h"
#include "preload/net/socket.h"

namespace ftrun::shim {

enum class TcpState : uint8_t {
  kFresh,      // TCP_CLOSE, not bound
  kBinding,    // a bind is on its way
  kBound,      // TCP_CLOSE with a port
  kListening,  // TCP_LISTEN
  kOpen,       // connected; half-closed states show in `shut`, `input_ended`
  kClosed,     // was connected: reset, or closed in both directions
};

// A bind or listen that the edge was asked for: its answer comes as an arrival and is told by the
// call that waits for it.
enum class Pending : uint8_t { kNo, kAsked, kAnswered };

// The kernel's urg_data; the byte comes with the news of it, so it is never waited for.
enum class Urgent : uint8_t { kNone, kUnread, kRead };

// sk_shutdown.
inline constexpr uint8_t kShutReceive = 1;
inline constexpr uint8_t kShutSend = 2;
inline constexpr uint8_t kShutBoth = 3;

struct TcpSocket : Socket {
  TcpState state = TcpState::kFresh;
  uint8_t shut = 0;
  bool input_ended = false;    // FIN ingested, after all data
  bool wants_room = false;     // SOCK_NOSPACE: tell when there is room to write
  bool unlistened = false;     // shutdown() took the port from the edge; bind anew to listen
  bool any_port = false;       // the edge has chosen the port
  uint32_t socket_id = 0;      // of a socket that the application made, else 0
  uint32_t connection_id = 0;  // while connected, and after; else 0
  Address local;
  Address peer;

  ByteQueue input;
  uint64_t consumed = 0;  // input bytes taken by the application
  uint64_t reported = 0;  // of which the edge was told
  // Input position of the urgent byte: the mark. Valid until the application has read past it.
  uint64_t mark = 0;
  Urgent urgent = Urgent::kNone;
  uint8_t urgent_byte = 0;
  uint64_t written = 0;   // output bytes issued
  uint64_t credited = 0;  // of which the world has taken

  // A listener's connections, oldest first; each has one reference.
  TcpSocket* accept_first = nullptr;
  TcpSocket* accept_last = nullptr;
  TcpSocket* accept_next = nullptr;
  uint64_t edge_result = 0;  // errno
  Pending pending = Pending::kNo;
  bool asked_to_listen = false;  // else to bind
};

extern const FileOps kTcpOps;

// REQUIRES: it is one.
inline TcpSocket* to_tcp(File* file) {
  return static_cast<TcpSocket*>(file);
}
inline const TcpSocket* to_tcp(const File* file) {
  return static_cast<const TcpSocket*>(file);
}

// Room in the send window, and the kernel's rule for EPOLLOUT: a third of it must be free.
inline size_t send_room(const TcpSocket* socket) {
  return kSendWindowBytes - static_cast<size_t>(socket->written - socket->credited);
}
inline bool is_writable(const TcpSocket* socket) {
  return 3 * send_room(socket) >= kSendWindowBytes;
}

// Whether the next byte to be read is the urgent one (SIOCATMARK).
inline bool is_at_mark(const TcpSocket* socket) {
  return socket->urgent != Urgent::kNone && socket->mark == socket->consumed;
}
// Whether urgent bytes are kept out of what is read.
inline bool is_out_of_line(const TcpSocket* socket) {
  return socket->options.value[kOptOobInline] == 0;
}
uint32_t tcp_poll(File* file, uint32_t);
long tcp_read(File* file, IoCursor* to, int flags);
long tcp_write(File* file, IoCursor* from, int flags);
long tcp_room(File* file, int flags);
void tcp_release(File* file);

// socket(2); `type_flags`: SOCK_NONBLOCK, SOCK_CLOEXEC.
long tcp_socket(sa_family_t family, int type_flags);

// TCP's part of SocketOps.
long tcp_bind(Socket* socket, const struct sockaddr* address, socklen_t length);
long tcp_listen(Socket* socket, int backlog);
long tcp_receive(Socket* socket, IoCursor* to, struct msghdr* message, int flags);
long tcp_input_bytes(Socket* socket);
bool tcp_get_option(Socket* socket, int level, int name, void* value, socklen_t* length,
                    long* result);
long tcp_check_option(const Socket* socket, int index);
void tcp_option_changed(Socket* socket, int index, int given);
void tcp_linger_changed(Socket* socket);

// All sockets change through these, so that nothing forgets who is waiting.
void tcp_state_changed(TcpSocket* socket);  // wakes everybody
void tcp_input_arrived(TcpSocket* socket);
// Closed in both directions: forgets the connection's name as getpeername sees it.
void tcp_close_if_done(TcpSocket* socket);

// What the application set before the edge had a socket, or a connection, to set it on.
void options_emit_pending(TcpSocket* socket);
// Makes the edge reset this connection when it is closed, whatever was read of it.
void options_emit_reset(TcpSocket* connection);

// Ends a connection that the application never accepted: its peer is reset.
void tcp_turn_away(TcpSocket* connection);
void tcp_drop_accept_queue(TcpSocket* listener);
// shutdown() of a listener: it stops listening.
void tcp_unlisten(TcpSocket* listener);

void tcp_emit(OutputKind kind, uint32_t id, uint64_t value);
Address tcp_unspecified(sa_family_t family);  // that an unbound socket shows

// Names. A connection is found until its socket is released; then its id is known as closed.
TcpSocket* tcp_new(sa_family_t family, int status_flags);
TcpSocket* tcp_find_connection(uint32_t id);
TcpSocket* tcp_find_socket(uint32_t id);
void tcp_name_connection(TcpSocket* socket, uint32_t id);
bool tcp_connection_was_seen(uint32_t id);
bool tcp_socket_was_seen(uint32_t id);
void tcp_name_socket(TcpSocket* socket);  // gives it its first id
void tcp_rename(TcpSocket* socket);       // gives it a new id
uint32_t tcp_new_socket_id();             // of whatever the edge is asked for

}  // namespace ftrun::shim
