// SPDX-License-Identifier: Apache-2.0
// What a program asks about the host's network without sending anything: interfaces, by ioctl and
// by netlink; the order of addresses; source addresses. Prints names and addresses of this host,
// which are the same in every run on it.
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

const char* said(long result) {
  return result >= 0 ? "ok" : strerrorname_np(errno);
}

void print_address(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "-";
  if (address != nullptr && address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text,
              sizeof(text));
  } else if (address != nullptr && address->sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text,
              sizeof(text));
  }
  printf(" %s", text);
}

void list_interfaces() {
  ifaddrs* first = nullptr;
  printf("getifaddrs: %s\n", said(getifaddrs(&first)));
  for (ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    printf("  %s flags %x family %d", one->ifa_name, one->ifa_flags,
           one->ifa_addr != nullptr ? one->ifa_addr->sa_family : -1);
    print_address(one->ifa_addr);
    print_address(one->ifa_netmask);
    printf("\n");
  }
  freeifaddrs(first);
  struct if_nameindex* names = if_nameindex();
  for (struct if_nameindex* one = names; one != nullptr && one->if_index != 0; ++one) {
    char name[IF_NAMESIZE] = "";
    printf("%u is %s, %s has %u\n", one->if_index, if_indextoname(one->if_index, name),
           one->if_name, if_nametoindex(one->if_name));
  }
  if_freenameindex(names);
  printf("no such interface: %u %s\n", if_nametoindex("nowhere"), strerrorname_np(errno));
}

void ask_by_ioctl(int socket) {
  ifreq request = {};
  strcpy(request.ifr_name, "lo");
  printf("SIOCGIFADDR: %s", said(ioctl(socket, SIOCGIFADDR, &request)));
  print_address(&request.ifr_addr);
  printf("\nSIOCGIFFLAGS: %s", said(ioctl(socket, SIOCGIFFLAGS, &request)));
  printf(" %x\n", request.ifr_flags);
  printf("SIOCGIFMTU: %s", said(ioctl(socket, SIOCGIFMTU, &request)));
  printf(" %d\n", request.ifr_mtu);
  strcpy(request.ifr_name, "nowhere");
  printf("SIOCGIFINDEX of none: %s\n", said(ioctl(socket, SIOCGIFINDEX, &request)));
  printf("a bad pointer: %s\n", said(ioctl(socket, SIOCGIFADDR, 8)));
  ifreq list[8] = {};
  ifconf all = {};
  all.ifc_len = sizeof(list[0]) + 3;
  all.ifc_req = list;
  printf("SIOCGIFCONF: %s", said(ioctl(socket, SIOCGIFCONF, &all)));
  printf(" %d bytes, %s\n", all.ifc_len, list[0].ifr_name);
  all.ifc_req = nullptr;
  printf("its length: %s", said(ioctl(socket, SIOCGIFCONF, &all)));
  printf(" %d\n", all.ifc_len);
}

void order_addresses(const char* name, int flags) {
  addrinfo wanted = {};
  wanted.ai_flags = flags;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  printf("%s: %d", name != nullptr ? name : "passive", getaddrinfo(name, "80", &wanted, &found));
  for (addrinfo* one = found; one != nullptr; one = one->ai_next) {
    print_address(one->ai_addr);
  }
  printf("\n");
  if (found != nullptr) {
    freeaddrinfo(found);
  }
}

void learn_source_address() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  sockaddr_in peer = {};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(9);
  peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in name = {};
  socklen_t length = sizeof(name);
  printf("peer before: %s\n", said(getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length)));
  printf("connect: %s", said(connect(fd, reinterpret_cast<sockaddr*>(&peer), sizeof(peer))));
  length = sizeof(name);
  printf(" name: %s", said(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length)));
  print_address(reinterpret_cast<sockaddr*>(&name));
  printf(" has a port: %d peer: %s", name.sin_port != 0,
         said(getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length)));
  printf(" port %d\n", ntohs(name.sin_port));
  char byte = 0;
  printf("nothing came: %s\n", said(recv(fd, &byte, 1, 0)));
  pollfd look = {fd, POLLIN | POLLOUT, 0};
  printf("poll: %d %x\n", poll(&look, 1, 0), look.revents);
  sockaddr_in none = {};
  none.sin_family = AF_UNSPEC;
  printf("disconnect: %s", said(connect(fd, reinterpret_cast<sockaddr*>(&none), sizeof(none))));
  printf(" peer: %s\n", said(getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length)));
  int type = 0;
  length = sizeof(type);
  printf("type: %s", said(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length)));
  printf(" %d, listen: %s\n", type, said(listen(fd, 1)));
  close(fd);
}

struct Question {
  nlmsghdr header;
  ifinfomsg body;
};

void ask_by_netlink() {
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  sockaddr_nl name = {};
  name.nl_family = AF_NETLINK;
  printf("bind: %s", said(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name))));
  socklen_t length = sizeof(name);
  printf(" name: %s", said(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length)));
  printf(" %u bytes, own process: %d\n", length, name.nl_pid == static_cast<uint32_t>(getpid()));
  Question question = {};
  question.header.nlmsg_len = sizeof(question);
  question.header.nlmsg_type = RTM_GETLINK;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.header.nlmsg_seq = 77;
  question.body.ifi_index = static_cast<int>(if_nametoindex("lo"));
  printf("ask: %ld\n", send(fd, &question, sizeof(question), 0));
  alignas(nlmsghdr) char buffer[32768];
  printf("looked at, cut off: %d\n", recv(fd, buffer, 16, MSG_PEEK | MSG_TRUNC) > 16);
  sockaddr_nl from = {};
  length = sizeof(from);
  const ssize_t got =
      recvfrom(fd, buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&from), &length);
  const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer);
  printf("answer: %d type %d sequence %u mine %d from %u, index %d\n", got > 16, answer->nlmsg_type,
         answer->nlmsg_seq, answer->nlmsg_pid == name.nl_pid, from.nl_pid,
         static_cast<const ifinfomsg*>(NLMSG_DATA(answer))->ifi_index);
  question.body.ifi_index = 999999;
  printf("ask for none: %ld\n", send(fd, &question, sizeof(question), 0));
  printf("answer: %ld bytes", recv(fd, buffer, sizeof(buffer), 0));
  printf(" type %d error %d\n", answer->nlmsg_type,
         static_cast<const nlmsgerr*>(NLMSG_DATA(answer))->error);
  printf("nothing more: %s\n", said(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)));
  const int other = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
  sockaddr_nl second = {};
  second.nl_family = AF_NETLINK;
  length = sizeof(second);
  printf("a second: %s", said(bind(other, reinterpret_cast<sockaddr*>(&second), sizeof(second))));
  getsockname(other, reinterpret_cast<sockaddr*>(&second), &length);
  printf(" another name: %d\n", second.nl_pid != name.nl_pid && second.nl_pid != 0);
  close(other);
  close(fd);
}

}  // namespace

int main() {
  list_interfaces();
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ask_by_ioctl(fd);
  close(fd);
  order_addresses(nullptr, AI_PASSIVE);
  order_addresses(nullptr, 0);
  order_addresses("localhost", 0);
  order_addresses("127.0.0.1", AI_NUMERICHOST);
  learn_source_address();
  ask_by_netlink();
  return 0;
}
