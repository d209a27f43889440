// SPDX-License-Identifier: Apache-2.0
// Life of a socketpair, and what only sockets can be asked: see pair.h. Messages: pair_io.cc.
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/pair.h"

#include "preload/net/descriptors.h"
#include "preload/net/pool.h"
#include "preload/net/query.h"

namespace ftrun::shim {
namespace {

constinit Pool<Pair> g_pairs;

void state_changed(Pair* end) {
  wake(&end->readers, kWakeAll);
  wake(&end->writers, kWakeAll);
  notify(end, kKeyAny);
}

void pair_release(File* file) {
  Pair* end = static_cast<Pair*>(file);
  Pair* other = end->other;
  // An empty message at the front does not count (since Linux 6.10).
  const Message* first = end->first;
  const bool unread = first != nullptr && (first->left > 0 || first->next != nullptr);
  // ORDER: no longer anybody's other end, then empty: what is dropped here would tell the writer of
  // room once for each message; below it is told once for all of them.
  end->other = nullptr;
  while (end->first != nullptr) {
    pair_drop_first(end);
  }
  const bool datagrams = end->kind == SOCK_DGRAM;
  // From here on `end` is somebody else's memory: what is still needed of it was read before.
  g_pairs.put(end);
  if (other == nullptr) {
    return;
  }
  other->other = nullptr;
  const bool had_cost = other->charged > 0;
  other->charged = 0;
  // A datagram socket does not notice that its peer has gone until it sends (unix_dgram_sendmsg).
  if (!datagrams) {
    other->shut = kPairBoth;
    other->error = unread ? ECONNRESET : other->error;
    tell_owner_of_input(other, POLL_HUP);
    state_changed(other);
  }
  if (had_cost) {
    pair_tell_room(other);
  }
}

long pair_check_receiver(const Socket* socket, const struct msghdr* message) {
  switch (socket->kind) {
    case SOCK_STREAM:
      return -EISCONN;
    case SOCK_DGRAM:
      return query_unix_name("sending", static_cast<const sockaddr*>(message->msg_name),
                             message->msg_namelen);
    default:
      return 0;  // not looked at
  }
}

// Both ends are unnamed.
long pair_name(const Socket* socket, bool of_peer, Address* name) {
  const sa_family_t family = AF_UNIX;
  name->length = sizeof(family);
  __builtin_memcpy(name->bytes, &family, sizeof(family));
  return of_peer && to_pair(socket)->refused ? -ENOTCONN : 0;
}

long pair_shutdown(Socket* socket, int how) {
  Pair* end = to_pair(socket);
  // SHUT_RD, SHUT_WR, SHUT_RDWR are 0, 1, 2; their sum with 1 is the set of bits.
  const uint8_t bits = static_cast<uint8_t>(how + 1);
  end->shut |= bits;
  state_changed(end);  // ORDER: this end first, as unix_shutdown does
  if (end->other != nullptr && end->kind != SOCK_DGRAM) {
    end->other->shut |= static_cast<uint8_t>(((bits & kPairReceive) != 0 ? kPairSend : 0) |
                                             ((bits & kPairSend) != 0 ? kPairReceive : 0));
    if ((bits & kPairSend) != 0) {
      tell_owner_of_input(end->other, bits == kPairBoth ? POLL_HUP : POLL_IN);
    }
    state_changed(end->other);
  }
  return 0;
}

long pair_input_bytes(Socket* socket) {
  const Pair* end = to_pair(socket);
  if (end->kind != SOCK_DGRAM) {
    return static_cast<long>(end->input.size());
  }
  return end->first != nullptr ? static_cast<long>(end->first->left) : 0;
}

long pair_output_bytes(const Socket* socket) {
  return static_cast<long>(to_pair(socket)->charged);
}

// There is no urgent data.
long pair_at_mark(const Socket* socket) {
  return socket->kind == SOCK_STREAM ? 0 : -EOPNOTSUPP;
}

bool pair_get_option(Socket* socket, int level, int name, void* value, socklen_t* length,
                     long* result) {
  if (level != SOL_SOCKET || name != SO_PEERCRED) {
    return false;
  }
  const struct ucred made_by = to_pair(socket)->made_by;
  *result = give_option(&made_by, sizeof(made_by), value, length);
  return true;
}

void pair_option_changed(Socket* socket, int index, int) {
  if (index == kOptSendBuffer) {
    pair_tell_room(to_pair(socket));
  }
}

constexpr SocketOps kPairSocketOps = {
    .bind = nullptr,
    .listen = nullptr,
    .accept = nullptr,
    .connect = nullptr,
    .name = pair_name,
    .shutdown = pair_shutdown,
    .receive = pair_receive,
    .check_receiver = pair_check_receiver,
    .input_bytes = pair_input_bytes,
    .output_bytes = pair_output_bytes,
    .at_mark = pair_at_mark,
    .get_option = pair_get_option,
    .option_changed = pair_option_changed,
};

constexpr FileOps kPairOps = {.type = FileType::kPair,
                              .poll = pair_poll,
                              .read = pair_read,
                              .write = pair_write,
                              .room = pair_room,
                              .release = pair_release,
                              .socket = &kPairSocketOps};

}  // namespace

long net_socketpair(int domain, int type, int protocol, int fds[2]) {
  if (const long error = check_socket(domain, type, protocol)) {
    return error;
  }
  const int named = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  const int kind = named == SOCK_RAW ? int{SOCK_DGRAM} : named;
  if (domain != AF_UNIX) {
    return -EOPNOTSUPP;
  }
  const int status_flags = O_RDWR | ((type & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0);
  Pair* ends[2] = {g_pairs.get(), g_pairs.get()};
  for (int i = 0; i < 2; ++i) {
    file_init(ends[i], &kPairOps, status_flags);
    ends[i]->other = ends[1 - i];
    ends[i]->family = AF_UNIX;
    ends[i]->kind = kind;
    ends[i]->made_by = application_credentials();
    options_init(ends[i]);
  }
  const long first = install_file(ends[0], 0, (type & SOCK_CLOEXEC) != 0);
  // The other one's release finds no peer any more; neither has a number that would show.
  if (first < 0) {
    file_release(ends[0]);
    file_release(ends[1]);
    return first;
  }
  const long second = install_file(ends[1], 0, (type & SOCK_CLOEXEC) != 0);
  if (second < 0) {
    net_close(static_cast<int>(first));
    file_release(ends[1]);
    return second;
  }
  fds[0] = static_cast<int>(first);
  fds[1] = static_cast<int>(second);
  return 0;
}

}  // namespace ftrun::shim
