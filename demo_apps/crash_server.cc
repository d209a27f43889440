// SPDX-License-Identifier: Apache-2.0
// A single-threaded server with bugs: certain requests crash it. An ordinary program that knows
// nothing of ftrun.
//
//   crash_server PORT [handler]
//
// A line "add" is answered by "CONNECTION'S COUNT, TOTAL"; "crash KIND" crashes (segv, abort,
// stack, fpe, ill, bus); "guarded" survives a fault of its own; "arm" makes the next tick of a
// timer crash with a probability of 1/256. With `handler`, crashes are handled as many servers do
// it: by a report that takes a while and an exit in the signal handler.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr int tick_ms = 1;
constexpr unsigned tick_crashes_one_in = 256;

struct Peer {
  std::string input;
  unsigned long count = 0;
};

std::map<int, Peer> peers;
unsigned long total = 0;
bool armed = false;
sigjmp_buf guard;
volatile sig_atomic_t guarded = 0;

void on_crash(int number) {
  if (guarded != 0) {
    guarded = 0;
    siglongjmp(guard, 1);
  }
  char text[64];
  const int length = snprintf(text, sizeof text, "crashed by signal %d\n", number);
  const bool written = write(2, text, static_cast<size_t>(length)) == length;
  const timespec while_it_looks_around{0, 20'000'000};
  nanosleep(&while_it_looks_around, nullptr);
  _exit(written ? 1 : 2);
}

volatile int zero = 0;
int* volatile nowhere = nullptr;
volatile int deep_enough = 1 << 30;

int fill_stack(int depth) {
  volatile char frame[4096];
  memset(const_cast<char*>(frame), depth, sizeof frame);
  return depth < deep_enough ? fill_stack(depth + 1) + frame[depth % 4096] : 0;
}

void crash(const std::string& kind) {
  if (kind == "segv") {
    *nowhere = 1;
  } else if (kind == "abort") {
    abort();
  } else if (kind == "stack") {
    zero = fill_stack(0);
  } else if (kind == "fpe") {
    zero = 100 / zero;
  } else if (kind == "ill") {
    __builtin_trap();
  } else if (kind == "bus") {
    FILE* empty = tmpfile();
    void* page = empty == nullptr ? MAP_FAILED
                                  : mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fileno(empty), 0);
    zero = page == MAP_FAILED ? 0 : *static_cast<volatile char*>(page);
    raise(SIGBUS);
  }
}

void catch_crashes() {
  struct sigaction action {};
  action.sa_handler = &on_crash;
  action.sa_flags = SA_ONSTACK;
  for (const int number : {SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGBUS}) {
    sigaction(number, &action, nullptr);
  }
}

std::string survive_a_fault() {
  struct sigaction mine {
  }, before{};
  mine.sa_handler = &on_crash;
  sigaction(SIGSEGV, &mine, &before);
  if (sigsetjmp(guard, 1) == 0) {
    guarded = 1;
    *nowhere = 1;
  }
  sigaction(SIGSEGV, &before, nullptr);
  return "survived\n";
}

std::string answer(Peer* peer, const std::string& line) {
  if (line == "add") {
    return std::to_string(++peer->count) + " " + std::to_string(++total) + "\n";
  }
  if (line == "arm") {
    armed = true;
    return "armed\n";
  }
  if (line == "guarded") {
    return survive_a_fault();
  }
  if (line.rfind("crash ", 0) == 0) {
    crash(line.substr(6));
  }
  return "what?\n";
}

void tick() {
  unsigned number = 0;
  armed = false;
  if (getrandom(&number, sizeof number, 0) == sizeof number && number % tick_crashes_one_in == 0) {
    crash("segv");
  }
}

// False: the peer has left.
bool serve(int fd, Peer* peer) {
  char bytes[4096];
  const ssize_t got = recv(fd, bytes, sizeof bytes, 0);
  if (got <= 0) {
    return false;
  }
  peer->input.append(bytes, static_cast<size_t>(got));
  std::string output;
  for (size_t end = peer->input.find('\n'); end != std::string::npos;
       end = peer->input.find('\n')) {
    output += answer(peer, peer->input.substr(0, end));
    peer->input.erase(0, end + 1);
  }
  return output.empty() || send(fd, output.data(), output.size(), MSG_NOSIGNAL) >= 0;
}

int listen_on(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 128) != 0) {
    perror("crash_server");
    exit(1);
  }
  return listener;
}

void run(int listener) {
  for (;;) {
    std::vector<pollfd> fds = {{listener, POLLIN, 0}};
    for (const auto& [fd, peer] : peers) {
      fds.push_back({fd, POLLIN, 0});
    }
    if (poll(fds.data(), fds.size(), armed ? tick_ms : -1) == 0) {
      tick();
    }
    for (size_t i = 1; i < fds.size(); ++i) {
      if (fds[i].revents != 0 && !serve(fds[i].fd, &peers[fds[i].fd])) {
        close(fds[i].fd);
        peers.erase(fds[i].fd);
      }
    }
    if ((fds[0].revents & POLLIN) != 0) {
      peers[accept(listener, nullptr, nullptr)] = Peer{};
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: crash_server PORT [handler]\n");
    return 2;
  }
  if (argc > 2 && strcmp(argv[2], "handler") == 0) {
    catch_crashes();
  }
  run(listen_on(atoi(argv[1])));
}
