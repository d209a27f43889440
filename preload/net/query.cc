// SPDX-License-Identifier: Apache-2.0
// See query.h. The models are net/netlink/af_netlink.c, net/core/rtnetlink.c and
// net/ipv4/datagram.c of Linux 6, as far as an application that only asks can see them. Runs in the
// application with the token held; no libc, no system calls of its own.
#include "preload/net/query.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "preload/guarded.h"
#include "preload/net/descriptors.h"
#include "preload/net/pool.h"

namespace ftrun::shim {

struct QuerySocket : Socket {
  Address local;
  Address peer;                   // of a datagram socket; length 0: not connected
  uint32_t port_id = 0;           // of a netlink socket; 0: none yet
  uint32_t groups = 0;            // of a netlink socket, as bound
  bool is_strict = false;         // NETLINK_GET_STRICT_CHK
  bool send_was_refused = false;  // and said so
  ByteQueue answers;              // of a netlink socket: whole messages
};

extern const FileOps kQueryOps;

namespace {

QuerySocket* to_query(File* file) {
  return static_cast<QuerySocket*>(file);
}
const QuerySocket* to_query(const File* file) {
  return static_cast<const QuerySocket*>(file);
}

constexpr size_t kAnswerBytesMax = 256 * 1024;  // of one question: about two thousand interfaces
constexpr size_t kRequestBytesMax = 4096;
// What the kernel puts into one datagram of a dump at least (NLMSG_GOODSIZE, less its bookkeeping),
// and at most.
constexpr size_t kDumpBytes = 3776;
constexpr size_t kDumpBytesMax = 32 * 1024;

constinit Pool<QuerySocket> g_queries;
// One for all sockets: a question and the copy of its answer are one step, without giving up the
// token.
constinit uint8_t* g_answer = nullptr;  // where an answer is collected
constinit bool g_process_port_is_taken = false;
constinit uint32_t g_last_port_id = 0;

uint32_t query_poll(File* file, uint32_t) {
  const bool readable = to_query(file)->answers.size() > 0;
  return EPOLLOUT | EPOLLWRNORM | (readable ? EPOLLIN | EPOLLRDNORM : 0u);
}

void query_release(File* file) {
  QuerySocket* socket = static_cast<QuerySocket*>(file);
  // The next socket gets that name, as natively.
  if (socket->port_id == application_process_id()) {
    g_process_port_is_taken = false;
  }
  socket->answers.clear();
  g_queries.put(socket);
}

Address unspecified(int family) {
  Address address;
  const auto name = static_cast<sa_family_t>(family);
  __builtin_memcpy(address.bytes, &name, sizeof(name));
  address.length = family == AF_NETLINK ? sizeof(sockaddr_nl)
                   : family == AF_INET  ? sizeof(sockaddr_in)
                   : family == AF_INET6 ? sizeof(sockaddr_in6)
                                        : sizeof(name);
  return address;
}

// The first socket of a process is named after it, others by numbers that no process has
// (netlink_autobind).
void name_port(QuerySocket* socket) {
  if (socket->port_id == 0) {
    // The kernel begins at a random number below -4096. Here they go down from there one by one,
    // since answers carry them.
    const bool is_first = !g_process_port_is_taken;
    g_process_port_is_taken = true;
    socket->port_id = is_first ? application_process_id() : 0xfffff000 - g_last_port_id++;
  }
  sockaddr_nl name = {AF_NETLINK, 0, socket->port_id, socket->groups};
  __builtin_memcpy(socket->local.bytes, &name, sizeof(name));
}

long netlink_bind(QuerySocket* socket, const struct sockaddr* address, socklen_t length) {
  sockaddr_nl name = {};
  if (length < sizeof(name)) {
    return -EINVAL;
  }
  if (!get_in(&name, address)) {
    return -EFAULT;
  }
  if (name.nl_family != AF_NETLINK ||
      (socket->port_id != 0 && name.nl_pid != 0 && name.nl_pid != socket->port_id)) {
    return -EINVAL;
  }
  if (socket->port_id == 0 && name.nl_pid != 0) {
    if (name.nl_pid == application_process_id()) {
      if (g_process_port_is_taken) {
        return -EADDRINUSE;
      }
      g_process_port_is_taken = true;
    }
    socket->port_id = name.nl_pid;
  }
  if (name.nl_groups != 0 && socket->groups == 0) {
    Notice()
        .text("a netlink socket: changes of interfaces, addresses and routes are not passed on")
        .emit();
  }
  socket->groups = name.nl_groups;
  name_port(socket);
  return 0;
}

// NLMSG_ERROR with the request's header, as netlink_ack makes it.
void answer_error(QuerySocket* socket, const nlmsghdr& request, int error) {
  struct {
    nlmsghdr header;
    nlmsgerr body;
  } answer = {};
  answer.header = {sizeof(answer), NLMSG_ERROR, 0, request.nlmsg_seq, socket->port_id};
  answer.body = {-error, request};
  socket->answers.append(reinterpret_cast<const uint8_t*>(&answer), sizeof(answer));
}

void answer_message(QuerySocket* socket, const uint8_t* bytes, const nlmsghdr& header) {
  // RTM_NEW.., RTM_DEL.., RTM_GET.., RTM_SET.. in turn; below RTM_BASE the kernel only
  // acknowledges.
  const bool asks = header.nlmsg_type >= RTM_BASE && (header.nlmsg_type - RTM_BASE) % 4 == 2;
  // netlink_rcv_skb(): control messages and what is no request are not answered, but
  // acknowledged.
  if (header.nlmsg_type < NLMSG_MIN_TYPE || (header.nlmsg_flags & NLM_F_REQUEST) == 0) {
    if ((header.nlmsg_flags & NLM_F_ACK) != 0) {
      answer_error(socket, header, 0);
    }
    return;
  }
  if (!asks) {
    Notice()
        .text("refused: a netlink request (type ")
        .number(header.nlmsg_type)
        .text(") that would change the host's network: answered EPERM")
        .emit();
    answer_error(socket, header, EPERM);
    return;
  }
  if (g_answer == nullptr) {
    g_answer = static_cast<uint8_t*>(arena_alloc(kAnswerBytesMax, 16));
  }
  const RoutingQuestion question = {bytes, header.nlmsg_len, socket->port_id, socket->is_strict};
  const long got = ask_routing(question, g_answer, kAnswerBytesMax);
  if (got < 0) {
    answer_error(socket, header, static_cast<int>(-got));
    return;
  }
  socket->answers.append(g_answer, static_cast<size_t>(got));
}

long netlink_send(QuerySocket* socket, IoCursor* from) {
  alignas(nlmsghdr) uint8_t request[kRequestBytesMax];
  const size_t length = from->left();
  if (length > sizeof(request)) {
    return -EMSGSIZE;
  }
  if (from->get(request, length) != length) {
    return -EFAULT;
  }
  name_port(socket);
  // Several requests in one datagram are several questions, answered in their order
  // (netlink_rcv_skb). A length that cannot be ends the walk; what was asked before it counts.
  for (size_t at = 0; length - at >= sizeof(nlmsghdr);) {
    nlmsghdr header;
    __builtin_memcpy(&header, request + at, sizeof(header));
    if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > length - at) {
      break;
    }
    answer_message(socket, request + at, header);
    const size_t step = NLMSG_ALIGN(header.nlmsg_len);
    at = step < length - at ? at + step : length;
  }
  wake(&socket->readers, kWakeAll);
  notify(socket, kKeyReadable);
  return static_cast<long>(length);
}

// Bytes of the datagram that is next: messages of one dump together, up to `room`, each other
// message by itself.
size_t next_datagram(const QuerySocket* socket, size_t room) {
  size_t end = 0;
  nlmsghdr first = {};
  while (end < socket->answers.size()) {
    nlmsghdr header = {};
    struct iovec iov = {&header, sizeof(header)};
    IoCursor to(&iov, sizeof(header));
    socket->answers.peek(&to, end, sizeof(header));
    const size_t length = NLMSG_ALIGN(header.nlmsg_len);
    const bool is_dump = (header.nlmsg_flags & NLM_F_MULTI) != 0;
    if (end == 0) {
      first = header;
      end = length;
      if (!is_dump) {
        break;
      }
      continue;
    }
    if (!is_dump || header.nlmsg_seq != first.nlmsg_seq || end + length > room) {
      break;
    }
    end += length;
  }
  return end < socket->answers.size() ? end : socket->answers.size();
}

size_t dump_room(size_t buffer) {
  return buffer < kDumpBytes ? kDumpBytes : buffer < kDumpBytesMax ? buffer : kDumpBytesMax;
}

void name_sender(const QuerySocket* socket, struct msghdr* message) {
  if (message->msg_name == nullptr || socket->family != AF_NETLINK) {
    message->msg_namelen = 0;
    return;
  }
  const sockaddr_nl kernel = {AF_NETLINK, 0, 0, 0};
  const size_t length =
      message->msg_namelen < sizeof(kernel) ? message->msg_namelen : sizeof(kernel);
  // As the kernel does it: the message is gone although nobody could be told its sender.
  (void)copy_out(message->msg_name, &kernel, length);
  message->msg_namelen = sizeof(kernel);
}

long refuse_datagram(QuerySocket* socket) {
  const bool is_unix = socket->family == AF_UNIX;
  if (!socket->send_was_refused) {
    socket->send_was_refused = true;
    Notice()
        .text("refused: sending over a ")
        .text(is_unix ? "Unix socket" : "UDP socket")
        .text(": only TCP is supported")
        .emit();
  }
  return is_unix ? -ENOTCONN : -ENETUNREACH;
}

void refuse_datagram_name(const char* call, const sockaddr_un& name, socklen_t length) {
  Notice()
      .text("refused: ")
      .text(call)
      .text(" of a UDP socket to ")
      .address(reinterpret_cast<const uint8_t*>(&name), length)
      .text(": only TCP is supported")
      .emit();
}

void refuse_unix_name(const char* call, const char* path) {
  Notice()
      .text("refused: ")
      .text(call)
      .text(" of a Unix socket to ")
      .text(path[0] != '\0' ? path : "an abstract name")
      .text(": Unix sockets are not supported")
      .emit();
}

// Nobody is told of a name that is not there (of nscd, of syslog): natively the answer is the same.
long unix_name(const char* call, const sockaddr_un& name, socklen_t length) {
  char path[sizeof(name.sun_path) + 1] = {};
  __builtin_memcpy(path, name.sun_path, length - sizeof(name.sun_family));
  // A choice: the host's services are started and stopped by others.
  const long there = path[0] != '\0' ? ask_path(path) : 0;
  if (there < 0) {
    return there;
  }
  refuse_unix_name(call, path);
  return -ECONNREFUSED;
}

long name_in(int family, const struct sockaddr* address, socklen_t length, sockaddr_un* copy) {
  if (length < sizeof(sa_family_t) || length > sizeof(*copy)) {
    return -EINVAL;
  }
  if (copy_in(copy, address, length) != length) {
    return -EFAULT;
  }
  return family == AF_UNIX && copy->sun_family != AF_UNIX && copy->sun_family != AF_UNSPEC ? -EINVAL
                                                                                           : 0;
}

}  // namespace

bool query_can(int domain, int kind, int protocol) {
  switch (domain) {
    case AF_NETLINK:
      return protocol == NETLINK_ROUTE && (kind == SOCK_RAW || kind == SOCK_DGRAM);
    case AF_UNIX:
      return (protocol == 0 || protocol == AF_UNIX) && (kind == SOCK_STREAM || kind == SOCK_DGRAM ||
                                                        kind == SOCK_RAW || kind == SOCK_SEQPACKET);
    default:
      return (domain == AF_INET || domain == AF_INET6) && kind == SOCK_DGRAM &&
             (protocol == 0 || protocol == IPPROTO_UDP);
  }
}

long query_socket(int domain, int kind, int type_flags) {
  QuerySocket* socket = g_queries.get();
  file_init(socket, &kQueryOps, O_RDWR | ((type_flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0));
  socket->family = static_cast<sa_family_t>(domain);
  socket->kind = domain == AF_UNIX && kind == SOCK_RAW ? int{SOCK_DGRAM} : kind;
  socket->protocol = domain == AF_INET || domain == AF_INET6 ? int{IPPROTO_UDP} : 0;
  options_init(socket);
  socket->local = unspecified(domain);
  const long fd = install_file(socket, 0, (type_flags & SOCK_CLOEXEC) != 0);
  if (fd < 0) {
    file_release(socket);
  }
  return fd;
}

namespace {

long query_bind(Socket* file, const struct sockaddr* address, socklen_t length) {
  QuerySocket* socket = to_query(file);
  if (socket->family == AF_NETLINK) {
    return netlink_bind(socket, address, length);
  }
  sockaddr_un name = {};  // the largest
  const long error = name_in(socket->family, address, length, &name);
  if (error < 0) {
    return error;
  }
  if (socket->family == AF_UNIX) {
    char path[sizeof(name.sun_path) + 1] = {};
    __builtin_memcpy(path, name.sun_path, length - sizeof(name.sun_family));
    refuse_unix_name("bind", path);
  } else {
    refuse_datagram_name("bind", name, length);
  }
  return -EADDRNOTAVAIL;
}

long query_connect(Socket* file, const struct sockaddr* address, socklen_t length) {
  QuerySocket* socket = to_query(file);
  sockaddr_un name = {};  // the largest
  const long error = name_in(socket->family, address, length, &name);
  if (error < 0) {
    return error;
  }
  const sa_family_t family = name.sun_family;
  if (family == AF_UNSPEC) {
    // Connected again to nobody: the source address was that of the route, and goes too.
    socket->peer = Address{};
    socket->local = socket->family == AF_NETLINK ? socket->local : unspecified(socket->family);
    return 0;
  }
  if (family == AF_UNIX) {
    return unix_name("connect", name, length);
  }
  Address peer;
  peer.length = static_cast<uint8_t>(length < sizeof(peer.bytes) ? length : sizeof(peer.bytes));
  __builtin_memcpy(peer.bytes, &name, peer.length);
  if (socket->family == AF_NETLINK) {
    if (family != AF_NETLINK || length < sizeof(sockaddr_nl)) {
      return -EINVAL;
    }
    name_port(socket);
  } else {
    const long found = ask_source_address(socket->family, peer, &socket->local);
    if (found < 0) {
      return found;
    }
  }
  socket->peer = peer;
  return 0;
}

long query_name(const Socket* file, bool of_peer, Address* name) {
  const QuerySocket* socket = to_query(file);
  *name = of_peer ? socket->peer : socket->local;
  return of_peer && socket->peer.length == 0 && socket->family != AF_NETLINK ? -ENOTCONN : 0;
}

long query_shutdown(Socket* socket, int) {
  return socket->family == AF_NETLINK         ? -EOPNOTSUPP
         : to_query(socket)->peer.length == 0 ? -ENOTCONN
                                              : 0;
}

long query_receive(Socket* file, IoCursor* to, struct msghdr* message, int flags) {
  QuerySocket* socket = to_query(file);
  if ((flags & MSG_OOB) != 0 && socket->family == AF_NETLINK) {
    return -EOPNOTSUPP;
  }
  const size_t buffer = to->left();
  const long error = attempt_or_wait(
      socket, &socket->readers, is_nonblocking(socket, flags), socket->options.receive_timeout_ns,
      [&]() -> long { return socket->answers.size() == 0 ? -EAGAIN : 0; });
  if (error < 0) {
    return error;
  }
  const size_t length = next_datagram(socket, dump_room(buffer));
  const size_t copied = length < buffer ? length : buffer;
  if (socket->answers.peek(to, 0, copied) != copied) {
    return -EFAULT;
  }
  name_sender(socket, message);
  message->msg_flags = copied < length ? MSG_TRUNC : 0;
  if ((flags & MSG_PEEK) == 0) {
    socket->answers.take(nullptr, length);
  }
  return static_cast<long>((flags & MSG_TRUNC) != 0 ? length : copied);
}

long query_read(File* file, IoCursor* to, int flags) {
  struct msghdr message = {};
  return query_receive(to_query(file), to, &message, flags);
}

long query_write(File* file, IoCursor* from, int) {
  QuerySocket* socket = to_query(file);
  return socket->family == AF_NETLINK ? netlink_send(socket, from) : refuse_datagram(socket);
}

long query_input_bytes(Socket* socket) {
  return static_cast<long>(next_datagram(to_query(socket), kDumpBytes));
}

bool query_get_option(Socket* socket, int level, int name, void* value, socklen_t* length,
                      long* result) {
  if (level != SOL_NETLINK || name != NETLINK_GET_STRICT_CHK) {
    return false;
  }
  *result = give_int(to_query(socket)->is_strict ? 1 : 0, value, length);
  return true;
}

long query_set_option(Socket* file, int level, int name, int value) {
  switch (level == SOL_NETLINK ? name : 0) {
    case NETLINK_GET_STRICT_CHK:
      to_query(file)->is_strict = value != 0;
      return 0;
    // How errors look that do not come, and news that is not passed on.
    case NETLINK_EXT_ACK:
    case NETLINK_CAP_ACK:
    case NETLINK_NO_ENOBUFS:
    case NETLINK_PKTINFO:
      return 0;
    default:
      return -ENOPROTOOPT;
  }
}

constexpr SocketOps kQuerySocketOps = {
    .bind = query_bind,
    .listen = nullptr,
    .accept = nullptr,
    .connect = query_connect,
    .name = query_name,
    .shutdown = query_shutdown,
    .receive = query_receive,
    .input_bytes = query_input_bytes,
    .get_option = query_get_option,
    .set_option = query_set_option,
};

}  // namespace

constexpr FileOps kQueryOps = {.type = FileType::kQuery,
                               .poll = query_poll,
                               .read = query_read,
                               .write = query_write,
                               .room = nullptr,
                               .release = query_release,
                               .socket = &kQuerySocketOps};

long query_unix_name(const char* call, const struct sockaddr* address, socklen_t length) {
  sockaddr_un name = {};
  const long error = name_in(AF_UNIX, address, length, &name);
  if (error < 0) {
    return error;
  }
  return name.sun_family != AF_UNIX || length == sizeof(sa_family_t)
             ? -EINVAL
             : unix_name(call, name, length);
}

}  // namespace ftrun::shim
