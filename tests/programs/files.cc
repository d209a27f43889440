// SPDX-License-Identifier: Apache-2.0
// An ordinary program that does with files, in the directory it is given, what servers do: vectored
// and positioned reads and writes, sendfile, seeking, links, directories, attributes, times, locks,
// mappings. Prints only what is the same in each run.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace {

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}

void content() {
  const int fd = open("data", O_CREAT | O_RDWR | O_EXCL, 0640);
  char text[] = "0123456789";
  iovec out[3] = {{text, 4}, {nullptr, 0}, {text + 4, 6}};
  ssize_t n = writev(fd, out, 3);
  while (n < 10) {
    n += write(fd, text + n, static_cast<size_t>(10 - n));
  }
  say("pwrite beyond the end", pwrite(fd, "end", 3, 100));
  out[0] = {text, 2};
  say("pwritev", pwritev(fd, out, 1, 20));
  say("seek", lseek(fd, -3, SEEK_END));
  char in[128] = {};
  say("read", read(fd, in, sizeof(in)));
  say("read at the end", read(fd, in, sizeof(in)));
  say("pread", pread(fd, in, sizeof(in), 95));
  char a[4] = {};
  iovec into = {a, 4};
  say("preadv", preadv(fd, &into, 1, 6));
  printf("hole %d, tail %.3s, middle %.4s\n", in[0], in + 5, a);
  say("seek to hole", lseek(fd, 0, SEEK_DATA));
  say("seek wrongly", lseek(fd, -1, SEEK_SET));
  const int copy = open("copy", O_CREAT | O_WRONLY, 0600);
  off_t offset = 5;
  say("sendfile", sendfile(copy, fd, &offset, 5));
  printf("offset %ld, position %ld\n", static_cast<long>(offset),
         static_cast<long>(lseek(fd, 0, SEEK_CUR)));
  lseek(fd, 0, SEEK_SET);
  say("sendfile from position", sendfile(copy, fd, nullptr, 3));
  say("append", fcntl(copy, F_SETFL, O_APPEND));
  lseek(copy, 0, SEEK_SET);
  say("append", write(copy, "!", 1));
  say("append by sendfile", sendfile(copy, fd, nullptr, 3));
  say("append nothing by sendfile", sendfile(copy, fd, &offset, 0));
  say("size", lseek(copy, 0, SEEK_END));
  say("read what is write-only", read(copy, in, 1));
  say("write what is read-only", write(open("data", O_RDONLY), in, 1));
  say("allocate", posix_fallocate(copy, 0, 4096));
  say("truncate", truncate("copy", 9));
  say("sync", fsync(copy) + fdatasync(copy));
  say("lock", flock(copy, LOCK_EX | LOCK_NB));
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  say("record lock", fcntl(copy, F_SETLK, &lock));
  close(copy);
  close(fd);
}

void names() {
  say("exclusive create", open("data", O_CREAT | O_EXCL | O_WRONLY, 0600));
  say("link", link("data", "hard"));
  say("symlink", symlink("data", "soft"));
  char target[64] = {};
  say("readlink", readlink("soft", target, sizeof(target)));
  printf("target %s\n", target);
  say("no follow", open("soft", O_RDONLY | O_NOFOLLOW));
  struct stat a, b, c;
  stat("soft", &a);
  lstat("soft", &b);
  stat("hard", &c);
  printf("links %d, same file %d, a link %d, size %ld\n", static_cast<int>(a.st_nlink),
         a.st_ino == c.st_ino && a.st_dev == c.st_dev, S_ISLNK(b.st_mode),
         static_cast<long>(a.st_size));
  say("rename over", rename("hard", "copy"));
  say("missing", access("hard", F_OK));
  const int here = open(".", O_RDONLY | O_DIRECTORY);
  say("mkdirat", mkdirat(here, "sub", 0750));
  say("again", mkdirat(here, "sub", 0750));
  say("openat", openat(here, "sub/inner", O_CREAT | O_WRONLY, 0600) >= 0);
  say("rename into", renameat(here, "copy", here, "sub/copy"));
  say("not empty", rmdir("sub"));
  say("linkat", linkat(here, "data", here, "second", 0));
  say("unlinkat", unlinkat(here, "sub/inner", 0));
  close(here);
}

void directory() {
  std::vector<std::string> found;
  DIR* listing = opendir(".");
  for (dirent* entry = readdir(listing); entry != nullptr; entry = readdir(listing)) {
    found.emplace_back(entry->d_name);
  }
  rewinddir(listing);
  printf("after rewind %d\n", readdir(listing) != nullptr);
  closedir(listing);
  std::sort(found.begin(), found.end());
  for (const std::string& name : found) {
    printf("entry %s\n", name.c_str());
  }
}

void attributes() {
  say("chmod", chmod("data", 0600));
  const timespec times[2] = {{1000, 5}, {2000, 7}};
  say("utimensat", utimensat(AT_FDCWD, "data", times, 0));
  struct stat st;
  stat("data", &st);
  printf("mode %o, times %ld.%ld %ld.%ld\n", st.st_mode & 0777, st.st_atim.tv_sec,
         st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  const utimbuf old = {3000, 4000};
  say("utime", utime("data", &old));
  const timeval older[2] = {{5000, 6}, {7000, 8}};
  say("utimes", utimes("data", older));
  stat("data", &st);
  printf("modified %ld.%ld\n", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  char value[64];
  say("no attribute", getxattr("data", "user.none", value, sizeof(value)));
  say("umask", umask(027));
  close(open("masked", O_CREAT | O_WRONLY, 0666));
  stat("masked", &st);
  printf("masked mode %o\n", st.st_mode & 0777);
  struct statfs fs;
  say("statfs", statfs(".", &fs));
  char cwd[4096];
  printf("getcwd %d\n", getcwd(cwd, sizeof(cwd)) != nullptr);
}

// A file that gets its name when it is complete; a log file that is a link to standard output.
void names_of_descriptors() {
  const int fd = open(".", O_TMPFILE | O_RDWR, 0600);
  say("write to a nameless file", write(fd, "text", 4));
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  say("give it a name", linkat(AT_FDCWD, link.c_str(), AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  say("again", linkat(AT_FDCWD, link.c_str(), AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  struct stat st;
  stat("named", &st);
  printf("links %d, size %ld\n", static_cast<int>(st.st_nlink), static_cast<long>(st.st_size));
  close(fd);
  say("link to standard output", symlink("/dev/stdout", "log"));
  fflush(stdout);
  const int log = open("log", O_WRONLY | O_APPEND | O_CREAT, 0644);
  say("write to it", write(log, "a line\n", 7));
  close(log);
}

// A thread waits for a lock that another one holds.
void waiting_for_locks() {
  const int first = open("data", O_RDWR);
  const int second = open("data", O_RDWR);
  say("first", flock(first, LOCK_EX));
  say("second", flock(second, LOCK_EX | LOCK_NB));
  int waited = -1;
  std::thread waiter([&waited, second] { waited = flock(second, LOCK_EX); });
  usleep(20000);
  say("first lets go", flock(first, LOCK_UN));
  waiter.join();
  say("second has waited", waited);
  say("first", flock(first, LOCK_SH | LOCK_NB));
  close(first);
  close(second);
}

void mapping() {
  const int fd = open("mapped", O_CREAT | O_RDWR, 0600);
  say("ftruncate", ftruncate(fd, 8192));
  auto* map = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  memcpy(map + 4096, "shared", 6);
  say("msync", msync(map, 8192, MS_SYNC));
  char in[6];
  say("pread", pread(fd, in, 6, 4096));
  printf("read %.6s\n", in);
  munmap(map, 8192);
  close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || chdir(argv[1]) != 0) {
    return 2;
  }
  content();
  names();
  directory();
  attributes();
  mapping();
  names_of_descriptors();
  waiting_for_locks();
  for (const char* name :
       {"data", "soft", "sub/copy", "second", "masked", "mapped", "named", "log"}) {
    say(name, unlink(name));
  }
  say("rmdir", rmdir("sub"));
  return 0;
}
