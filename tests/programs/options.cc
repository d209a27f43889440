// SPDX-License-Identifier: Apache-2.0
// An ordinary program that sets and asks options of sockets of all kinds, and looks at what they do
// afterwards. Prints only what is the same in each run.
#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace {

constexpr int kReceiveTimeoutNew = 66;
constexpr int kSendTimeoutNew = 67;

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "",
         result < 0 ? strerrorname_np(errno) : "");
}

int64_t now_ms() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1'000'000;
}

void set(int fd, int level, int name, int value) {
  printf("%d/%d = %d", level, name, value);
  say("", setsockopt(fd, level, name, &value, sizeof(value)));
}
void ask(int fd, int level, int name) {
  int value[8] = {-1};
  socklen_t length = sizeof(value);
  const int result = getsockopt(fd, level, name, value, &length);
  printf("%d/%d: %s %d, %u bytes\n", level, name, result < 0 ? strerrorname_np(errno) : "ok",
         value[0], length);
}

// Every type that fits the argument, with flags that are none.
void types() {
  for (const int family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, 45, 46, -1}) {
    for (int type = 0; type < 16; ++type) {
      int s[2] = {-1, -1};
      // What only ftrun lacks, and what needs a module or privileges.
      const bool is_lacking =
          family != AF_UNIX && (type == SOCK_RAW || type == SOCK_SEQPACKET || type == SOCK_PACKET);
      const int one = is_lacking || family >= 44 ? -1 : socket(family, type, 0);
      const int error = one < 0 ? errno : 0;
      const int pair = is_lacking || family >= 44 ? -1 : socketpair(family, type, 0, s);
      if (!is_lacking && family < 44) {
        printf("%d %d: %s %s\n", family, type, error != 0 ? strerrorname_np(error) : "ok",
               pair < 0 ? strerrorname_np(errno) : "ok");
      }
      close(one);
      close(s[0]);
      close(s[1]);
    }
  }
  int s[2];
  for (int bit = 4; bit < 31; ++bit) {
    const int flag = 1 << bit;
    if (flag != SOCK_CLOEXEC && flag != SOCK_NONBLOCK) {
      const int pair = socketpair(AF_UNIX, SOCK_STREAM | flag, 0, s);
      printf("%x: %s", static_cast<unsigned>(flag), pair < 0 ? strerrorname_np(errno) : "ok");
      say("", socket(AF_INET, SOCK_STREAM | flag, 0));
    }
  }
  say("a pair of another protocol", socketpair(AF_UNIX, SOCK_STREAM, 7, s));
  say("of its own", socketpair(AF_UNIX, SOCK_RAW, AF_UNIX, s));
  ask(s[0], SOL_SOCKET, SO_TYPE);
  ask(s[0], SOL_SOCKET, SO_PROTOCOL);
  close(s[0]);
  close(s[1]);
  say("Unix, another protocol", socket(AF_UNIX, SOCK_STREAM, 7));
  say("no such protocol", socket(AF_INET, SOCK_STREAM, 300));
  say("negative protocol", socket(AF_INET, SOCK_STREAM, -1));
  say("datagrams' protocol", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
  say("streams' protocol", socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
}

bool waited(int64_t start, int64_t ms) {
  return now_ms() - start >= ms && now_ms() - start < ms + 2000;
}

void time_outs_of(const char* what, int reads, int writes, int receive, int send) {
  printf("time-outs of a %s\n", what);
  const timeval time = {0, 100'000};
  say("set", setsockopt(reads, SOL_SOCKET, receive, &time, sizeof(time)));
  timeval kept = {9, 9};
  socklen_t length = sizeof(kept);
  say("get", getsockopt(reads, SOL_SOCKET,
                        receive == SO_RCVTIMEO ? kReceiveTimeoutNew : SO_RCVTIMEO, &kept, &length));
  printf("%ld.%06ld, %u bytes\n", static_cast<long>(kept.tv_sec), static_cast<long>(kept.tv_usec),
         length);
  char byte[64] = {};
  int64_t start = now_ms();
  say("nothing came", recv(reads, byte, 1, 0));
  printf("in time: %d\n", waited(start, 100));
  if (writes < 0) {
    return;
  }
  (void)!write(writes, "abc", 3);
  start = now_ms();
  say("not all came", recv(reads, byte, sizeof(byte), MSG_WAITALL));
  printf("waited: %d\n", now_ms() - start >= 100);
  say("set", setsockopt(writes, SOL_SOCKET, send, &time, sizeof(time)));
  static char much[100'000];
  long last = 0;
  start = now_ms();
  while ((last = ::send(writes, much, sizeof(much), 0)) > 0) {
  }
  say("no room", last);
  printf("waited: %d\n", now_ms() - start >= 100);
  const timeval past = {-1, 0};
  say("past", setsockopt(writes, SOL_SOCKET, send, &past, sizeof(past)));
  start = now_ms();
  say("no room", ::send(writes, much, sizeof(much), 0));
  printf("at once: %d\n", now_ms() - start < 90);
}

void time_outs() {
  int s[2];
  for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    for (const bool is_new : {false, true}) {
      (void)!socketpair(AF_UNIX, kind, 0, s);
      time_outs_of("pair", s[0], s[1], is_new ? kReceiveTimeoutNew : SO_RCVTIMEO,
                   is_new ? kSendTimeoutNew : SO_SNDTIMEO);
      close(s[0]);
      close(s[1]);
    }
  }
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  listen(listener, 1);
  const timeval time = {0, 100'000};
  say("of a listener", setsockopt(listener, SOL_SOCKET, kReceiveTimeoutNew, &time, sizeof(time)));
  const int64_t start = now_ms();
  say("nobody came", accept(listener, nullptr, nullptr));
  printf("in time: %d\n", waited(start, 100));
  close(listener);
  const int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  time_outs_of("netlink socket", netlink, -1, SO_RCVTIMEO, SO_SNDTIMEO);
  close(netlink);
  const int datagrams = socket(AF_INET, SOCK_DGRAM, 0);
  time_outs_of("UDP socket", datagrams, -1, kReceiveTimeoutNew, SO_SNDTIMEO);
  close(datagrams);
}

// How much goes into a pair before it is full.
void buffers() {
  for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    for (const int bytes : {0, 5000, 70'001}) {
      int s[2];
      (void)!socketpair(AF_UNIX, kind | SOCK_NONBLOCK, 0, s);
      set(s[0], SOL_SOCKET, SO_SNDBUF, bytes);
      ask(s[0], SOL_SOCKET, SO_SNDBUF);
      ask(s[1], SOL_SOCKET, SO_SNDBUF);
      char some[1000] = {};
      int count = 0;
      while (write(s[0], some, sizeof(some)) > 0) {
        ++count;
      }
      printf("%d times, then %s\n", count, strerrorname_np(errno));
      char most[8000] = {};
      say("one that is large", write(s[1], most, sizeof(most)));
      set(s[0], SOL_SOCKET, SO_SNDBUF, 200'000);
      say("more room", write(s[0], most, sizeof(most)));
      close(s[0]);
      close(s[1]);
    }
  }
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  for (const int bytes : {-1, 0, 100'000, 2'000'000, 2'000'000'000}) {
    set(fd, SOL_SOCKET, SO_SNDBUF, bytes);
    ask(fd, SOL_SOCKET, SO_SNDBUF);
    set(fd, SOL_SOCKET, SO_RCVBUF, bytes);
    ask(fd, SOL_SOCKET, SO_RCVBUF);
    set(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes);
    ask(fd, SOL_SOCKET, SO_SNDBUF);
  }
  close(fd);
}

void common(int fd) {
  for (const int name :
       {SO_REUSEADDR,   SO_TYPE,        SO_ERROR,    SO_DONTROUTE, SO_BROADCAST,
        SO_KEEPALIVE,   SO_OOBINLINE,   SO_PRIORITY, SO_LINGER,    SO_PEERCRED,
        SO_RCVLOWAT,    SO_SNDLOWAT,    SO_RCVTIMEO, SO_SNDTIMEO,  SO_TIMESTAMP,
        SO_ACCEPTCONN,  SO_TIMESTAMPNS, SO_PROTOCOL, SO_DOMAIN,    kReceiveTimeoutNew,
        kSendTimeoutNew}) {
    if (name != SO_PEERCRED) {
      ask(fd, SOL_SOCKET, name);
    }
  }
  for (const int name : {SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE}) {
    set(fd, SOL_SOCKET, name, 7);
    ask(fd, SOL_SOCKET, name);
  }
  for (const int priority : {6, 7, -1}) {
    set(fd, SOL_SOCKET, SO_PRIORITY, priority);
    ask(fd, SOL_SOCKET, SO_PRIORITY);
  }
  for (const int name : {SO_TYPE, SO_ERROR, SO_SNDLOWAT, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN}) {
    set(fd, SOL_SOCKET, name, 1);
  }
  for (const linger value : {linger{1, 0}, {0, 5}, {9, 0}}) {
    say("linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, sizeof(value)));
    linger kept = {-1, -1};
    socklen_t length = sizeof(kept);
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &kept, &length);
    printf("%d %d\n", kept.l_onoff, kept.l_linger);
  }
  const int one = 1;
  say("too short", setsockopt(fd, SOL_SOCKET, SO_LINGER, &one, sizeof(one)));
  say("too short", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, 3));
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, 99, 1, 1);
  ask(fd, 99, 1);
}

void internet(int family) {
  const int fd = socket(family, SOCK_STREAM, 0);
  const struct {
    int level;
    int name;
  } options[] = {{IPPROTO_IP, IP_TTL},          {IPPROTO_IP, IP_TOS},
                 {IPPROTO_IP, IP_MTU_DISCOVER}, {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
                 {IPPROTO_IPV6, IPV6_TCLASS},   {IPPROTO_TCP, TCP_MAXSEG},
                 {IPPROTO_TCP, TCP_LINGER2},    {IPPROTO_TCP, TCP_USER_TIMEOUT}};
  for (const auto& [level, name] : options) {
    ask(fd, level, name);
    for (const int value : {-2, -1, 0, 1, 3, 87, 200, 255, 256, 40'000}) {
      set(fd, level, name, value);
      ask(fd, level, name);
    }
  }
  unsigned char byte = 33;
  say("one byte", setsockopt(fd, IPPROTO_IP, IP_TTL, &byte, 1));
  socklen_t length = 1;
  byte = 0;
  say("one byte", getsockopt(fd, IPPROTO_IP, IP_TTL, &byte, &length));
  printf("%d, %u bytes\n", byte, length);
  say("no byte", setsockopt(fd, IPPROTO_IP, IP_TOS, &byte, 0));
  say("one byte", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &byte, 1));
  close(fd);
}

void credentials() {
  for (const int kind : {SOCK_STREAM, SOCK_DGRAM}) {
    int s[2];
    (void)!socketpair(AF_UNIX, kind, 0, s);
    ucred peer = {};
    socklen_t length = sizeof(peer);
    say("SO_PEERCRED", getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &peer, &length));
    printf("own: %d %d %d, %u bytes\n", peer.pid == getpid(), peer.uid == geteuid(),
           peer.gid == getegid(), length);
    close(s[0]);
    length = 6;
    say("the other end closed", getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &peer, &length));
    printf("own: %d, %u bytes\n", peer.pid == getpid(), length);
    set(s[1], SOL_SOCKET, SO_PEERCRED, 1);
    close(s[1]);
  }
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  ucred peer = {};
  socklen_t length = sizeof(peer);
  say("of nobody", getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length));
  printf("%d %d %d\n", peer.pid, static_cast<int>(peer.uid), static_cast<int>(peer.gid));
  close(fd);
}

// Flags that a kind of socket does not know do nothing, and come back where they do so natively.
void flags_of_messages() {
  for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    int s[2];
    (void)!socketpair(AF_UNIX, kind, 0, s);
    (void)!write(s[0], "abcdef", 6);
    char in[4] = {};
    iovec iov = {in, 2};
    msghdr message = {};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    say("errors", recvmsg(s[1], &message, MSG_ERRQUEUE | MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    printf("flags %x, %.2s\n", static_cast<unsigned>(message.msg_flags), in);
    say("nothing there", recv(s[0], in, 1, MSG_ERRQUEUE | MSG_DONTWAIT));
    sockaddr_un name = {AF_UNIX, "/nowhere/at/all"};
    auto* address = reinterpret_cast<sockaddr*>(&name);
    say("to a name", sendto(s[0], "x", 1, MSG_DONTWAIT, address, sizeof(name)));
    say("to no name", sendto(s[0], "x", 1, MSG_DONTWAIT, address, 2));
    name.sun_family = AF_INET;
    say("to another family", sendto(s[0], "x", 1, MSG_DONTWAIT, address, sizeof(name)));
    set(s[1], SOL_SOCKET, SO_RCVLOWAT, 5);
    (void)!write(s[0], "12", 2);
    say("at least", recv(s[1], in, 4, MSG_DONTWAIT));
    close(s[0]);
    close(s[1]);
  }
  const int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  char byte;
  say("errors", recv(fd, &byte, 1, MSG_ERRQUEUE | MSG_DONTWAIT));
  say("urgent", recv(fd, &byte, 1, MSG_OOB | MSG_DONTWAIT));
  close(fd);
}

// Several messages in one call.
void many_messages() {
  for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    int s[2];
    (void)!socketpair(AF_UNIX, kind, 0, s);
    char text[] = "one two three";
    iovec out[3] = {{text, 3}, {text + 3, 4}, {text + 7, 6}};
    mmsghdr messages[3] = {};
    for (int i = 0; i < 3; ++i) {
      messages[i].msg_hdr.msg_iov = out + i;
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    say("sendmmsg", sendmmsg(s[0], messages, 3, 0));
    printf("%u %u %u\n", messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
    char in[5][4] = {};
    iovec room[5];
    mmsghdr got[5] = {};
    for (int i = 0; i < 5; ++i) {
      room[i] = {in[i], 4};
      got[i].msg_hdr.msg_iov = room + i;
      got[i].msg_hdr.msg_iovlen = 1;
    }
    say("recvmmsg", recvmmsg(s[1], got, 5, MSG_WAITFORONE, nullptr));
    for (int i = 0; i < 5; ++i) {
      printf("%u %x %.4s\n", got[i].msg_len, static_cast<unsigned>(got[i].msg_hdr.msg_flags),
             in[i]);
    }
    timespec time = {0, 0};
    (void)!write(s[0], "x", 1);
    say("until now", recvmmsg(s[1], got, 5, 0, &time));
    time = {100, 0};
    (void)!write(s[0], "x", 1);
    say("some", recvmmsg(s[1], got, 1, 0, &time));
    printf("left: %d\n", time.tv_sec >= 99);
    time = {-1, 0};
    say("wrong time", recvmmsg(s[1], got, 1, 0, &time));
    say("nothing there", recvmmsg(s[1], got, 1, MSG_DONTWAIT, nullptr));
    say("none wanted", recvmmsg(s[1], got, 0, 0, nullptr));
    say("none to send", sendmmsg(s[1], messages, 0, 0));
    say("nowhere", syscall(SYS_recvmmsg, s[1], 8, 1, MSG_DONTWAIT, nullptr));
    say("nowhere", syscall(SYS_sendmmsg, s[1], 8, 1, 0));
    messages[1].msg_hdr.msg_iov = reinterpret_cast<iovec*>(8);
    say("one, then a bad address", sendmmsg(s[1], messages, 3, 0));
    close(s[1]);
    say("nobody there", sendmmsg(s[0], messages, 3, MSG_NOSIGNAL));
    close(s[0]);
  }
  mmsghdr message = {};
  say("not a socket", sendmmsg(0, &message, 1, 0));
  say("not open", recvmmsg(700, &message, 1, 0, nullptr));
}

}  // namespace

int main() {
  signal(SIGPIPE, SIG_IGN);
  types();
  time_outs();
  buffers();
  int s[2];
  (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  common(s[0]);
  close(s[0]);
  close(s[1]);
  for (const int family : {AF_UNIX, AF_INET}) {
    const int datagrams = socket(family, SOCK_DGRAM, 0);
    common(datagrams);
    close(datagrams);
  }
  const int stream = socket(AF_INET, SOCK_STREAM, 0);
  common(stream);
  close(stream);
  internet(AF_INET);
  internet(AF_INET6);
  credentials();
  flags_of_messages();
  many_messages();
  return 0;
}
