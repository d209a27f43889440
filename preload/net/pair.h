// SPDX-License-Identifier: Apache-2.0
// Socketpairs inside the process: AF_UNIX stream, seqpacket and datagram.
// Runs in the application with the token held; no libc, no system calls.
#pragma once

#include "preload/net/socket.h"

namespace ftrun::shim {

// A receive of `length` bytes in all; *out_flags becomes msg_flags (MSG_TRUNC).
long pair_receive(File* file, const struct msghdr* message, long length, int flags, int* out_flags);
long pair_shutdown(File* file, int how);  // `how` is valid
size_t pair_bytes(const File* file);      // FIONREAD: all, or of the first datagram

bool pair_is_connected(const File* file);         // false once a datagram was refused
struct ucred pair_credentials(const File* file);  // of whom the pair was made by: SO_PEERCRED
void pair_room_changed(File* file);               // its SO_SNDBUF was set

}  // namespace ftrun::shim
