// SPDX-License-Identifier: Apache-2.0
// See constant_names.h.
#include "preload/net/constant_names.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace ftrun::shim {
namespace {

// Only for people: nothing depends on a name that is missing here, and the number is told instead.
struct Named {
  unsigned long number;
  const char* name;
};

template <unsigned long kCount>
const char* find(const Named (&table)[kCount], unsigned long number) {
  for (const Named& entry : table) {
    if (entry.number == number) {
      return entry.name;
    }
  }
  return nullptr;
}

unsigned long number_of(int value) {
  return static_cast<unsigned>(value);
}

constexpr Named kFamilies[] = {
    {AF_UNIX, "AF_UNIX"},     {AF_INET, "AF_INET"},
    {AF_INET6, "AF_INET6"},   {AF_NETLINK, "AF_NETLINK"},
    {AF_PACKET, "AF_PACKET"}, {AF_ALG, "AF_ALG"},
    {AF_VSOCK, "AF_VSOCK"},   {AF_BLUETOOTH, "AF_BLUETOOTH"},
    {AF_CAN, "AF_CAN"},       {AF_TIPC, "AF_TIPC"},
    {AF_XDP, "AF_XDP"},
};
constexpr Named kTypes[] = {
    {SOCK_STREAM, "SOCK_STREAM"}, {SOCK_DGRAM, "SOCK_DGRAM"},         {SOCK_RAW, "SOCK_RAW"},
    {SOCK_RDM, "SOCK_RDM"},       {SOCK_SEQPACKET, "SOCK_SEQPACKET"}, {SOCK_PACKET, "SOCK_PACKET"},
};
constexpr Named kLevels[] = {
    {SOL_SOCKET, "SOL_SOCKET"},     {IPPROTO_IP, "IPPROTO_IP"},   {IPPROTO_TCP, "IPPROTO_TCP"},
    {IPPROTO_IPV6, "IPPROTO_IPV6"}, {IPPROTO_UDP, "IPPROTO_UDP"}, {IPPROTO_RAW, "IPPROTO_RAW"},
};
constexpr Named kSocketOptions[] = {
    {SO_DEBUG, "SO_DEBUG"},
    {SO_BROADCAST, "SO_BROADCAST"},
    {SO_OOBINLINE, "SO_OOBINLINE"},
    {SO_NO_CHECK, "SO_NO_CHECK"},
    {SO_PRIORITY, "SO_PRIORITY"},
    {SO_BSDCOMPAT, "SO_BSDCOMPAT"},
    {SO_PASSCRED, "SO_PASSCRED"},
    {SO_PEERCRED, "SO_PEERCRED"},
    {SO_ATTACH_FILTER, "SO_ATTACH_FILTER"},
    {SO_DETACH_FILTER, "SO_DETACH_FILTER"},
    {SO_TIMESTAMP, "SO_TIMESTAMP"},
    {SO_PEERSEC, "SO_PEERSEC"},
    {SO_PASSSEC, "SO_PASSSEC"},
    {SO_MARK, "SO_MARK"},
    {SO_RXQ_OVFL, "SO_RXQ_OVFL"},
    {SO_PEEK_OFF, "SO_PEEK_OFF"},
    {SO_NOFCS, "SO_NOFCS"},
    {SO_LOCK_FILTER, "SO_LOCK_FILTER"},
    {SO_BUSY_POLL, "SO_BUSY_POLL"},
    {SO_ATTACH_BPF, "SO_ATTACH_BPF"},
    {SO_INCOMING_CPU, "SO_INCOMING_CPU"},
    {SO_INCOMING_NAPI_ID, "SO_INCOMING_NAPI_ID"},
    {SO_COOKIE, "SO_COOKIE"},
    {SO_ZEROCOPY, "SO_ZEROCOPY"},
    {SO_TXTIME, "SO_TXTIME"},
    {SO_BINDTODEVICE, "SO_BINDTODEVICE"},
    {SO_TIMESTAMPNS, "SO_TIMESTAMPNS"},
    {SO_TIMESTAMPING, "SO_TIMESTAMPING"},
    {SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE"},
    {SO_ATTACH_REUSEPORT_CBPF, "SO_ATTACH_REUSEPORT_CBPF"},
    {SO_ATTACH_REUSEPORT_EBPF, "SO_ATTACH_REUSEPORT_EBPF"},
    {SO_CNX_ADVICE, "SO_CNX_ADVICE"},
    {SO_MEMINFO, "SO_MEMINFO"},
    {SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL"},
};
constexpr Named kTcpOptions[] = {
    {TCP_MD5SIG, "TCP_MD5SIG"},
    {TCP_REPAIR, "TCP_REPAIR"},
    {TCP_FASTOPEN, "TCP_FASTOPEN"},
    {TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT"},
    {TCP_ULP, "TCP_ULP"},
    {TCP_INFO, "TCP_INFO"},
    {TCP_CONGESTION, "TCP_CONGESTION"},
    {TCP_SAVE_SYN, "TCP_SAVE_SYN"},
    {TCP_SAVED_SYN, "TCP_SAVED_SYN"},
    {TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT"},
    {TCP_TIMESTAMP, "TCP_TIMESTAMP"},
    {TCP_ZEROCOPY_RECEIVE, "TCP_ZEROCOPY_RECEIVE"},
    {TCP_INQ, "TCP_INQ"},
    {TCP_CC_INFO, "TCP_CC_INFO"},
    {TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS"},
    {TCP_THIN_DUPACK, "TCP_THIN_DUPACK"},
    {TCP_QUEUE_SEQ, "TCP_QUEUE_SEQ"},
    {TCP_REPAIR_OPTIONS, "TCP_REPAIR_OPTIONS"},
    {TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW"},
    {TCP_COOKIE_TRANSACTIONS, "TCP_COOKIE_TRANSACTIONS"},
};
constexpr Named kIpOptions[] = {
    {IP_TOS, "IP_TOS"},
    {IP_TTL, "IP_TTL"},
    {IP_HDRINCL, "IP_HDRINCL"},
    {IP_OPTIONS, "IP_OPTIONS"},
    {IP_RECVOPTS, "IP_RECVOPTS"},
    {IP_RETOPTS, "IP_RETOPTS"},
    {IP_PKTINFO, "IP_PKTINFO"},
    {IP_MTU_DISCOVER, "IP_MTU_DISCOVER"},
    {IP_RECVERR, "IP_RECVERR"},
    {IP_RECVTTL, "IP_RECVTTL"},
    {IP_RECVTOS, "IP_RECVTOS"},
    {IP_MTU, "IP_MTU"},
    {IP_FREEBIND, "IP_FREEBIND"},
    {IP_TRANSPARENT, "IP_TRANSPARENT"},
    {IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"},
    {IP_MULTICAST_IF, "IP_MULTICAST_IF"},
    {IP_MULTICAST_TTL, "IP_MULTICAST_TTL"},
    {IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP"},
    {IP_ADD_MEMBERSHIP, "IP_ADD_MEMBERSHIP"},
};
constexpr Named kIpv6Options[] = {
    {IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"},
    {IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF"},
    {IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS"},
    {IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP"},
    {IPV6_JOIN_GROUP, "IPV6_JOIN_GROUP"},
    {IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER"},
    {IPV6_MTU, "IPV6_MTU"},
    {IPV6_RECVERR, "IPV6_RECVERR"},
    {IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"},
    {IPV6_PKTINFO, "IPV6_PKTINFO"},
    {IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT"},
    {IPV6_TCLASS, "IPV6_TCLASS"},
    {IPV6_RECVTCLASS, "IPV6_RECVTCLASS"},
    {IPV6_FREEBIND, "IPV6_FREEBIND"},
    {IPV6_TRANSPARENT, "IPV6_TRANSPARENT"},
};
constexpr Named kFcntls[] = {
    {F_GETLK, "F_GETLK"},
    {F_SETLK, "F_SETLK"},
    {F_SETLKW, "F_SETLKW"},
    {F_OFD_GETLK, "F_OFD_GETLK"},
    {F_OFD_SETLK, "F_OFD_SETLK"},
    {F_OFD_SETLKW, "F_OFD_SETLKW"},
    {F_SETOWN, "F_SETOWN"},
    {F_GETOWN, "F_GETOWN"},
    {F_SETSIG, "F_SETSIG"},
    {F_GETSIG, "F_GETSIG"},
    {F_SETOWN_EX, "F_SETOWN_EX"},
    {F_GETOWN_EX, "F_GETOWN_EX"},
    {F_SETLEASE, "F_SETLEASE"},
    {F_GETLEASE, "F_GETLEASE"},
    {F_NOTIFY, "F_NOTIFY"},
    {F_SETPIPE_SZ, "F_SETPIPE_SZ"},
    {F_GETPIPE_SZ, "F_GETPIPE_SZ"},
    {F_ADD_SEALS, "F_ADD_SEALS"},
    {F_GET_SEALS, "F_GET_SEALS"},
    {F_GET_RW_HINT, "F_GET_RW_HINT"},
    {F_SET_RW_HINT, "F_SET_RW_HINT"},
};
constexpr Named kIoctls[] = {
    {FIOASYNC, "FIOASYNC"},
    {FIOCLEX, "FIOCLEX"},
    {FIONCLEX, "FIONCLEX"},
    {FIONREAD, "FIONREAD"},
    {FIONBIO, "FIONBIO"},
    {SIOCGIFCONF, "SIOCGIFCONF"},
    {SIOCGIFFLAGS, "SIOCGIFFLAGS"},
    {SIOCGIFADDR, "SIOCGIFADDR"},
    {SIOCGIFBRDADDR, "SIOCGIFBRDADDR"},
    {SIOCGIFNETMASK, "SIOCGIFNETMASK"},
    {SIOCGIFMTU, "SIOCGIFMTU"},
    {SIOCGIFHWADDR, "SIOCGIFHWADDR"},
    {SIOCGIFINDEX, "SIOCGIFINDEX"},
    {SIOCGIFNAME, "SIOCGIFNAME"},
    {SIOCETHTOOL, "SIOCETHTOOL"},
    {SIOCATMARK, "SIOCATMARK"},
    {SIOCSPGRP, "SIOCSPGRP"},
    {SIOCGPGRP, "SIOCGPGRP"},
    {SIOCOUTQ, "SIOCOUTQ"},
    {SIOCGSTAMP, "SIOCGSTAMP"},
    {TCGETS, "TCGETS"},
    {TCSETS, "TCSETS"},
    {TCSETSW, "TCSETSW"},
    {TIOCGWINSZ, "TIOCGWINSZ"},
    {TIOCGPGRP, "TIOCGPGRP"},
    {TIOCSPGRP, "TIOCSPGRP"},
    {TIOCSCTTY, "TIOCSCTTY"},
    {TIOCNOTTY, "TIOCNOTTY"},
    {TIOCGSID, "TIOCGSID"},
};

}  // namespace

const char* name_of_family(int domain) {
  return find(kFamilies, number_of(domain));
}
const char* name_of_socket_type(int type) {
  return find(kTypes, number_of(type));
}
const char* name_of_level(int level) {
  return find(kLevels, number_of(level));
}
const char* name_of_option(int level, int option) {
  switch (level) {
    case SOL_SOCKET:
      return find(kSocketOptions, number_of(option));
    case IPPROTO_TCP:
      return find(kTcpOptions, number_of(option));
    case IPPROTO_IP:
      return find(kIpOptions, number_of(option));
    case IPPROTO_IPV6:
      return find(kIpv6Options, number_of(option));
    default:
      return nullptr;
  }
}
const char* name_of_fcntl(int command) {
  return find(kFcntls, number_of(command));
}
const char* name_of_ioctl(unsigned long request) {
  return find(kIoctls, request);
}

}  // namespace ftrun::shim
