// SPDX-License-Identifier: Apache-2.0
// A server of the telnet kind: a client interrupts with a byte of TCP urgent data, and is answered
// with one. One thread, poll, and a handler for SIGURG. It knows nothing of ftrun.
//
//   urgent_server PORT
// A connection's first line is "apart" or "inline" (SO_OOBINLINE). Each further line is answered by
// what was read of it, "|", the urgent byte that came apart from it, "s" if there was a SIGURG
// meanwhile, an urgent "!" and an end of line. In line, an urgent byte stands in brackets.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace {

struct Client {
  bool greeted = false;
  bool in_line = false;
  std::string line;
  std::string urgent;
  int signals_seen = 0;
};

volatile sig_atomic_t g_signals = 0;

void count_signal(int) {
  g_signals = g_signals + 1;
}

void answer(int fd, Client* client) {
  // ORDER: before the answer is sent: the client's next urgent byte may be here as soon as that is.
  const int signals = g_signals;
  if (!client->greeted) {
    client->greeted = true;
    client->in_line = client->line == "inline";
    const int on = client->in_line ? 1 : 0;
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
    send(fd, "ready\n", 6, MSG_NOSIGNAL);
  } else {
    const bool signalled = client->signals_seen != signals;
    const std::string text = client->line + "|" + client->urgent + (signalled ? "s" : "") + "!";
    send(fd, text.data(), text.size(), MSG_OOB | MSG_NOSIGNAL);
    send(fd, "\n", 1, MSG_NOSIGNAL);
  }
  client->line.clear();
  client->urgent.clear();
  client->signals_seen = signals;
}

// False: the connection has ended.
bool take(int fd, Client* client) {
  char buffer[4096];
  int at_mark = 0;
  ioctl(fd, SIOCATMARK, &at_mark);
  const bool marked = at_mark != 0 && client->in_line;
  const ssize_t got = read(fd, buffer, marked ? 1 : sizeof(buffer));
  if (got <= 0) {
    return got < 0 && (errno == EINTR || errno == EAGAIN);
  }
  for (ssize_t i = 0; i < got; ++i) {
    if (buffer[i] == '\n') {
      answer(fd, client);
    } else {
      client->line += marked ? std::string("[") + buffer[i] + "]" : std::string(1, buffer[i]);
    }
  }
  return true;
}

void take_urgent(int fd, Client* client) {
  char byte = 0;
  if (!client->in_line && recv(fd, &byte, 1, MSG_OOB) == 1) {
    client->urgent += byte;
  }
}

int listen_on(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener, 100) != 0) {
    perror("urgent_server: bind");
    exit(1);
  }
  return listener;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: urgent_server PORT\n");
    return 2;
  }
  signal(SIGURG, count_signal);
  const int listener = listen_on(atoi(argv[1]));
  std::map<int, Client> clients;
  for (;;) {
    std::vector<pollfd> fds = {{listener, POLLIN, 0}};
    for (const auto& [fd, client] : clients) {
      fds.push_back({fd, POLLIN | POLLPRI, 0});
    }
    if (poll(fds.data(), fds.size(), -1) < 0) {
      continue;
    }
    for (const pollfd& ready : fds) {
      if (ready.fd == listener) {
        continue;
      }
      // The urgent byte first: what reads past it in the stream loses it.
      if ((ready.revents & POLLPRI) != 0) {
        take_urgent(ready.fd, &clients[ready.fd]);
      }
      if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
          !take(ready.fd, &clients[ready.fd])) {
        close(ready.fd);
        clients.erase(ready.fd);
      }
    }
    if ((fds[0].revents & POLLIN) != 0) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
      if (fd >= 0) {
        fcntl(fd, F_SETOWN, getpid());
        clients[fd] = Client{};
      }
    }
  }
}
