// SPDX-License-Identifier: Apache-2.0
// The host that preload/net/query.cc asks (preload/env.h), for tests. Runs in test processes only.
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "preload/env.h"

namespace ftrun::shim {

// No host is asked: one datagram with the request as its answer, the peer's address, an empty
// structure.
long ask_routing(const RoutingQuestion& question, uint8_t* answer, size_t) {
  memcpy(answer, question.request, question.length);
  reinterpret_cast<nlmsghdr*>(answer)->nlmsg_pid = question.port_id;
  return static_cast<long>(question.length);
}
long ask_source_address(int, const Address& peer, Address* local) {
  *local = peer;
  return 0;
}
long ask_interface(int, unsigned long, void*, size_t) {
  return 0;
}
long ask_interface_list(int, uint8_t*, size_t) {
  return 0;
}
long ask_path(const char*) {
  return -ENOENT;
}
// This machine's kernel: the differential tests compare with it.
int ask_buffer_limit(bool send) {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int name = send ? SO_SNDBUF : SO_RCVBUF;
  const int most = INT32_MAX;
  int kept = 0;
  socklen_t length = sizeof(kept);
  setsockopt(fd, SOL_SOCKET, name, &most, sizeof(most));
  getsockopt(fd, SOL_SOCKET, name, &kept, &length);
  close(fd);
  return kept / 2;
}
long ask_permission(int name, int value) {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int error = setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)) == 0 ? 0 : errno;
  close(fd);
  return -error;
}
long ask_pipe_capacity(size_t bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return -EPERM;
  }
  const int result = fcntl(ends[0], F_SETPIPE_SZ, bytes);
  const int error = errno;
  close(ends[0]);
  close(ends[1]);
  return result < 0 ? -error : result;
}
uint32_t application_process_id() {
  return 2;
}
struct ucred application_credentials() {
  return {2, geteuid(), getegid()};
}

}  // namespace ftrun::shim
