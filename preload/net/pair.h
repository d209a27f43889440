// SPDX-License-Identifier: Apache-2.0
// Socketpairs inside the process: AF_UNIX stream, seqpacket and datagram; the model is
// net/unix/af_unix.c of Linux 6. What is written travels in messages (the kernel's sk_buffs), whose
// cost in memory decides how much fits and whose end decides when the writer is told of room.
// Runs in the application with the token held; no libc, no system calls.
#pragma once

#include "preload/net/socket.h"

namespace ftrun::shim {

// sk_shutdown.
inline constexpr uint8_t kPairReceive = 1;
inline constexpr uint8_t kPairSend = 2;
inline constexpr uint8_t kPairBoth = 3;

struct Message {
  Message* next;
  size_t left;  // bytes in it that are not taken yet
  size_t cost;  // charged to the writer until the message is gone
};

struct Pair : Socket {
  Pair* other = nullptr;  // nullptr once it is closed
  uint8_t shut = 0;
  bool wants_room = false;  // its owner is to be told of room (SOCKWQ_ASYNC_NOSPACE)
  bool refused = false;     // datagrams: the closed peer was already reported
  struct ucred made_by = {};
  size_t charged = 0;        // cost of what this end wrote and the other has not taken
  Message* first = nullptr;  // to be read here
  Message* last = nullptr;
  ByteQueue input;
};

// REQUIRES: it is one.
inline Pair* to_pair(File* file) {
  return static_cast<Pair*>(file);
}
inline const Pair* to_pair(const File* file) {
  return static_cast<const Pair*>(file);
}

// --- messages (pair_io.cc) ---

uint32_t pair_poll(File* file, uint32_t wanted);
long pair_read(File* file, IoCursor* to, int flags);
long pair_write(File* file, IoCursor* from, int flags);
long pair_room(File* file, int flags);
long pair_receive(Socket* socket, IoCursor* to, struct msghdr* message, int flags);
// The first message is used up: its writer has room again. REQUIRES: there is one.
void pair_drop_first(Pair* end);
void pair_tell_room(Pair* writer);  // if there is enough

}  // namespace ftrun::shim
