// SPDX-License-Identifier: Apache-2.0
// What the primary's kernel says about the host's network: the questions of preload/net/query.h,
// each a choice. Sockets are made for one question and closed again, so a replica holds none, and a
// promotion loses none. Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sys/socket.h>
#include <unistd.h>

#include "preload/doors.h"
#include "preload/env.h"
#include "preload/net/options.h"
#include "preload/raw.h"

namespace ftrun::shim {
namespace {

// A kernel's socket for as long as one question takes. It takes the lowest free number for a moment
// in which no other thread runs.
class KernelSocket {
 public:
  KernelSocket(int family, int type, int protocol)
      : fd_(raw(__NR_socket, family, type | SOCK_CLOEXEC, protocol)) {}
  ~KernelSocket() {
    if (fd_ >= 0) {
      raw(__NR_close, fd_);
    }
  }
  KernelSocket(const KernelSocket&) = delete;
  KernelSocket& operator=(const KernelSocket&) = delete;
  long fd() const { return fd_; }  // or -errno

 private:
  long fd_;
};

// All datagrams of the answer, one behind the other; each gets `port_id` as its receiver.
// The number of each choice below is that of the call which the application has made: a record that
// names another call is a divergence.
long collect_answer(const RoutingQuestion& question, uint8_t* answer, size_t capacity) {
  const KernelSocket socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  if (socket.fd() < 0) {
    return socket.fd();
  }
  const int strict = question.is_strict ? 1 : 0;
  raw(__NR_setsockopt, socket.fd(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &strict, sizeof(strict));
  const long sent = raw(__NR_sendto, socket.fd(), question.request, question.length, 0, nullptr, 0);
  if (sent < 0) {
    return sent;
  }
  size_t total = 0;
  for (;;) {
    // MSG_TRUNC: the whole length, also of what does not fit.
    const long got = raw(__NR_recvfrom, socket.fd(), answer + total, capacity - total,
                         MSG_DONTWAIT | MSG_TRUNC, nullptr, nullptr);
    if (got == -EAGAIN) {
      return static_cast<long>(
          total);  // the kernel answers before sendto returns, dumps while they are read
    }
    if (got < 0 || static_cast<size_t>(got) > capacity - total) {
      return got < 0 ? got : -ENOBUFS;
    }
    size_t at = total;
    total += static_cast<size_t>(got);
    while (total - at >= sizeof(nlmsghdr)) {
      auto* message = reinterpret_cast<nlmsghdr*>(answer + at);
      // The kernel has answered a socket that is gone in a moment; the application's has another
      // port.
      message->nlmsg_pid = question.port_id;
      at += NLMSG_ALIGN(message->nlmsg_len);
    }
  }
}

}  // namespace

long ask_routing(const RoutingQuestion& question, uint8_t* answer, size_t capacity) {
  return choose_long(__NR_sendto, answer,
                     [&] { return collect_answer(question, answer, capacity); });
}

long ask_source_address(int family, const Address& peer, Address* local) {
  return choose(__NR_connect, local, sizeof(*local), [&] {
    const KernelSocket socket(family, SOCK_DGRAM, 0);
    long result = socket.fd();
    if (result >= 0) {
      result = raw(__NR_connect, socket.fd(), peer.bytes, peer.length);
    }
    if (result == 0) {
      socklen_t length = sizeof(local->bytes);
      result = raw(__NR_getsockname, socket.fd(), local->bytes, &length);
      local->length = static_cast<uint8_t>(length);
    }
    return result;
  });
}

long ask_interface(int family, unsigned long request, void* structure, size_t bytes) {
  return choose(__NR_ioctl, structure, bytes, [&] {
    const KernelSocket socket(family, SOCK_DGRAM, 0);
    return socket.fd() < 0 ? socket.fd() : raw(__NR_ioctl, socket.fd(), request, structure);
  });
}

long ask_interface_list(int family, uint8_t* list, size_t capacity) {
  struct ifconf question = {};
  question.ifc_len = static_cast<int>(capacity);
  question.ifc_buf = reinterpret_cast<char*>(list);
  return choose_counted(__NR_ioctl, list, capacity, [&]() -> long {
    const KernelSocket socket(family, SOCK_DGRAM, 0);
    const long result =
        socket.fd() < 0 ? socket.fd() : raw(__NR_ioctl, socket.fd(), SIOCGIFCONF, &question);
    return result < 0 ? result : question.ifc_len;
  });
}

int ask_buffer_limit(bool send) {
  // Part of the choice's payload, so a secondary knows it from the log and asks no more than the
  // primary.
  static int limits[2] = {};  // of the host, asked once
  if (limits[0] == 0) {
    const long result = choose(__NR_setsockopt, limits, sizeof(limits), [&]() -> long {
      const KernelSocket socket(AF_UNIX, SOCK_DGRAM, 0);
      for (int i = 0; i < 2 && socket.fd() >= 0; ++i) {
        const int name = i == 0 ? SO_SNDBUF : SO_RCVBUF;
        const int most = INT32_MAX;
        socklen_t length = sizeof(limits[i]);
        raw(__NR_setsockopt, socket.fd(), SOL_SOCKET, name, &most, sizeof(most));
        raw(__NR_getsockopt, socket.fd(), SOL_SOCKET, name, &limits[i], &length);
        // socket(7): the kernel keeps twice what was asked for, and at most twice the limit.
        limits[i] /= 2;
      }
      return socket.fd() < 0 ? socket.fd() : 0;
    });
    if (result < 0) {
      return kSocketBufferBytes;  // no descriptor is left to ask with
    }
  }
  return limits[send ? 0 : 1];
}

// Tried on a socket of the kernel's, since the kernel alone knows what this process may do
// (capabilities, security modules).
long ask_permission(int name, int value) {
  return choose(__NR_setsockopt, [&]() -> long {
    const KernelSocket socket(AF_UNIX, SOCK_DGRAM, 0);
    return socket.fd() < 0
               ? -EPERM
               : raw(__NR_setsockopt, socket.fd(), SOL_SOCKET, name, &value, sizeof(value));
  });
}

long ask_path(const char* path) {
  return choose(__NR_connect, [&] { return raw(__NR_access, path, F_OK); });
}

}  // namespace ftrun::shim
