// SPDX-License-Identifier: Apache-2.0
// An ordinary program that looks at itself by name: under /proc by its process id and its threads',
// and at its descriptors as /dev/stdout, /dev/fd/N and /proc/self/fd/N. Prints only what is the
// same in each run.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace {

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}

std::string link_of(const std::string& path) {
  char text[4096];
  const ssize_t n = readlink(path.c_str(), text, sizeof(text));
  return n < 0 ? strerror(errno) : std::string(text, static_cast<size_t>(n));
}

std::string content(const std::string& path) {
  char text[4096];
  FILE* file = fopen(path.c_str(), "r");
  if (file == nullptr) {
    return strerror(errno);
  }
  const size_t n = fread(text, 1, sizeof(text), file);
  fclose(file);
  return {text, n};
}

bool lists(const std::string& path, int number) {
  bool found = false;
  DIR* directory = opendir(path.c_str());
  for (dirent* entry = readdir(directory); entry != nullptr; entry = readdir(directory)) {
    found |= entry->d_name == std::to_string(number);
  }
  closedir(directory);
  return found;
}

void process() {
  const int pid = getpid();
  const std::string own = "/proc/" + std::to_string(pid);
  printf("self %d, thread-self %d\n", link_of("/proc/self") == std::to_string(pid),
         link_of("/proc/thread-self") == std::to_string(pid) + "/task/" + std::to_string(gettid()));
  printf("listed %d, thread listed %d\n", lists("/proc", pid), lists("/proc/self/task", gettid()));
  printf("comm %s", content(own + "/comm").c_str());
  printf("exe %d\n", link_of(own + "/exe").find("program_own_names") != std::string::npos);
  printf("stat %d\n", atoi(content(own + "/stat").c_str()) == pid);
  const std::string status = content("/proc/self/status");
  printf("status %d\n", status.find("\nPid:\t" + std::to_string(pid) + "\n") != std::string::npos);
  printf("maps %d, statm %d\n",
         content(own + "/maps").find("program_own_names") != std::string::npos,
         atoi(content(own + "/statm").c_str()) > 0);
  printf("cmdline %d\n", content(own + "/cmdline").find("program_own_names") != std::string::npos);
  say("oom_score_adj", open((own + "/oom_score_adj").c_str(), O_WRONLY) >= 0);
}

void* wait_for_end(void* argument) {
  char end = 0;
  while (read(*static_cast<int*>(argument), &end, 1) < 0) {
  }
  return nullptr;
}

void thread_names() {
  int pipe_ends[2];
  say("pipe", pipe(pipe_ends));
  pthread_t thread;
  pthread_create(&thread, nullptr, wait_for_end, &pipe_ends[0]);
  char name[16] = "";
  say("name another", pthread_setname_np(thread, "worker"));
  say("its name", pthread_getname_np(thread, name, sizeof(name)));
  printf("worker is %s\n", name);
  say("name itself", pthread_setname_np(pthread_self(), "main"));
  printf("comm %s", content("/proc/self/comm").c_str());
  say("too long", pthread_setname_np(thread, "a name that is too long"));
  say("end", write(pipe_ends[1], "x", 1));
  pthread_join(thread, nullptr);
}

void write_to(const char* what, const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags, 0644);
  if (fd < 0) {
    say(what, fd);
    return;
  }
  fflush(stdout);
  dprintf(fd, "a line by %s\n", what);
  close(fd);
}

void streams() {
  write_to("name", "/dev/stdout", O_WRONLY | O_APPEND | O_CREAT);
  write_to("number", "/dev/fd/1", O_WRONLY);
  write_to("self", "/proc/self/fd/1", O_WRONLY | O_CLOEXEC);
  write_to("process id", "/proc/" + std::to_string(getpid()) + "/fd/1", O_WRONLY);
  write_to("a long way", "/dev/../dev/./stdout", O_WRONLY | O_TRUNC);
  say("exclusive", open("/dev/stdout", O_WRONLY | O_CREAT | O_EXCL, 0644));
  say("as directory", open("/dev/stdout", O_RDONLY | O_DIRECTORY));
  say("none there", open("/dev/fd/77", O_WRONLY));
  say("nor there", open("/proc/self/fd/77", O_RDONLY));
  struct stat st = {};
  say("stat", stat("/dev/stdout", &st));
  printf("a pipe %d\n", S_ISFIFO(st.st_mode));
  say("access", access("/dev/stdout", W_OK));
  printf("link is of a pipe %d\n", link_of("/proc/self/fd/1").rfind("pipe:[", 0) == 0);
  char end = 0;
  say("input", read(open("/dev/stdin", O_RDONLY), &end, 1));
}

void kinds() {
  int ends[2];
  say("pipe", pipe(ends));
  const std::string read_name = "/proc/self/fd/" + std::to_string(ends[0]);
  const std::string write_name = "/dev/fd/" + std::to_string(ends[1]);
  printf("same pipe %d\n",
         link_of(read_name) == link_of("/proc/self/fd/" + std::to_string(ends[1])));
  const int again = open(write_name.c_str(), O_WRONLY);
  say("write by name", write(again, "hello", 5));
  close(ends[1]);
  close(again);
  char text[8] = "";
  const int reader = open(read_name.c_str(), O_RDONLY);
  say("read by name", read(reader, text, sizeof(text)));
  say("its end", read(ends[0], text + 5, 1));
  printf("text %.5s\n", text);
  int pair[2];
  say("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  say("a socket by name", open(("/dev/fd/" + std::to_string(pair[0])).c_str(), O_RDWR));
  printf("socket %d\n",
         link_of("/proc/self/fd/" + std::to_string(pair[0])).rfind("socket:[", 0) == 0);
  const std::string event = "/proc/self/fd/" + std::to_string(eventfd(0, 0));
  say("an eventfd by name", open(event.c_str(), O_RDWR));
  printf("%s\n", link_of(event).c_str());
  printf("%s\n", link_of("/proc/self/fd/" + std::to_string(epoll_create1(0))).c_str());
  const int file = open("/proc/self/exe", O_RDONLY);
  const std::string file_name = "/dev/fd/" + std::to_string(file);
  const int file_again = open(file_name.c_str(), O_RDONLY);
  say("a file by name", read(file_again, text, 4));
  printf("program %d\n", memcmp(text, "\177ELF", 4) == 0);
}

}  // namespace

int main() {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  process();
  thread_names();
  streams();
  kinds();
  return 0;
}
