// SPDX-License-Identifier: Apache-2.0
// endings_server PORT: ends connections in every way that a server can, as a client on PORT says,
// line by line. Connections under test come in on listeners of their own, and are named by numbers.
// An ordinary server without any help from ftrun; blocking, one thread.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

std::vector<int> g_listeners;
std::vector<int> g_connections;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int listen_on(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, 16) != 0) {
    fail("listen");
  }
  return fd;
}

int port_of(int fd) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

void take(int fd, size_t bytes, int flags) {
  std::string buffer(bytes, '\0');
  if (recv(fd, buffer.data(), bytes, flags | MSG_WAITALL) != static_cast<ssize_t>(bytes)) {
    fail("recv");
  }
}

void give(int fd, size_t bytes) {
  const std::string text(bytes, 'x');
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = send(fd, text.data() + done, bytes - done, MSG_NOSIGNAL);
    if (n < 0) {
      fail("send");
    }
    done += static_cast<size_t>(n);
  }
}

// Carries out one order about number `i`; the answer is a number, or 0.
int obey(const std::string& verb, size_t i, int n) {
  if (verb == "listen") {
    g_listeners.push_back(listen_on(0));
    return port_of(g_listeners.back());
  }
  if (verb == "accept") {
    g_connections.push_back(accept(g_listeners.at(i), nullptr, nullptr));
    return static_cast<int>(g_connections.size()) - 1;
  }
  if (verb == "unlisten") {
    return close(g_listeners.at(i));
  }
  if (verb == "stop_listening") {
    return shutdown(g_listeners.at(i), SHUT_RDWR);
  }
  const int fd = g_connections.at(i);
  if (verb == "read" || verb == "peek") {
    take(fd, static_cast<size_t>(n), verb == "peek" ? MSG_PEEK : 0);
  } else if (verb == "write") {
    give(fd, static_cast<size_t>(n));
  } else if (verb == "linger") {
    const linger setting{1, n};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &setting, sizeof setting);
  } else if (verb == "shutdown") {
    return shutdown(fd, n);
  } else if (verb == "close") {
    return close(fd);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: endings_server PORT\n");
    return 2;
  }
  const int control = listen_on(static_cast<uint16_t>(std::atoi(argv[1])));
  for (;;) {
    const int client = accept(control, nullptr, nullptr);
    FILE* const orders = fdopen(client, "r");
    if (orders == nullptr) {
      fail("accept");
    }
    char verb[32];
    size_t i = 0;
    int n = 0;
    while (std::fscanf(orders, "%31s %zu %d", verb, &i, &n) == 3) {
      if (std::strcmp(verb, "exit") == 0) {
        std::exit(n);
      }
      dprintf(client, "%d\n", obey(verb, i, n));
    }
    std::fclose(orders);
  }
}
