// SPDX-License-Identifier: Apache-2.0
// Messages between the ends of a socketpair: see pair.h.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/pair.h"
#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

// What a message costs decides when a writer blocks, so the sizes are those of the kernel's
// sk_buffs on x86-64 (struct skb_shared_info, SKB_TRUESIZE), counted in bytes; see cost_of().
// Another kernel may count otherwise; replicas do not, since none asks its kernel.
constexpr size_t kPageBytes = 4096;
constexpr size_t kSharedInfoBytes = 320;            // behind every sk_buff's data
constexpr size_t kSkbBytes = 256;                   // the sk_buff itself
constexpr size_t kPagedBytesMax = 17 * kPageBytes;  // MAX_SKB_FRAGS
constexpr size_t kLinearBytesMax = kPageBytes - kSharedInfoBytes;
constexpr size_t kMessageBytesMax = kLinearBytesMax + 32768;  // of a stream's message

constinit Pool<Message> g_messages;

bool is_stream(const Pair* end) {
  return end->kind == SOCK_STREAM;
}
size_t send_buffer_bytes(const Pair* end) {
  return static_cast<size_t>(end->options.value[kOptSendBuffer]);
}
bool has_room(const Pair* end) {
  return end->charged < send_buffer_bytes(end);
}
// unix_writable(): a quarter at most is used. Between that and has_room() a write succeeds although
// poll does not promise it, as natively.
bool is_pair_writable(const Pair* end) {
  return (end->charged + 1) * 4 <= send_buffer_bytes(end);
}

// Memory that the kernel charges for a message of `length` bytes. Streams never ask for more than a
// page in one piece, the others for up to four.
size_t cost_of(const Pair* end, size_t length) {
  const size_t whole = is_stream(end) ? kLinearBytesMax : 4 * kPageBytes - kSharedInfoBytes;
  size_t paged = length > whole ? length - whole : 0;
  paged = paged < kPagedBytesMax ? paged : kPagedBytesMax;
  paged = (paged + kPageBytes - 1) / kPageBytes * kPageBytes;
  paged = paged < length ? paged : length;
  size_t linear = 512;
  while (linear < length - paged + kSharedInfoBytes) {
    linear *= 2;
  }
  return kSkbBytes + linear + (paged + kPageBytes - 1) / kPageBytes * kPageBytes;
}

// Its owner is told of room from now on, if it is one already (sk_set_bit).
void note_no_room(Pair* end) {
  end->wants_room |= (end->status_flags & O_ASYNC) != 0;
}

// False: the application's memory cannot be read.
bool append_message(Pair* end, IoCursor* from, size_t length) {
  Pair* reader = end->other;
  // ORDER: the bytes, then the message that counts them: append_from() takes all or nothing, so
  // after a fault there is no message of which bytes are missing.
  const size_t taken = reader->input.append_from(from, length);
  if (from->has_fault()) {
    return false;
  }
  Message* message = g_messages.get_raw();
  message->next = nullptr;
  message->left = taken;
  message->cost = cost_of(end, length);
  (reader->last != nullptr ? reader->last->next : reader->first) = message;
  reader->last = message;
  end->charged += message->cost;
  // Signal, readers, watchers: sock_def_readable() wakes the sleepers first, but no other thread
  // runs before this call gives up the token, so only the signal's moment shows: it looks for
  // readers that wait (SOCKWQ_ASYNC_WAITDATA), and must do so before they are woken.
  tell_owner_of_input(reader, POLL_IN);
  wake(&reader->readers, kWakeAll);
  notify(reader, kKeyReadable);
  return true;
}

// --- reading ---

struct Receive {
  Pair* end;
  IoCursor* to;
  int flags;
  size_t done = 0;
  bool truncated = false;
};

void take_stream(Receive* call) {
  Pair* end = call->end;
  if ((call->flags & MSG_PEEK) != 0) {
    call->done += end->input.peek(call->to, call->done, call->to->left());
    return;
  }
  while (end->first != nullptr && call->to->left() > 0 && !call->to->has_fault()) {
    // Whole messages, or as much as there is room for: what has met a fault is not taken.
    Message* message = end->first;
    const size_t n = end->input.peek(call->to, 0, message->left);
    if (call->to->has_fault()) {
      return;
    }
    end->input.take(nullptr, n);
    message->left -= n;
    call->done += n;
    if (message->left == 0) {
      pair_drop_first(end);
    }
  }
}

long receive_stream(Receive* call, size_t target) {
  Pair* end = call->end;
  if (call->to->left() == 0 && call->done == 0 && end->first != nullptr) {
    return 0;  // a receive of no bytes where there are some
  }
  take_stream(call);
  if (call->to->has_fault()) {
    return after_fault(static_cast<long>(call->done));
  }
  if (call->done >= target) {
    return static_cast<long>(call->done);
  }
  // Looking for more uses up a pending error, also when it is not reported (af_unix.c).
  const int error = take_error(end);
  if (error == 0 && (end->shut & kPairReceive) == 0) {
    return -EAGAIN;
  }
  return call->done > 0 ? static_cast<long>(call->done) : -error;
}

// One whole message; what does not fit is lost.
long receive_message(Receive* call) {
  Pair* end = call->end;
  if (end->error != 0) {
    return -take_error(end);
  }
  Message* message = end->first;
  if (message == nullptr) {
    return end->kind == SOCK_SEQPACKET && (end->shut & kPairReceive) != 0 ? 0 : -EAGAIN;
  }
  const size_t length = message->left;
  const size_t room = call->to->left();
  const size_t taken = length < room ? length : room;
  call->truncated = length > room;
  if ((call->flags & MSG_PEEK) != 0) {
    end->input.peek(call->to, 0, taken);
  } else {
    message->left -= end->input.take(call->to, taken);
    pair_drop_first(end);
  }
  if (call->to->has_fault()) {
    return -EFAULT;  // and the message is lost
  }
  return static_cast<long>((call->flags & MSG_TRUNC) != 0 ? length : taken);
}

long receive(Receive* call) {
  Pair* end = call->end;
  const size_t length = call->to->left();
  const auto low = static_cast<size_t>(end->options.value[kOptReceiveLow]);
  const size_t wanted = (call->flags & MSG_WAITALL) != 0 || length < low ? length : low;
  const size_t target = wanted > 0 ? wanted : 1;
  // A stream may have given some bytes in one attempt and wait for the rest: they are the result if
  // the wait fails.
  const long result = attempt_or_wait(
      end, &end->readers, is_nonblocking(end, call->flags), end->options.receive_timeout_ns,
      [&] { return is_stream(end) ? receive_stream(call, target) : receive_message(call); });
  return result < 0 && call->done > 0 ? static_cast<long>(call->done) : result;
}

// --- writing ---

bool can_send(const Pair* end) {
  return (end->shut & kPairSend) == 0 && end->other != nullptr &&
         (end->other->shut & kPairReceive) == 0;
}

long broken(int flags) {
  if ((flags & MSG_NOSIGNAL) == 0) {
    raise_sigpipe();
  }
  return -EPIPE;
}

long wait_for_room(Pair* end, int flags) {
  return attempt_or_wait(end, &end->writers, is_nonblocking(end, flags),
                         end->options.send_timeout_ns, [&]() -> long {
                           if ((end->shut & kPairSend) != 0 || has_room(end)) {
                             return 0;
                           }
                           note_no_room(end);
                           return -EAGAIN;
                         });
}

long write_stream(Pair* end, IoCursor* from, int flags) {
  // unix_stream_sendmsg(): two messages fit into the buffer, so that the reader can take one while
  // the next is written.
  const size_t half = send_buffer_bytes(end) / 2 - 64;
  const size_t piece_max = half < kMessageBytesMax ? half : kMessageBytesMax;
  long done = 0;
  for (;;) {
    if (!can_send(end)) {
      return done > 0 ? done : broken(flags);
    }
    if (from->left() == 0) {
      return done;
    }
    if (has_room(end)) {
      const size_t piece = from->left() < piece_max ? from->left() : piece_max;
      if (!append_message(end, from, piece)) {
        return after_fault(done);
      }
      done += static_cast<long>(piece);
      continue;
    }
    const long error = wait_for_room(end, flags);
    if (error < 0) {
      return done > 0 ? done : error;
    }
  }
}

long write_message(Pair* end, IoCursor* from, int flags) {
  const size_t length = from->left();
  if (end->kind == SOCK_SEQPACKET && end->error != 0) {
    return -take_error(end);
  }
  // A message that never fits must not wait for room (unix_dgram_sendmsg).
  if (length > send_buffer_bytes(end) - 32) {
    return -EMSGSIZE;
  }
  const long error = wait_for_room(end, flags);
  if (error < 0) {
    return error;
  }
  if ((end->shut & kPairSend) != 0) {
    return -EPIPE;  // without a signal: only streams raise it
  }
  if (!can_send(end)) {
    pair_tell_room(end);  // the kernel has made the message by now, and gives it back
    if (end->other != nullptr) {
      return -EPIPE;
    }
    // unix_dgram_disconnected(): what the closed end had sent is lost with the first refusal.
    while (!end->refused && end->first != nullptr) {
      pair_drop_first(end);
    }
    const bool told = end->refused;
    end->refused = true;
    return told ? -ENOTCONN : -ECONNREFUSED;
  }
  return append_message(end, from, length) ? static_cast<long>(length) : -EFAULT;
}

}  // namespace

void pair_tell_room(Pair* writer) {
  if (is_pair_writable(writer)) {
    wake(&writer->writers, kWakeAll);
    notify(writer, kKeyWritable);
    if (writer->wants_room) {
      writer->wants_room = false;
      tell_owner(writer, POLL_OUT);
    }
  }
}

void pair_drop_first(Pair* end) {
  Message* message = end->first;
  end->input.take(nullptr, message->left);
  end->first = message->next;
  if (end->first == nullptr) {
    end->last = nullptr;
  }
  Pair* writer = end->other;
  if (writer != nullptr) {
    // Only the end of a message gives its room back: a reader that leaves one byte of it keeps all
    // of its cost charged, as natively.
    writer->charged -= message->cost;
    pair_tell_room(writer);
  }
  g_messages.put(message);
}

uint32_t pair_poll(File* file, uint32_t wanted) {
  Pair* end = static_cast<Pair*>(file);
  uint32_t events = 0;
  events |= end->error != 0 ? EPOLLERR : 0u;
  events |= end->shut == kPairBoth ? EPOLLHUP : 0u;
  events |= (end->shut & kPairReceive) != 0 ? EPOLLRDHUP | EPOLLIN | EPOLLRDNORM : 0u;
  events |= end->first != nullptr ? EPOLLIN | EPOLLRDNORM : 0u;
  if (is_pair_writable(end)) {
    return events | EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
  }
  // unix_dgram_poll() notes it where it is asked, unix_poll() never.
  if (!is_stream(end) && (wanted & kKeyWritable) != 0) {
    note_no_room(end);
  }
  return events;
}

long pair_read(File* file, IoCursor* to, int flags) {
  Receive call = {static_cast<Pair*>(file), to, flags};
  return receive(&call);
}

// Streams and unnamed senders tell no name.
long pair_receive(Socket* socket, IoCursor* to, struct msghdr* message, int flags) {
  message->msg_namelen = 0;
  if ((flags & MSG_OOB) != 0) {
    return -EOPNOTSUPP;
  }
  Receive call = {to_pair(socket), to, flags};
  const long result = receive(&call);
  message->msg_flags = call.truncated ? MSG_TRUNC : 0;
  return result;
}

long pair_write(File* file, IoCursor* from, int flags) {
  Pair* end = static_cast<Pair*>(file);
  if ((flags & MSG_OOB) != 0) {
    return -EOPNOTSUPP;
  }
  return is_stream(end) ? write_stream(end, from, flags) : write_message(end, from, flags);
}

long pair_room(File* file, int flags) {
  Pair* end = static_cast<Pair*>(file);
  const long error = wait_for_room(end, flags);
  if (error < 0) {
    return error;
  }
  return can_send(end) ? static_cast<long>(kLinearBytesMax) : broken(flags);
}

}  // namespace ftrun::shim
