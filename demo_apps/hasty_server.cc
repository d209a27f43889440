// SPDX-License-Identifier: Apache-2.0
// hasty_server PORT: answers a line "give N" with as many of N bytes as its socket takes without
// keeping it waiting, and closes the connection, whether its client has read anything or not. An
// ordinary server without any help from ftrun; one thread.
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

constexpr int kPatienceMs = 50;

int listen_on(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, 128) != 0) {
    std::perror("listen");
    std::exit(1);
  }
  return fd;
}

std::string read_line(int fd) {
  std::string line;
  for (char c = 0; c != '\n' && recv(fd, &c, 1, 0) == 1;) {
    line += c;
  }
  return line;
}

void serve(int fd) {
  const std::string line = read_line(fd);
  if (!line.starts_with("give ")) {
    return;
  }
  const std::string text(std::strtoul(line.c_str() + 5, nullptr, 10), 'x');
  for (size_t done = 0; done < text.size();) {
    pollfd writable{fd, POLLOUT, 0};
    const ssize_t sent = poll(&writable, 1, kPatienceMs) == 1
                             ? send(fd, text.data() + done, text.size() - done, MSG_DONTWAIT)
                             : 0;
    if (sent <= 0) {
      return;
    }
    done += static_cast<size_t>(sent);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  const int listener = listen_on(static_cast<uint16_t>(std::atoi(argv[1])));
  for (;;) {
    const int fd = accept(listener, nullptr, nullptr);
    if (fd >= 0) {
      serve(fd);
      close(fd);
    }
  }
}
