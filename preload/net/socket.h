// SPDX-License-Identifier: Apache-2.0
// What the sockets of all kinds have in common: names of what they are, a pending error, options.
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

// REQUIRES: is_socket().
inline Socket* as_socket(File* file) {
  return static_cast<Socket*>(file);
}

inline int take_error(Socket* socket) {
  const int error = socket->error;
  socket->error = 0;
  return error;
}

// Whether there is such a socket (__sock_create): 0 or -errno. `type` with its flags.
long check_socket(int domain, int type, int protocol);

}  // namespace ftrun::shim
