// SPDX-License-Identifier: Apache-2.0
// The edge and a connection whose input has crashed the application (DESIGN section 9): what it
// sent last, for the operator, and its end: its peer gets the answers that it had earned, then a
// reset. Supervisor only.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

#include "supervisor/edge/connection.h"

namespace ftrun::edge {

namespace {

constexpr int64_t kPartingNsMax = 1'000'000'000;  // for the peer to take its last answers

// Printable bytes as they are, others as \xNN.
std::string printable(Bytes bytes) {
  std::string text;
  for (const uint8_t byte : bytes) {
    if (byte >= ' ' && byte < 0x7f && byte != '\\') {
      text += static_cast<char>(byte);
    } else {
      text += fmt::format("\\x{:02x}", byte);
    }
  }
  return text;
}

std::string peer_name(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  char host[INET6_ADDRSTRLEN] = "?";
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    return "a peer that has left";
  }
  if (storage.ss_family == AF_INET6) {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(storage);
    inet_ntop(AF_INET6, &address.sin6_addr, host, sizeof(host));
    return fmt::format("[{}]:{}", host, ntohs(address.sin6_port));
  }
  const auto& address = reinterpret_cast<const sockaddr_in&>(storage);
  inet_ntop(AF_INET, &address.sin_addr, host, sizeof(host));
  return fmt::format("{}:{}", host, ntohs(address.sin_port));
}

}  // namespace

void Edge::Connection::keep_tail(Bytes bytes) {
  const size_t kept =
      std::min(tail_bytes, kSuspectBytesMax - std::min(bytes.size(), kSuspectBytesMax));
  std::memmove(tail, tail + tail_bytes - kept, kept);
  const Bytes last = bytes.last(std::min(bytes.size(), kSuspectBytesMax));
  std::memcpy(tail + kept, last.data(), last.size());
  tail_bytes = kept + last.size();
}

Edge::Suspect Edge::quarantine(ConnectionId id, uint64_t position) {
  Suspect suspect;
  Connection* connection = find(id);
  if (connection == nullptr) {
    return suspect;
  }
  connection->input_done = true;  // nobody will read from it again
  connection->quarantined = true;
  suspect.peer = peer_name(connection->fd);
  drop_input(connection, position);
  suspect.last_bytes = printable({connection->tail, connection->tail_bytes});
  return suspect;
}

void Edge::part(int64_t now_ns) {
  std::erase_if(parting_, [this, now_ns](Connection* connection) {
    int unacknowledged = 0;
    if (connection->parting_until_ns == 0) {
      connection->parting_until_ns = now_ns + kPartingNsMax;
    }
    if (ioctl(connection->fd, SIOCOUTQ, &unacknowledged) == 0 && unacknowledged > 0 &&
        now_ns < connection->parting_until_ns) {
      return false;
    }
    reset_at_close(connection->fd);
    destroy(connection);
    return true;
  });
}

}  // namespace ftrun::edge
