// SPDX-License-Identifier: Apache-2.0
// An ordinary program that lets the kernel copy, in the directory it is given: from file to file
// (copy_file_range), through pipes (splice); and asks for the times of files in every way. Prints
// only what is the same in each run.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <utime.h>

#include <string>
#include <vector>

namespace {

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "",
         result < 0 ? strerrorname_np(errno) : "");
}

void write_file(const char* name, const std::string& text) {
  const int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
  (void)!write(fd, text.data(), text.size());
  close(fd);
}

std::string read_file(const char* name) {
  std::string text(1 << 20, '\0');
  const int fd = open(name, O_RDONLY);
  const ssize_t n = read(fd, text.data(), text.size());
  close(fd);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

std::string much(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) {
    text[i] = static_cast<char>(i >> 9 ^ i);
  }
  return text;
}

void ranges() {
  const std::string text = much(300'000);
  write_file("from", text);
  const int in = open("from", O_RDWR);
  const int out = open("to", O_CREAT | O_RDWR | O_TRUNC, 0600);
  say("all and more", copy_file_range(in, nullptr, out, nullptr, 1'000'000, 0));
  printf("the same: %d\n", read_file("to") == text);
  say("at the end", copy_file_range(in, nullptr, out, nullptr, 10, 0));
  printf("positions %ld %ld\n", lseek(in, 0, SEEK_CUR), lseek(out, 0, SEEK_CUR));
  off_t from = 100;
  off_t to = 200'000;
  say("a part", copy_file_range(in, &from, out, &to, 70'000, 0));
  printf("offsets %ld %ld, the same: %d\n", from, to,
         read_file("to").substr(200'000, 70'000) == text.substr(100, 70'000));
  printf("positions %ld %ld\n", lseek(in, 0, SEEK_CUR), lseek(out, 0, SEEK_CUR));
  from = 0;
  to = 1000;
  say("within one file", copy_file_range(in, &from, in, &to, 1000, 0));
  from = 0;
  to = 500;
  say("overlapping", copy_file_range(in, &from, in, &to, 1000, 0));
  from = 299'000;
  to = 300'000;
  say("to the end of one file", copy_file_range(in, &from, in, &to, 1'000'000, 0));
  say("no bytes", copy_file_range(in, &from, out, &to, 0, 0));
  say("flag", copy_file_range(in, nullptr, out, nullptr, 1, 1));
  from = -5;
  say("before the start", copy_file_range(in, &from, out, nullptr, 1, 0));
  say("over the start", copy_file_range(in, &from, out, nullptr, 5, 0));
  from = INT64_MAX - 1;
  say("over the end of all files", copy_file_range(in, &from, out, nullptr, 5, 0));
  say("nowhere", syscall(SYS_copy_file_range, in, 8, out, nullptr, 1, 0));
  const int reads = open("to", O_RDONLY);
  const int appends = open("to", O_WRONLY | O_APPEND);
  const int directory = open(".", O_RDONLY);
  say("to what is read only", copy_file_range(in, nullptr, reads, nullptr, 1, 0));
  say("to what appends", copy_file_range(in, nullptr, appends, nullptr, 1, 0));
  say("from what is write only", copy_file_range(appends, nullptr, out, nullptr, 1, 0));
  say("from a directory", copy_file_range(directory, nullptr, out, nullptr, 1, 0));
  int p[2];
  (void)!pipe(p);
  say("from a pipe", copy_file_range(p[0], nullptr, out, nullptr, 1, 0));
  say("from nothing", copy_file_range(700, nullptr, out, nullptr, 1, 0));
  for (const int fd : {in, out, reads, appends, directory, p[0], p[1]}) {
    close(fd);
  }
}

void* writes_later(void* fd) {
  usleep(20'000);
  (void)!write(*static_cast<int*>(fd), "later", 5);
  return nullptr;
}

void pieces() {
  write_file("from", much(100'000));
  const int in = open("from", O_RDWR);
  const int out = open("to", O_CREAT | O_RDWR | O_TRUNC, 0600);
  int p[2];
  int q[2];
  int s[2];
  (void)!pipe(p);
  (void)!pipe(q);
  (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  off_t offset = 10;
  say("file to pipe", splice(in, &offset, p[1], nullptr, 5000, 0));
  printf("offset %ld, position %ld\n", offset, lseek(in, 0, SEEK_CUR));
  say("pipe to file", splice(p[0], nullptr, out, nullptr, 3000, SPLICE_F_MOVE));
  offset = 50'000;
  say("pipe to file at an offset", splice(p[0], nullptr, out, &offset, 9000, SPLICE_F_MORE));
  printf("offset %ld, position %ld\n", offset, lseek(out, 0, SEEK_CUR));
  printf("the same: %d\n", read_file("to").substr(0, 3000) == much(100'000).substr(10, 3000));
  say("from the position", splice(in, nullptr, p[1], nullptr, 100, 0));
  printf("position %ld\n", lseek(in, 0, SEEK_CUR));
  say("pipe to pipe", splice(p[0], nullptr, q[1], nullptr, 60, 0));
  say("pipe to socket", splice(p[0], nullptr, s[0], nullptr, 1000, 0));
  say("pipe to pipe", splice(q[0], nullptr, p[1], nullptr, 1000, 0));
  say("socket to pipe", splice(s[1], nullptr, q[1], nullptr, 1000, 0));
  char text[200] = {};
  say("one", read(p[0], text, sizeof(text)));
  say("two", read(q[0], text + 60, sizeof(text) - 60));
  printf("the same: %d\n", std::string(text, 100) == much(100));
  say("nothing there", splice(p[0], nullptr, out, nullptr, 10, SPLICE_F_NONBLOCK));
  say("nothing there", splice(p[0], nullptr, q[1], nullptr, 10, SPLICE_F_NONBLOCK));
  pthread_t thread;
  pthread_create(&thread, nullptr, writes_later, &p[1]);
  say("waited for", splice(p[0], nullptr, q[1], nullptr, 10, 0));
  pthread_join(thread, nullptr);
  pthread_create(&thread, nullptr, writes_later, &s[0]);
  say("waited for", splice(s[1], nullptr, q[1], nullptr, 10, 0));
  pthread_join(thread, nullptr);
  lseek(in, 0, SEEK_SET);
  say("a whole pipe", splice(in, nullptr, p[1], nullptr, 99'000, 0));
  say("no room", splice(in, nullptr, p[1], nullptr, 10, SPLICE_F_NONBLOCK));
  say("to itself", splice(p[0], nullptr, p[1], nullptr, 10, 0));
  say("no pipe", splice(in, nullptr, out, nullptr, 10, 0));
  say("no pipe", splice(s[0], nullptr, s[1], nullptr, 10, 0));
  say("offset of a pipe", splice(p[0], &offset, out, nullptr, 10, 0));
  say("offset of a socket", splice(p[0], nullptr, s[0], &offset, 10, 0));
  say("wrong way", splice(p[1], nullptr, out, nullptr, 10, 0));
  say("flag", splice(p[0], nullptr, out, nullptr, 10, 0x100));
  say("no bytes", splice(p[0], nullptr, out, nullptr, 0, 0x100));
  const int appends = open("to", O_WRONLY | O_APPEND);
  say("to what appends", splice(p[0], nullptr, appends, nullptr, 10, 0));
  close(q[0]);
  say("nobody reads", splice(p[0], nullptr, q[1], nullptr, 10, 0));
  close(p[1]);
  say("the rest", splice(p[0], nullptr, out, nullptr, 99'000, 0));
  say("the end", splice(p[0], nullptr, out, nullptr, 10, 0));
  for (const int fd : {in, out, p[0], q[1], s[0], s[1], appends}) {
    close(fd);
  }
}

void show_times(const char* name) {
  struct stat st = {};
  struct statx stx = {};
  say("stat", stat(name, &st));
  say("statx", statx(AT_FDCWD, name, 0, STATX_BASIC_STATS, &stx));
  printf("%ld.%09ld %ld.%09ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec,
         st.st_mtim.tv_nsec);
  printf("the same: %d%d%d%d%d%d%d%d\n", st.st_ino == stx.stx_ino, st.st_mode == stx.stx_mode,
         st.st_nlink == stx.stx_nlink, st.st_uid == stx.stx_uid,
         st.st_size == static_cast<long>(stx.stx_size),
         st.st_dev >> 8 == stx.stx_dev_major && (st.st_dev & 0xff) == stx.stx_dev_minor,
         st.st_mtim.tv_sec == stx.stx_mtime.tv_sec &&
             st.st_mtim.tv_nsec == static_cast<long>(stx.stx_mtime.tv_nsec),
         st.st_blocks == static_cast<long>(stx.stx_blocks));
  const int fd = open(name, O_RDONLY);
  struct statx own = {};
  say("of its descriptor", statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &own));
  printf("the same: %d\n",
         own.stx_ino == stx.stx_ino && own.stx_mtime.tv_nsec == stx.stx_mtime.tv_nsec);
  close(fd);
}

void times() {
  write_file("times", "x");
  const utimbuf seconds = {1'000'000'001, 1'000'000'002};
  say("utime", utime("times", &seconds));
  show_times("times");
  const timeval micro[2] = {{1'100'000'003, 4}, {1'100'000'005, 6}};
  say("utimes", syscall(SYS_utimes, "times", micro));
  show_times("times");
  const timeval wrong[2] = {{1, 2}, {3, 1'000'000}};
  say("utimes, wrongly", syscall(SYS_utimes, "times", wrong));
  const int directory = open(".", O_RDONLY);
  const timeval last[2] = {{1'200'000'007, 8}, {1'200'000'009, 10}};
  say("futimesat", syscall(SYS_futimesat, directory, "times", last));
  show_times("times");
  const int fd = open("times", O_RDONLY);
  say("futimesat of a descriptor", syscall(SYS_futimesat, fd, nullptr, micro));
  show_times("times");
  say("utime now", utime("times", nullptr));
  struct stat st = {};
  stat("times", &st);
  printf("now: %d\n", st.st_mtim.tv_sec > 1'300'000'000);
  say("of none", utime("none", nullptr));
  say("nowhere", syscall(SYS_utime, "times", 8));
  struct statx stx;
  say("statx of none", statx(AT_FDCWD, "none", 0, STATX_BASIC_STATS, &stx));
  say("statx, flag", statx(AT_FDCWD, "times", 0x10, STATX_BASIC_STATS, &stx));
  say("statx, both ways", statx(AT_FDCWD, "times", AT_STATX_SYNC_TYPE, STATX_SIZE, &stx));
  say("statx, mask", statx(AT_FDCWD, "times", 0, 0x80000000, &stx));
  say("statx, nowhere", syscall(SYS_statx, AT_FDCWD, "times", 0, STATX_SIZE, 8));
  say("a link", symlink("times", "link"));
  say("statx of a link", statx(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx));
  printf("a link: %d\n", S_ISLNK(stx.stx_mode));
  close(directory);
  close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || chdir(argv[1]) != 0) {
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  ranges();
  pieces();
  times();
  for (const char* name : {"from", "to", "times", "link"}) {
    say(name, unlink(name));
  }
  return 0;
}
