// SPDX-License-Identifier: Apache-2.0
// A thread-per-connection echo server with blocking calls. An ordinary program that knows nothing
// of ftrun.
//
//   thread_echo PORT
//
// Every connection gets a greeting and a thread of its own, which sends back what it reads until
// the peer closes; a line "quit" from anybody ends the server. Prints each connection's number of
// bytes.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

pthread_mutex_t total_lock = PTHREAD_MUTEX_INITIALIZER;
unsigned long connections = 0;
unsigned long bytes_total = 0;

bool write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = write(fd, data, size);
    if (n <= 0) {
      return false;
    }
    data += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

void* serve(void* argument) {
  const int fd = static_cast<int>(reinterpret_cast<long>(argument));
  pthread_mutex_lock(&total_lock);
  const unsigned long number = ++connections;
  pthread_mutex_unlock(&total_lock);
  char buffer[4096];
  snprintf(buffer, sizeof buffer, "hello %lu\n", number);
  unsigned long bytes = 0;
  bool quit = false;
  if (write_all(fd, buffer, strlen(buffer))) {
    ssize_t n = 0;
    while (!quit && (n = read(fd, buffer, sizeof buffer)) > 0 &&
           write_all(fd, buffer, static_cast<size_t>(n))) {
      bytes += static_cast<unsigned long>(n);
      quit = n >= 5 && memcmp(buffer, "quit\n", 5) == 0;
    }
  }
  close(fd);
  pthread_mutex_lock(&total_lock);
  bytes_total += bytes;
  printf("thread_echo: connection %lu echoed %lu bytes, %lu in all\n", number, bytes, bytes_total);
  fflush(stdout);
  pthread_mutex_unlock(&total_lock);
  if (quit) {
    exit(0);
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: thread_echo PORT\n");
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
      listen(listener, 128) != 0) {
    perror("thread_echo");
    return 1;
  }
  printf("thread_echo: listening on port %s\n", argv[1]);
  fflush(stdout);
  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  for (;;) {
    const int fd = accept(listener, nullptr, nullptr);
    pthread_t thread;
    if (fd >= 0 &&
        pthread_create(&thread, &detached, serve, reinterpret_cast<void*>(long{fd})) != 0) {
      close(fd);
    }
  }
}
