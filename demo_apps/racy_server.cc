// SPDX-License-Identifier: Apache-2.0
// A multi-threaded TCP server with deliberate data races, for record and replay: its answers depend
// on which thread ran when. An ordinary program that knows nothing of ftrun.
//
//   racy_server PORT [WORKERS]
//
// A line "work N" is put into a queue (mutex and condition variable); a worker thread adds N to
// plain, unsynchronised counters in a racy way and answers "worker W did JOB: racy R, exact E".
// "spawn N" creates and joins N short threads that race on a counter. "stop" ends the server, which
// prints its counters.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace {

constexpr int workers_max = 64;
constexpr int spawn_max = 1000;
constexpr size_t line_bytes_max = 256;

struct Job {
  int connection;
  long number;
  long amount;
};

pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t queue_filled = PTHREAD_COND_INITIALIZER;
std::deque<Job> queue;
bool stopping = false;

// The races. volatile keeps the compiler from merging the steps, not the threads from interleaving.
volatile long racy_sum = 0;
volatile long racy_slots[8];
volatile unsigned racy_hash = 1;
pthread_mutex_t exact_lock = PTHREAD_MUTEX_INITIALIZER;
long exact_sum = 0;

void race(long steps, long self) {
  for (long i = 0; i < steps; ++i) {
    const long seen = racy_sum;
    racy_slots[(seen + self) & 7] = racy_slots[(seen + i) & 7] + 1;
    racy_hash = racy_hash * 31 + static_cast<unsigned>(seen ^ self);
    racy_sum = seen + 1;  // loses what others added in between
    if (i % 64 == 0) {
      sched_yield();
    }
  }
}

void answer(int connection, const std::string& text) {
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t n = send(connection, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) {
      return;
    }
    sent += static_cast<size_t>(n);
  }
}

void* work(void* argument) {
  const long self = reinterpret_cast<long>(argument);
  for (;;) {
    pthread_mutex_lock(&queue_lock);
    while (queue.empty() && !stopping) {
      pthread_cond_wait(&queue_filled, &queue_lock);
    }
    if (queue.empty()) {
      pthread_mutex_unlock(&queue_lock);
      return nullptr;
    }
    const Job job = queue.front();
    queue.pop_front();
    pthread_mutex_unlock(&queue_lock);

    race(job.amount, self);
    pthread_mutex_lock(&exact_lock);
    exact_sum += job.amount;
    const long exact = exact_sum;
    pthread_mutex_unlock(&exact_lock);
    char text[160];
    snprintf(text, sizeof text, "worker %ld did %ld: racy %ld, exact %ld, hash %08x\n", self,
             job.number, static_cast<long>(racy_sum), exact, static_cast<unsigned>(racy_hash));
    answer(job.connection, text);
  }
}

void* short_life(void* argument) {
  race(10, reinterpret_cast<long>(argument));
  return nullptr;
}

void spawn(int connection, long count) {
  std::vector<pthread_t> threads;
  for (long i = 0; i < count && i < spawn_max; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, short_life, reinterpret_cast<void*>(i)) != 0) {
      break;
    }
    threads.push_back(thread);
  }
  for (const pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  char text[100];
  snprintf(text, sizeof text, "spawned %zu: racy %ld\n", threads.size(),
           static_cast<long>(racy_sum));
  answer(connection, text);
}

// Carries out one line; false when the server shall stop.
bool command(int connection, const char* line) {
  static long jobs = 0;
  long number = 0;
  if (sscanf(line, "work %ld", &number) == 1) {
    pthread_mutex_lock(&queue_lock);
    queue.push_back({connection, ++jobs, number});
    pthread_cond_signal(&queue_filled);
    pthread_mutex_unlock(&queue_lock);
  } else if (sscanf(line, "spawn %ld", &number) == 1) {
    spawn(connection, number);
  } else if (strcmp(line, "stop") == 0) {
    answer(connection, "stopping\n");
    return false;
  } else {
    answer(connection, "commands: work N, spawn N, stop\n");
  }
  return true;
}

struct Peer {
  int fd;
  std::string input;
};

// Reads what is there; false when the peer has gone. `running` becomes false after "stop".
bool serve(Peer* peer, bool* running) {
  char buffer[1024];
  const ssize_t n = recv(peer->fd, buffer, sizeof buffer, 0);
  if (n <= 0) {
    return false;
  }
  peer->input.append(buffer, static_cast<size_t>(n));
  for (size_t end; (end = peer->input.find('\n')) != std::string::npos;) {
    std::string line = peer->input.substr(0, end);
    peer->input.erase(0, end + 1);
    *running = command(peer->fd, line.c_str()) && *running;
  }
  return peer->input.size() <= line_bytes_max;
}

int listen_on(const char* port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(atoi(port)));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, 128) != 0) {
    perror("racy_server");
    exit(1);
  }
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  const int workers = argc > 2 ? atoi(argv[2]) : 4;
  if (argc < 2 || workers < 1 || workers > workers_max) {
    fprintf(stderr, "usage: racy_server PORT [WORKERS, 1 to %d]\n", workers_max);
    return 2;
  }
  const int listener = listen_on(argv[1]);
  std::vector<pthread_t> threads(static_cast<size_t>(workers));
  for (long i = 0; i < workers; ++i) {
    pthread_create(&threads[static_cast<size_t>(i)], nullptr, work, reinterpret_cast<void*>(i));
  }
  printf("racy_server: %d workers on port %s\n", workers, argv[1]);
  fflush(stdout);
  // Workers answer on a connection while it is polled here, so it is closed only at the end.
  std::vector<Peer> peers;
  for (bool running = true; running;) {
    std::vector<pollfd> polled = {{listener, POLLIN, 0}};
    for (const Peer& peer : peers) {
      polled.push_back({peer.fd, static_cast<short>(peer.fd >= 0 ? POLLIN : 0), 0});
    }
    if (poll(polled.data(), polled.size(), -1) < 0) {
      continue;
    }
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents != 0 && !serve(&peers[i - 1], &running)) {
        shutdown(peers[i - 1].fd, SHUT_RDWR);
        peers[i - 1].fd = -1;  // poll ignores it; the number itself stays taken
      }
    }
    if (polled[0].revents != 0) {
      peers.push_back({accept(listener, nullptr, nullptr), {}});
    }
  }
  pthread_mutex_lock(&queue_lock);
  stopping = true;
  pthread_cond_broadcast(&queue_filled);
  pthread_mutex_unlock(&queue_lock);
  for (const pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  printf("racy_server: racy %ld, exact %ld, hash %08x\n", static_cast<long>(racy_sum), exact_sum,
         static_cast<unsigned>(racy_hash));
  return 0;
}
