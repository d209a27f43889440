// SPDX-License-Identifier: Apache-2.0
// What the sockets of all kinds have in common: names of what they are, a pending error, options;
// and a table of what each kind does in its own way.
// Runs in the application with the token held; no libc, no system calls.
#pragma once

#include "preload/net/file.h"
#include "preload/net/options.h"

namespace ftrun::shim {

struct Socket : File {
  sa_family_t family = AF_INET;
  int kind = SOCK_STREAM;
  int protocol = 0;
  int error = 0;  // sk_err, positive
  SocketOptions options;
};

// Behaviour of one kind of socket, beside FileOps. The socket is held while a function runs, which
// may wait. Addresses and headers of messages are the shim's copies unless it says otherwise.
struct SocketOps {
  // Null: the kernel's answer to a socket of its family that cannot (socket.cc).
  long (*bind)(Socket*, const struct sockaddr*, socklen_t);
  long (*listen)(Socket*, int backlog);
  // `address` and `length`: the application's.
  long (*accept)(Socket*, struct sockaddr* address, socklen_t* length, int flags);
  long (*connect)(Socket*, const struct sockaddr*, socklen_t);
  long (*name)(const Socket*, bool of_peer, Address*);  // 0 or -errno
  long (*shutdown)(Socket*, int how);                   // `how` is valid
  // One receive. The message's msg_name and msg_namelen say what there is room for; msg_namelen,
  // msg_flags and msg_controllen, which are 0, become what there is.
  long (*receive)(Socket*, IoCursor* to, struct msghdr*, int flags);
  // A message names its receiver, and is about to be written: 0 or -errno. Null: it is not looked
  // at.
  long (*check_receiver)(const Socket*, const struct msghdr*);
  // ioctls; null: -ENOTTY.
  long (*input_bytes)(Socket*);         // FIONREAD
  long (*output_bytes)(const Socket*);  // SIOCOUTQ
  long (*at_mark)(const Socket*);       // SIOCATMARK
  // Options that others do not have, or know in another way. Getting: false if it is none of them.
  // Setting an integer: -ENOPROTOOPT.
  bool (*get_option)(Socket*, int level, int name, void* value, socklen_t* length, long* result);
  long (*set_option)(Socket*, int level, int name, int value);
  // An option of the table: whether it may be changed now, 0 or -errno; and that it was. `given`:
  // as the application gave it.
  long (*check_option)(const Socket*, int index);
  void (*option_changed)(Socket*, int index, int given);
  void (*linger_changed)(Socket*);
};

// REQUIRES: is_socket().
inline Socket* as_socket(File* file) {
  return static_cast<Socket*>(file);
}
inline const SocketOps* socket_ops(const Socket* socket) {
  return socket->ops->socket;
}
inline bool is_internet(const Socket* socket) {
  return socket->family == AF_INET || socket->family == AF_INET6;
}

inline int take_error(Socket* socket) {
  const int error = socket->error;
  socket->error = 0;
  return error;
}

// Whether there is such a socket (__sock_create): 0 or -errno. `type` with its flags.
long check_socket(int domain, int type, int protocol);
// move_addr_to_user(): 0 or -errno. `to` and `length`: the application's.
long give_address(const Address& from, struct sockaddr* to, socklen_t* length);

}  // namespace ftrun::shim
