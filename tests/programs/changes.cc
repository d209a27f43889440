// SPDX-License-Identifier: Apache-2.0
// An ordinary program that changes files, in the directory it is given, by calls with flags: each
// flag that has an effect there, and unknown ones. By number where the C library would decide
// itself. Prints only what is the same in each run.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace {

constexpr long kFchmodat2 = 452;  // newer than some headers

void say(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}

long size_of(const char* name) {
  struct stat st;
  return stat(name, &st) != 0 ? -errno : st.st_size;
}

void write_file(const char* name, const char* text) {
  const int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
  (void)!write(fd, text, strlen(text));
  close(fd);
}

void room() {
  const int fd = open("room", O_CREAT | O_RDWR | O_TRUNC, 0600);
  say("fallocate", fallocate(fd, 0, 0, 10'000));
  say("size", size_of("room"));
  say("beyond, size kept", fallocate(fd, FALLOC_FL_KEEP_SIZE, 10'000, 10'000));
  say("size", size_of("room"));
  (void)!pwrite(fd, "0123456789", 10, 4090);
  say("hole", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 2));
  char text[11] = {};
  (void)!pread(fd, text, 10, 4090);
  printf("%.6s %d %d %s\n", text, text[6], text[7], text + 8);
  say("hole that moves the end", fallocate(fd, FALLOC_FL_PUNCH_HOLE, 4096, 2));
  say("unknown mode", fallocate(fd, 0x1000, 0, 10));
  say("no length", fallocate(fd, 0, 0, 0));
  say("before the start", fallocate(fd, 0, -1, 10));
  say("posix_fallocate", posix_fallocate(fd, 0, 30'000));
  say("size", size_of("room"));
  say("advice", posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
  say("unknown advice", posix_fadvise(fd, 0, 0, 99));
  say("part of it to disk", sync_file_range(fd, 0, 100, SYNC_FILE_RANGE_WRITE));
  say("unknown flag", sync_file_range(fd, 0, 100, 0x100));
  close(fd);
}

void names() {
  write_file("one", "first");
  write_file("two", "second!");
  say("no replacing", renameat2(AT_FDCWD, "one", AT_FDCWD, "two", RENAME_NOREPLACE));
  say("exchanged", renameat2(AT_FDCWD, "one", AT_FDCWD, "two", RENAME_EXCHANGE));
  printf("sizes %ld %ld\n", size_of("one"), size_of("two"));
  say("exchanged with nothing", renameat2(AT_FDCWD, "one", AT_FDCWD, "none", RENAME_EXCHANGE));
  say("both", renameat2(AT_FDCWD, "one", AT_FDCWD, "two", RENAME_EXCHANGE | RENAME_NOREPLACE));
  say("unknown flag", renameat2(AT_FDCWD, "one", AT_FDCWD, "two", 0x100));
  say("symlink", symlink("one", "soft"));
  say("link to the link", linkat(AT_FDCWD, "soft", AT_FDCWD, "hard", 0));
  say("link to the file", linkat(AT_FDCWD, "soft", AT_FDCWD, "file", AT_SYMLINK_FOLLOW));
  struct stat st;
  lstat("hard", &st);
  printf("a link %d", S_ISLNK(st.st_mode));
  lstat("file", &st);
  printf(" %d\n", S_ISLNK(st.st_mode));
  say("unknown flag", linkat(AT_FDCWD, "soft", AT_FDCWD, "other", 0x4000));
  char text[8] = {};
  say("cut", readlink("soft", text, 2));
  printf("%s\n", text);
  say("no room", syscall(SYS_readlink, "soft", text, 0));
  say("not a link", readlink("one", text, sizeof(text)));
  mkdir("sub", 0700);
  say("directory as a file", unlinkat(AT_FDCWD, "sub", 0));
  say("file as a directory", unlinkat(AT_FDCWD, "one", AT_REMOVEDIR));
  say("unknown flag", unlinkat(AT_FDCWD, "one", 0x4000));
  say("directory", unlinkat(AT_FDCWD, "sub", AT_REMOVEDIR));
  say("access", faccessat(AT_FDCWD, "soft", R_OK, AT_EACCESS));
  say("access to the link", syscall(SYS_faccessat2, AT_FDCWD, "soft", F_OK, AT_SYMLINK_NOFOLLOW));
  say("unknown flag", syscall(SYS_faccessat2, AT_FDCWD, "soft", F_OK, 0x4000));
  say("unknown mode", syscall(SYS_faccessat, AT_FDCWD, "soft", 64));
  say("unknown flag", fstatat(AT_FDCWD, "soft", &st, 0x40000));
  for (const char* name : {"one", "two", "soft", "hard", "file"}) {
    say(name, unlink(name));
  }
}

void times() {
  write_file("timed", "x");
  const timespec set[2] = {{1000, 1}, {2000, 2}};
  say("set", utimensat(AT_FDCWD, "timed", set, 0));
  const timespec one[2] = {{0, UTIME_OMIT}, {3000, 3}};
  say("one of them", utimensat(AT_FDCWD, "timed", one, 0));
  struct stat st;
  stat("timed", &st);
  printf("%ld.%ld %ld.%ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec,
         st.st_mtim.tv_nsec);
  const timespec now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  say("now", utimensat(AT_FDCWD, "timed", now, 0));
  stat("timed", &st);
  printf("now %d\n", st.st_mtim.tv_sec > 1'000'000'000);
  for (const long wrong : {-1L, 1'000'000'000L}) {
    const timespec both[2] = {{0, wrong}, {0, 0}};
    say("wrong", utimensat(AT_FDCWD, "timed", both, 0));
  }
  const timespec before[2] = {{-5, 0}, {-6, 5}};
  say("before 1970", utimensat(AT_FDCWD, "timed", before, 0));
  stat("timed", &st);
  printf("%ld.%ld\n", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  say("unknown flag", utimensat(AT_FDCWD, "timed", set, 0x4000));
  const int fd = open("timed", O_RDWR);
  say("of a descriptor", futimens(fd, set));
  fstat(fd, &st);
  printf("%ld.%ld\n", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  close(fd);
  unlink("timed");
}

void opening() {
  say("new", close(open("opened", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640)));
  say("new, but there", open("opened", O_CREAT | O_EXCL | O_RDWR, 0640));
  say("a directory", open("opened", O_RDONLY | O_DIRECTORY));
  symlink("opened", "soft");
  say("a link", open("soft", O_RDONLY | O_NOFOLLOW));
  int fd = open("soft", O_PATH | O_NOFOLLOW | O_CLOEXEC);
  char text[16] = {};
  say("the link itself", readlinkat(fd, "", text, sizeof(text)));
  say("not to be read", read(fd, text, 1));
  close(fd);
  fd = open("opened", O_RDWR | O_APPEND | O_NONBLOCK | O_SYNC);
  printf("flags %x\n", fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK | O_SYNC | O_ACCMODE));
  say("flags set", fcntl(fd, F_SETFL, O_NOATIME));
  printf("flags %x\n", fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK | O_SYNC | O_ACCMODE));
  close(fd);
  struct open_how how = {};
  const auto open2 = [&](const char* what, const char* path, size_t size = sizeof(how)) {
    const long opened = syscall(SYS_openat2, AT_FDCWD, path, &how, size);
    say(what, opened < 0 ? opened : 0);
    if (opened >= 0) {
      printf("marked %d\n", fcntl(static_cast<int>(opened), F_GETFD));
      close(static_cast<int>(opened));
    }
  };
  how.flags = O_RDONLY | O_CLOEXEC;
  open2("openat2", "soft");
  how.resolve = RESOLVE_NO_SYMLINKS;
  open2("no links", "soft");
  open2("no links", "opened");
  how.resolve = RESOLVE_BENEATH;
  open2("beneath", "soft");
  open2("not beneath", "../x");
  open2("not beneath", "/etc/passwd");
  how.resolve = RESOLVE_IN_ROOT;
  open2("in a root", "/opened");
  how.resolve = 0x1000;
  open2("unknown resolve", "opened");
  how.resolve = 0;
  how.flags = 1ULL << 40;
  open2("unknown flag", "opened");
  how.flags = O_RDONLY;
  how.mode = 0600;
  open2("mode of nothing new", "opened");
  how.flags = O_CREAT | O_RDWR;
  how.mode = 010600;
  open2("unknown mode", "new");
  how.mode = 0640;
  how.resolve = RESOLVE_BENEATH;
  open2("new", "new");
  open2("short", "new", 16);
  struct stat st;
  say("made", stat("new", &st));
  printf("mode %o\n", st.st_mode & 0777);
  fd = open("opened", O_RDWR);
  say("chmod", fchmod(fd, 0604));
  say("fchmodat2", syscall(kFchmodat2, AT_FDCWD, "new", 0644, 0));
  say("fchmodat2, unknown flag", syscall(kFchmodat2, AT_FDCWD, "new", 0644, 0x4000));
  stat("new", &st);
  printf("mode %o\n", st.st_mode & 0777);
  close(fd);
  for (const char* name : {"opened", "new", "soft"}) {
    unlink(name);
  }
}

void locks() {
  const int fd = open("locked", O_CREAT | O_RDWR, 0600);
  const int other = open("locked", O_RDWR);
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_len = 10;
  say("lock", fcntl(fd, F_OFD_SETLK, &lock));
  lock.l_pid = 0;
  say("lock by another description", fcntl(other, F_OFD_SETLK, &lock));
  say("who", fcntl(other, F_OFD_GETLK, &lock));
  printf("type %d, pid %d, %ld to %ld\n", lock.l_type, lock.l_pid, static_cast<long>(lock.l_start),
         static_cast<long>(lock.l_len));
  lock.l_pid = 1;
  say("with a process id", fcntl(other, F_OFD_SETLK, &lock));
  lock = {};
  lock.l_type = F_UNLCK;
  say("unlock", fcntl(fd, F_OFD_SETLK, &lock));
  lock.l_type = F_RDLCK;
  say("read lock", fcntl(other, F_SETLKW, &lock));
  lock.l_type = 77;
  say("unknown type", fcntl(fd, F_SETLK, &lock));
  say("flock", flock(fd, LOCK_EX));
  say("flock by another description", flock(other, LOCK_SH | LOCK_NB));
  say("unknown operation", flock(fd, 16));
  close(fd);
  say("flock now", flock(other, LOCK_SH | LOCK_NB));
  close(other);
  unlink("locked");
}

void attributes() {
  write_file("attributes", "x");
  char value[8];
  say("none", getxattr("attributes", "user.none", value, sizeof(value)));
  say("list", listxattr("attributes", value, sizeof(value)));
  say("how long", listxattr("attributes", nullptr, 0));
  say("set", setxattr("attributes", "user.one", "1", 1, 0));
  say("to be new", setxattr("attributes", "user.one", "2", 1, XATTR_CREATE));
  say("to be there", setxattr("attributes", "user.two", "2", 1, XATTR_REPLACE));
  say("unknown flag", setxattr("attributes", "user.one", "1", 1, 8));
  say("set anew", lsetxattr("attributes", "user.one", "three", 5, XATTR_REPLACE));
  const int fd = open("attributes", O_RDONLY);
  say("of the descriptor", fsetxattr(fd, "user.two", "2", 1, 0));
  say("get", fgetxattr(fd, "user.one", value, sizeof(value)));
  printf("%.5s\n", value);
  say("short of room", getxattr("attributes", "user.one", value, 2));
  say("how many", listxattr("attributes", nullptr, 0));
  say("removed", removexattr("attributes", "user.one"));
  say("removed again", lremovexattr("attributes", "user.one"));
  say("removed by descriptor", fremovexattr(fd, "user.two"));
  say("left", listxattr("attributes", nullptr, 0));
  say("no such kind", setxattr("attributes", "nowhere.x", "1", 1, 0));
  say("of none", setxattr("none", "user.one", "1", 1, 0));
  say("nowhere", syscall(SYS_setxattr, "attributes", "user.one", 8, 1, 0));
  close(fd);
  unlink("attributes");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || chdir(argv[1]) != 0) {
    return 2;
  }
  room();
  unlink("room");
  names();
  times();
  opening();
  locks();
  attributes();
  return 0;
}
