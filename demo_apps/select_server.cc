// SPDX-License-Identifier: Apache-2.0
// A single-threaded server in the old style: select(), non-blocking sockets, a time-out, a clock
// and a random number. An ordinary program that knows nothing of ftrun.
//
//   select_server PORT
//
// A chat: each line is sent to everybody as "NUMBER [TIME] LINE"; "/roll" answers with a random
// number,
// "/quit" ends the server. When nothing happens for a second everybody gets a "tick".
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <string>

namespace {

constexpr size_t queue_bytes_max = 1 << 20;
constexpr size_t line_bytes_max = 4096;

struct Peer {
  std::string input;
  std::string output;
};

std::map<int, Peer> peers;
unsigned long lines = 0;
bool running = true;

void say_to_all(const std::string& text) {
  for (auto& [fd, peer] : peers) {
    if (peer.output.size() < queue_bytes_max) {
      peer.output += text;
    }
  }
}

void take_line(Peer* from, const std::string& line) {
  ++lines;
  if (line == "/quit") {
    running = false;
  } else if (line == "/roll") {
    from->output += "rolled " + std::to_string(1 + random() % 6) + "\n";
  } else {
    timeval now{};
    gettimeofday(&now, nullptr);
    char stamp[64];
    snprintf(stamp, sizeof stamp, "%lu [%ld.%06ld] ", lines, static_cast<long>(now.tv_sec),
             static_cast<long>(now.tv_usec));
    say_to_all(stamp + line + "\n");
  }
}

// False when the peer has gone.
bool read_from(int fd, Peer* peer) {
  char buffer[2048];
  const ssize_t n = read(fd, buffer, sizeof buffer);
  if (n <= 0) {
    return n < 0 && errno == EAGAIN;
  }
  peer->input.append(buffer, static_cast<size_t>(n));
  for (size_t end; (end = peer->input.find('\n')) != std::string::npos;) {
    const std::string line = peer->input.substr(0, end);
    peer->input.erase(0, end + 1);
    take_line(peer, line);
  }
  return peer->input.size() <= line_bytes_max;
}

bool write_to(int fd, Peer* peer) {
  const ssize_t n = write(fd, peer->output.data(), peer->output.size());
  if (n < 0) {
    return errno == EAGAIN;
  }
  peer->output.erase(0, static_cast<size_t>(n));
  return true;
}

void accept_one(int listener) {
  const int fd = accept(listener, nullptr, nullptr);
  if (fd < 0 || fd >= FD_SETSIZE) {
    close(fd);
    return;
  }
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  peers[fd].output = "welcome, you are one of " + std::to_string(peers.size()) + "\n";
}

void one_round(int listener) {
  fd_set readable;
  fd_set writable;
  FD_ZERO(&readable);
  FD_ZERO(&writable);
  FD_SET(listener, &readable);
  int highest = listener;
  for (const auto& [fd, peer] : peers) {
    FD_SET(fd, &readable);
    if (!peer.output.empty()) {
      FD_SET(fd, &writable);
    }
    highest = fd > highest ? fd : highest;
  }
  timeval timeout{1, 0};
  const int ready = select(highest + 1, &readable, &writable, nullptr, &timeout);
  if (ready == 0) {
    say_to_all("tick\n");
  }
  if (ready <= 0) {
    return;
  }
  for (auto it = peers.begin(); it != peers.end();) {
    const int fd = it->first;
    const bool stays = (!FD_ISSET(fd, &readable) || read_from(fd, &it->second)) &&
                       (!FD_ISSET(fd, &writable) || write_to(fd, &it->second));
    if (!stays) {
      close(fd);
    }
    it = stays ? std::next(it) : peers.erase(it);
  }
  if (FD_ISSET(listener, &readable)) {
    accept_one(listener);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: select_server PORT\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(atoi(argv[1])));
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 16) != 0) {
    perror("select_server");
    return 1;
  }
  srandom(static_cast<unsigned>(time(nullptr)));
  printf("select_server: listening on port %s\n", argv[1]);
  fflush(stdout);
  while (running) {
    one_round(listener);
  }
  printf("select_server: %lu lines\n", lines);
  return 0;
}
