// SPDX-License-Identifier: Apache-2.0
// Reading from and writing to virtual TCP connections: the model is tcp_recvmsg and tcp_sendmsg.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

// The receive window of the edge opens by these reports, kReceiveReportBytes (64 KiB) apart: an
// entry for each read would cost more than it gains.
void report_consumed(TcpSocket* socket) {
  if (socket->consumed - socket->reported < kReceiveReportBytes ||
      socket->state != TcpState::kOpen) {
    return;
  }
  socket->reported = socket->consumed;
  Output entry;
  entry.kind = OutputKind::kConsumed;
  entry.id = socket->connection_id;
  entry.value = socket->consumed;
  emit_output(entry);
}

// One receive in progress.
struct Receive {
  TcpSocket* socket;
  IoCursor* to;
  int flags;
  size_t done = 0;
  size_t skipped = 0;    // MSG_PEEK: an urgent byte that was passed over
  bool at_mark = false;  // a receive ends there, whatever it wants
};

void pass_over(IoCursor* buffers, size_t bytes) {
  while (bytes > 0) {
    size_t length = 0;
    buffers->piece(&length);
    length = length < bytes ? length : bytes;
    buffers->advance(length);
    bytes -= length;
  }
}

// Moves up to `wanted` bytes of what is there.
void take_bytes(Receive* call, size_t wanted) {
  ByteQueue* input = &call->socket->input;
  const bool peeks = (call->flags & MSG_PEEK) != 0;
  const size_t passed = peeks ? call->done + call->skipped : 0;
  size_t n = 0;
  if ((call->flags & MSG_TRUNC) != 0) {
    // Counted against the buffers' length, which stay untouched.
    n = input->size() - passed < wanted ? input->size() - passed : wanted;
    pass_over(call->to, n);
    input->take(nullptr, peeks ? 0 : n);
  } else {
    n = peeks ? input->peek(call->to, passed, wanted) : input->take(call->to, wanted);
  }
  call->done += n;
  if (!peeks && n > 0) {
    call->socket->consumed += n;
    // Whose bytes this thread works on now: if they make it crash, this connection is the suspect
    // (dying.h).
    note_read(call->socket->connection_id);
    report_consumed(call->socket);
  }
}

// Passes over the urgent byte, which is next.
// It counts as consumed, although nobody reads it here: positions are those of the client's stream,
// and the edge has it in line.
void skip_urgent_byte(Receive* call) {
  if ((call->flags & MSG_PEEK) != 0) {
    call->skipped = 1;
    return;
  }
  call->socket->consumed += call->socket->input.take(nullptr, 1);
  report_consumed(call->socket);
}

// Takes what is there, but no further than to the mark; from the mark on, beyond it.
void take_available(Receive* call) {
  TcpSocket* socket = call->socket;
  const bool peeks = (call->flags & MSG_PEEK) != 0;
  if (socket->urgent != Urgent::kNone) {
    const uint64_t next = socket->consumed + (peeks ? call->done + call->skipped : 0);
    const uint64_t end = socket->consumed + socket->input.size();
    if (socket->mark == next) {
      call->at_mark = call->done > 0;
      if (call->at_mark || next == end) {
        return;
      }
      if (is_out_of_line(socket)) {
        skip_urgent_byte(call);
      }
    } else if (next < socket->mark && socket->mark < end) {
      const size_t before = static_cast<size_t>(socket->mark - next);
      const size_t wanted = call->to->left();
      take_bytes(call, before < wanted ? before : wanted);
      call->at_mark = before <= wanted;
      return;
    }
  }
  take_bytes(call, call->to->left());
  if (socket->urgent != Urgent::kNone && socket->consumed > socket->mark) {
    socket->urgent = Urgent::kNone;
  }
}

// What a receive that has nothing returns: 0 (end), an error, or -EAGAIN: wait.
long nothing_to_read(TcpSocket* socket) {
  // ORDER: the end of the input before an error, which came later (tcp_recvmsg_locked: SOCK_DONE).
  if (socket->input_ended) {
    return 0;
  }
  if (socket->error != 0) {
    return -take_error(socket);
  }
  if ((socket->shut & kShutReceive) != 0) {
    return 0;
  }
  return socket->state == TcpState::kOpen ? -EAGAIN : -ENOTCONN;
}

bool must_return(const TcpSocket* socket) {
  return socket->error != 0 || socket->state != TcpState::kOpen ||
         (socket->shut & kShutReceive) != 0;
}

// Bytes in all before a receive returns: SO_RCVLOWAT, or everything with MSG_WAITALL.
size_t receive_target(const TcpSocket* socket, size_t length, int flags) {
  const size_t low = static_cast<size_t>(socket->options.value[kOptReceiveLow]);
  const size_t target = (flags & MSG_WAITALL) != 0 ? length : (low < length ? low : length);
  return target > 0 ? target : 1;
}

// One step of a receive: -EAGAIN when it has to wait for more.
long receive_step(Receive* call, size_t target) {
  if (call->to->left() > 0) {
    take_available(call);
    if (call->to->has_fault()) {
      return after_fault(static_cast<long>(call->done));
    }
  } else if (call->done == 0 && call->socket->input.size() > 0) {
    return 0;  // a receive of no bytes where there are some
  }
  if (call->done >= target || call->at_mark || (call->done > 0 && must_return(call->socket))) {
    return static_cast<long>(call->done);
  }
  return call->done > 0 ? -EAGAIN : nothing_to_read(call->socket);
}

// What a failed send returns: a pending error is told once, then it is a broken pipe.
long send_error(TcpSocket* socket, int flags) {
  const int error = take_error(socket);
  if (error != 0 && error != EPIPE) {
    return -error;
  }
  if ((flags & MSG_NOSIGNAL) == 0) {
    raise_sigpipe();
  }
  return -EPIPE;
}

bool can_send(const TcpSocket* socket) {
  return socket->state == TcpState::kOpen && socket->error == 0 && (socket->shut & kShutSend) == 0;
}

// Issues what fits into the window. With MSG_OOB the last byte is urgent.
size_t send_available(TcpSocket* socket, IoCursor* from, int flags) {
  size_t done = 0;
  for (;;) {
    Output entry;
    entry.kind = OutputKind::kWrite;
    entry.id = socket->connection_id;
    entry.data = from->piece(&entry.length);
    // Never more than the window, whatever the program writes: the bytes wait in the supervisor's
    // memory, and credit says when they have left it.
    const size_t room = send_room(socket);
    entry.length = entry.length < room ? entry.length : room;
    if (entry.length == 0) {
      return done;
    }
    if ((flags & MSG_OOB) != 0 && (entry.length == from->left() || entry.length == room)) {
      // By itself, since a long entry is cut into several.
      entry.kind = entry.length == 1 ? OutputKind::kUrgent : OutputKind::kWrite;
      entry.length -= entry.length == 1 ? 0 : 1;
    }
    // ORDER: issued, then counted: what could not be read of the application's memory is not in the
    // output, and the positions of both sides stay equal.
    const size_t sent = emit_output(entry);
    if (sent != entry.length) {
      from->set_fault();
      socket->written += sent;
      return done + sent;
    }
    from->advance(entry.length);
    socket->written += entry.length;
    done += entry.length;
  }
}

// Waits until the window is not full. 0, or the error to return (as tcp_sendmsg, for 0 bytes sent).
long wait_for_room(TcpSocket* socket, int flags) {
  auto attempt = [&]() -> long {
    if (!can_send(socket) || send_room(socket) > 0) {
      return 0;
    }
    socket->wants_room = true;
    return -EAGAIN;
  };
  // ORDER: looked at, then ingested, then looked at again: only a full window ends a turn here.
  if (attempt() == 0) {
    return 0;
  }
  ingest_point();
  return attempt_or_wait(socket, &socket->writers, is_nonblocking(socket, flags),
                         socket->options.send_timeout_ns, attempt);
}

}  // namespace

long tcp_read(File* file, IoCursor* to, int flags) {
  TcpSocket* socket = static_cast<TcpSocket*>(file);
  if (socket->state == TcpState::kListening) {
    return -ENOTCONN;
  }
  const size_t target = receive_target(socket, to->left(), flags);
  Receive call = {socket, to, flags};
  long result = receive_step(&call, target);
  if (result != -EAGAIN) {
    return result;
  }
  const bool nonblocking = is_nonblocking(socket, flags);
  // Not with bytes in hand: they may be the result already.
  if (call.done == 0) {
    ingest_point();
  }
  result =
      attempt_or_wait(socket, &socket->readers, nonblocking, socket->options.receive_timeout_ns,
                      [&] { return receive_step(&call, target); });
  return result < 0 && call.done > 0 ? static_cast<long>(call.done) : result;
}

long tcp_input_bytes(Socket* file) {
  const TcpSocket* socket = to_tcp(file);
  if (socket->state == TcpState::kListening) {
    return -EINVAL;
  }
  const bool ahead = socket->urgent != Urgent::kNone && is_out_of_line(socket) &&
                     socket->mark >= socket->consumed &&
                     socket->mark < socket->consumed + socket->input.size();
  return static_cast<long>(ahead ? socket->mark - socket->consumed : socket->input.size());
}

namespace {

// tcp_recv_urg of the kernel.
long read_urgent(TcpSocket* socket, IoCursor* to, int flags, int* out_flags) {
  if (socket->state == TcpState::kListening) {
    return -ENOTCONN;
  }
  ingest_point();
  if (!is_out_of_line(socket) || socket->urgent != Urgent::kUnread) {
    return -EINVAL;
  }
  if (socket->state != TcpState::kOpen && !socket->input_ended) {
    return -ENOTCONN;
  }
  if ((flags & MSG_PEEK) == 0) {
    socket->urgent = Urgent::kRead;
    note_read(socket->connection_id);
  }
  *out_flags |= MSG_OOB;
  if (to->left() == 0) {
    *out_flags |= MSG_TRUNC;
    return 0;
  }
  if ((flags & MSG_TRUNC) == 0) {
    to->put(&socket->urgent_byte, 1);
  }
  return to->has_fault() ? -EFAULT : 1;
}

}  // namespace

// Streams tell no sender.
long tcp_receive(Socket* socket, IoCursor* to, struct msghdr* message, int flags) {
  message->msg_namelen = 0;
  return (flags & MSG_OOB) != 0 ? read_urgent(to_tcp(socket), to, flags, &message->msg_flags)
                                : tcp_read(socket, to, flags);
}

long tcp_write(File* file, IoCursor* from, int flags) {
  TcpSocket* socket = static_cast<TcpSocket*>(file);
  long done = 0;
  for (;;) {
    if (!can_send(socket)) {
      return done > 0 ? done : send_error(socket, flags);
    }
    done += static_cast<long>(send_available(socket, from, flags));
    if (from->has_fault()) {
      return after_fault(done);
    }
    if (from->left() == 0) {
      return done;
    }
    const long error = wait_for_room(socket, flags);
    if (error < 0) {
      return done > 0 ? done : error;
    }
  }
}

long tcp_room(File* file, int flags) {
  TcpSocket* socket = static_cast<TcpSocket*>(file);
  const long error = can_send(socket) ? wait_for_room(socket, flags) : 0;
  if (error < 0) {
    return error;
  }
  return can_send(socket) ? static_cast<long>(send_room(socket)) : send_error(socket, flags);
}

}  // namespace ftrun::shim
