// SPDX-License-Identifier: Apache-2.0
// An ordinary program that moves much, or many pieces, in one call, in the directory it is given:
// Linux cuts none of these short. Prints only what is the same in each run.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace {

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}

uint64_t sum(const std::vector<char>& bytes) {
  uint64_t sum = 0;
  for (const char byte : bytes) {
    sum = sum * 31 + static_cast<unsigned char>(byte);
  }
  return sum;
}

// Every call that takes several buffers, on a file.
void pieces() {
  const int fd = open("pieces", O_CREAT | O_RDWR | O_TRUNC, 0600);
  char text[] = "abcdefghijklmnopqrstuvwxyz";
  iovec out[4] = {{text, 3}, {nullptr, 0}, {text + 3, 1}, {text + 4, 22}};
  say("writev", writev(fd, out, 4));
  say("pwritev", pwritev(fd, out, 4, 30));
  say("pwritev2 at the position", pwritev2(fd, out, 4, -1, 0));
  say("pwritev2 synchronously", pwritev2(fd, out, 4, 60, RWF_DSYNC));
  say("pwritev2 at the end", pwritev2(fd, out, 2, 0, RWF_APPEND));
  say("size", lseek(fd, 0, SEEK_END));
  lseek(fd, 0, SEEK_SET);
  char a[40] = {};
  char b[40] = {};
  char c[40] = {};
  iovec in[4] = {{a, 2}, {b, 30}, {nullptr, 0}, {c, 39}};
  say("readv", readv(fd, in, 4));
  printf("%s %.26s %.10s\n", a, b, c);
  say("position", lseek(fd, 0, SEEK_CUR));
  say("preadv", preadv(fd, in, 4, 1));
  say("preadv2", preadv2(fd, in, 4, 60, RWF_HIPRI));
  printf("%s %.24s\n", a, b);
  say("preadv over the end", preadv(fd, in, 4, 80));
  say("readv of nothing", readv(fd, in + 2, 1));
  say("no buffers", writev(fd, out, 0));
  say("too many", syscall(SYS_writev, fd, out, 1025));
  say("negative count", syscall(SYS_readv, fd, in, -1));
  out[1].iov_len = static_cast<size_t>(-1);
  say("too long", writev(fd, out, 4));
  out[1].iov_len = 0;
  say("before the start", preadv(fd, in, 4, -1));
  say("before the start", pwritev2(fd, out, 4, -2, 0));
  say("before the start", pread(fd, a, 1, -1));
  say("no such flag", preadv2(fd, in, 1, 0, 0x40000000));
  say("not open", preadv(700, in, 1, 0));
  close(fd);
  const int log = open("log", O_CREAT | O_WRONLY | O_APPEND, 0600);
  for (int i = 0; i < 3; ++i) {
    say("line", writev(log, out, 4));
  }
  say("pwritev appends", pwritev(log, out, 4, 0));
  struct stat st;
  fstat(log, &st);
  say("log", st.st_size);
  close(log);
}

// As many buffers as a call takes, each of an odd size.
void many_pieces() {
  std::vector<char> bytes(1024 * 37);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(i * i);
  }
  std::vector<iovec> iov(1024);
  for (size_t i = 0; i < iov.size(); ++i) {
    iov[i] = {bytes.data() + i * 37, 37};
  }
  const int fd = open("many", O_CREAT | O_RDWR | O_TRUNC, 0600);
  say("1024 buffers out", writev(fd, iov.data(), 1024));
  const uint64_t before = sum(bytes);
  memset(bytes.data(), 0, bytes.size());
  say("1024 buffers in", preadv(fd, iov.data(), 1024, 0));
  printf("the same: %d\n", sum(bytes) == before);
  close(fd);
}

void large() {
  constexpr size_t kLarge = 9'000'000;
  std::vector<char> bytes(kLarge);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(i >> 7 ^ i);
  }
  const uint64_t before = sum(bytes);
  const int fd = open("large", O_CREAT | O_RDWR | O_TRUNC, 0600);
  say("large write", write(fd, bytes.data(), kLarge));
  memset(bytes.data(), 0, kLarge);
  say("large read", pread(fd, bytes.data(), kLarge, 0));
  printf("the same: %d\n", sum(bytes) == before);
  const int copy = open("copy", O_CREAT | O_RDWR | O_TRUNC, 0600);
  lseek(fd, 0, SEEK_SET);
  say("large sendfile", sendfile(copy, fd, nullptr, kLarge + 10));
  say("position", lseek(fd, 0, SEEK_CUR));
  memset(bytes.data(), 0, kLarge);
  say("copied", pread(copy, bytes.data(), kLarge, 0));
  printf("the same: %d\n", sum(bytes) == before);
  close(copy);
  close(fd);
  say("much that is random", getrandom(bytes.data(), kLarge, 0));
  say("nothing that is random", getrandom(bytes.data(), 0, 0));
  say("random, wrongly", getrandom(bytes.data(), 1, 0x100));
  const int urandom = open("/dev/urandom", O_RDONLY);
  say("much of a device", read(urandom, bytes.data(), kLarge));
  iovec in[3] = {{bytes.data(), 100'000}, {bytes.data() + 100'000, 1}, {bytes.data(), 200'000}};
  say("in pieces", readv(urandom, in, 3));
  close(urandom);
  const int zero = open("/dev/zero", O_RDONLY);
  say("zeros", read(zero, bytes.data(), kLarge));
  printf("all zero: %d\n", sum(bytes) == 0);
  close(zero);
}

// A file whose bytes come from the log, above one record's size.
void logged() {
  const int fd = open("/etc/ssl/certs/ca-certificates.crt", O_RDONLY);
  struct stat st = {};
  fstat(fd, &st);
  std::vector<char> whole(static_cast<size_t>(st.st_size) + 1);
  say("whole file", fd < 0 ? 0 : read(fd, whole.data(), whole.size()) - st.st_size);
  say("position", fd < 0 ? 0 : lseek(fd, 0, SEEK_CUR) - st.st_size);
  std::vector<char> pieces(whole.size());
  const size_t odd = pieces.size() / 3;
  iovec in[2] = {{pieces.data(), odd}, {pieces.data() + odd, pieces.size() - odd}};
  say("in pieces", fd < 0 ? 0 : preadv(fd, in, 2, 0) - st.st_size);
  printf("the same: %d\n", whole == pieces);
  close(fd);
}

// All entries of a directory that fit into the room that is given.
void entries() {
  mkdir("entries", 0700);
  constexpr int kFiles = 2000;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name =
        "entries/a-name-that-takes-some-room-in-the-answer-" + std::to_string(i);
    close(open(name.c_str(), O_CREAT | O_WRONLY, 0600));
  }
  const int fd = open("entries", O_RDONLY | O_DIRECTORY);
  std::vector<char> room(1 << 20);
  long entries = 0;
  long calls = 0;
  for (long n = syscall(SYS_getdents64, fd, room.data(), room.size()); n > 0;
       n = syscall(SYS_getdents64, fd, room.data(), room.size())) {
    ++calls;
    for (long at = 0; at < n; ++entries) {
      uint16_t length = 0;
      memcpy(&length, room.data() + at + 16, sizeof(length));
      at += length;
    }
  }
  printf("entries %ld in %ld call\n", entries, calls);
  lseek(fd, 0, SEEK_SET);
  say("no room for one", syscall(SYS_getdents64, fd, room.data(), 10));
  close(fd);
  for (int i = 0; i < kFiles; ++i) {
    unlink(("entries/a-name-that-takes-some-room-in-the-answer-" + std::to_string(i)).c_str());
  }
  rmdir("entries");
}

// sendfile between descriptors of other kinds; flags of reads and writes that are not files'.
void elsewhere() {
  const int fd = open("pieces", O_RDONLY);
  int p[2];
  (void)!pipe2(p, O_NONBLOCK);
  off_t offset = 2;
  say("into a pipe", sendfile(p[1], fd, &offset, 5));
  say("offset", offset);
  char in[64] = {};
  say("out of it", read(p[0], in, sizeof(in)));
  say("out of a pipe", sendfile(p[1], p[0], nullptr, 1));
  say("out of a pipe, at an offset", sendfile(p[1], p[0], &offset, 1));
  say("into what is read only", sendfile(fd, fd, nullptr, 1));
  say("position", lseek(fd, 0, SEEK_CUR));
  offset = -1;
  say("before the start", sendfile(p[1], fd, &offset, 1));
  const int log = open("log", O_WRONLY | O_APPEND);
  say("into what appends", sendfile(log, fd, nullptr, 1));
  say("out of what is write only", sendfile(p[1], log, nullptr, 1));
  close(log);
  close(fd);
  iovec iov = {in, 1};
  say("pread of a pipe", pread(p[0], in, 1, 0));
  say("preadv of a pipe", preadv(p[0], &iov, 1, 0));
  int s[2];
  (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  say("would wait", preadv2(s[0], &iov, 1, -1, RWF_NOWAIT));
  say("room", pwritev2(s[1], &iov, 1, -1, RWF_NOWAIT));
  say("something there", preadv2(s[0], &iov, 1, -1, RWF_NOWAIT));
  say("no such flag", preadv2(s[0], &iov, 1, -1, 0x40000000));
  for (const int end : {p[0], p[1], s[0], s[1]}) {
    close(end);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || chdir(argv[1]) != 0) {
    return 2;
  }
  pieces();
  many_pieces();
  large();
  logged();
  entries();
  elsewhere();
  for (const char* name : {"pieces", "log", "many", "large", "copy"}) {
    say(name, unlink(name));
  }
  return 0;
}
