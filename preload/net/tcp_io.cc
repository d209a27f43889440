// SPDX-License-Identifier: Apache-2.0
// Reading from and writing to virtual TCP connections: the model is tcp_recvmsg and tcp_sendmsg.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/tcp.h"

namespace ftrun::shim {
namespace {

int take_error(TcpSocket* socket) {
  const int error = socket->error;
  socket->error = 0;
  return error;
}

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
};

void take_available(Receive* call) {
  ByteQueue* input = &call->socket->input;
  const size_t wanted = call->to->left();
  size_t n = 0;
  if ((call->flags & MSG_PEEK) != 0) {
    n = input->peek(call->to, call->done, wanted);
  } else if ((call->flags & MSG_TRUNC) != 0) {
    n = input->take(nullptr, wanted);
    // Counted against the buffers' length, which stay untouched.
    size_t left = n;
    while (left > 0) {
      size_t length = 0;
      call->to->piece(&length);
      length = length < left ? length : left;
      call->to->advance(length);
      left -= length;
    }
  } else {
    n = input->take(call->to, wanted);
  }
  call->done += n;
  if ((call->flags & MSG_PEEK) == 0 && n > 0) {
    call->socket->consumed += n;
    note_read(call->socket->connection_id);
    report_consumed(call->socket);
  }
}

// What a receive that has nothing returns: 0 (end), an error, or -EAGAIN: wait.
long nothing_to_read(TcpSocket* socket) {
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
  } else if (call->done == 0 && call->socket->input.size() > 0) {
    return 0;  // a receive of no bytes where there are some
  }
  if (call->done >= target || (call->done > 0 && must_return(call->socket))) {
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

// Issues what fits into the window.
size_t send_available(TcpSocket* socket, IoCursor* from) {
  size_t done = 0;
  for (;;) {
    Output entry;
    entry.kind = OutputKind::kWrite;
    entry.id = socket->connection_id;
    entry.data = from->piece(&entry.length);
    const size_t room = send_room(socket);
    entry.length = entry.length < room ? entry.length : room;
    if (entry.length == 0) {
      return done;
    }
    emit_output(entry);
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
  if (call.done == 0) {
    ingest_point();
  }
  result =
      attempt_or_wait(socket, &socket->readers, nonblocking, socket->options.receive_timeout_ns,
                      [&] { return receive_step(&call, target); });
  return result < 0 && call.done > 0 ? static_cast<long>(call.done) : result;
}

long tcp_write(File* file, IoCursor* from, int flags) {
  TcpSocket* socket = static_cast<TcpSocket*>(file);
  if ((flags & MSG_OOB) != 0) {
    Notice().text("send with MSG_OOB answered EOPNOTSUPP: urgent data is not supported").emit();
    return -EOPNOTSUPP;
  }
  long done = 0;
  for (;;) {
    if (!can_send(socket)) {
      return done > 0 ? done : send_error(socket, flags);
    }
    done += static_cast<long>(send_available(socket, from));
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
