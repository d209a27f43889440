// SPDX-License-Identifier: Apache-2.0
// An ordinary program that makes every call that takes a descriptor on descriptors of every kind.
// By number, so that no C library stands between. Prints only what is the same in each run.
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <initializer_list>

namespace {

struct Kind {
  const char* name;
  int fd;
  bool is_directory = false;
};

void say(const char* what, long result) {
  if (result < 0) {
    printf(" %s:%s", what, strerrorname_np(errno));
  } else {
    printf(" %s:%ld", what, result);
  }
}

void metadata(int fd) {
  struct stat st = {};
  say("fstat", syscall(SYS_fstat, fd, &st));
  printf("/%o", st.st_mode);
  struct statx stx = {};
  say("statx", syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx));
  printf("/%d", stx.stx_mode == st.st_mode && stx.stx_ino == st.st_ino &&
                    stx.stx_nlink == st.st_nlink && stx.stx_blksize == st.st_blksize);
  struct statfs fs = {};
  say("fstatfs", syscall(SYS_fstatfs, fd, &fs));
  printf("/%lx/%ld/%ld", static_cast<long>(fs.f_type), static_cast<long>(fs.f_bsize),
         static_cast<long>(fs.f_namelen));
  char text[256] = {};
  say("fgetxattr", syscall(SYS_fgetxattr, fd, "user.none", text, sizeof(text)));
  say("flistxattr", syscall(SYS_flistxattr, fd, text, sizeof(text)));
  printf("/%s", text);
  say("fchmod", syscall(SYS_fchmod, fd, 0600));
  say("fchown", syscall(SYS_fchown, fd, -1, -1));
  printf("\n ");
}

void contents(int fd) {
  char byte[8] = {};
  const iovec iov = {byte, 1};
  say("lseek", syscall(SYS_lseek, fd, 0, SEEK_CUR));
  say("pread64", syscall(SYS_pread64, fd, byte, 1, 0));
  say("pwrite64", syscall(SYS_pwrite64, fd, byte, 1, 0));
  say("preadv", syscall(SYS_preadv, fd, &iov, 1, 0, 0));
  say("pwritev", syscall(SYS_pwritev, fd, &iov, 1, 0, 0));
  say("ftruncate", syscall(SYS_ftruncate, fd, 0));
  say("fallocate", syscall(SYS_fallocate, fd, 0, 0, 1));
  say("fsync", syscall(SYS_fsync, fd));
  say("fdatasync", syscall(SYS_fdatasync, fd));
  say("sync_file_range", syscall(SYS_sync_file_range, fd, 0, 1, 0));
  say("syncfs", syscall(SYS_syncfs, fd));
  say("fadvise64", syscall(SYS_fadvise64, fd, 0, 1, POSIX_FADV_NORMAL));
  say("fadvise64?", syscall(SYS_fadvise64, fd, 0, 1, 99));
  say("readahead", syscall(SYS_readahead, fd, 0, 1));
  printf("\n ");
}

void directory(int fd) {
  char text[512];
  struct stat st;
  say("getdents64", syscall(SYS_getdents64, fd, text, sizeof(text)) > 0 ? 1 : -1);
  say("getdents", syscall(SYS_getdents, fd, text, sizeof(text)) > 0 ? 1 : -1);
  say("fchdir", syscall(SYS_fchdir, fd));
  say("openat", syscall(SYS_openat, fd, "none", O_RDONLY));
  say("newfstatat", syscall(SYS_newfstatat, fd, "none", &st, 0));
  say("statx", syscall(SYS_statx, fd, "none", 0, 0, text));
  say("faccessat", syscall(SYS_faccessat, fd, "none", 0));
  say("readlinkat", syscall(SYS_readlinkat, fd, "none", text, sizeof(text)));
  say("readlinkat''", syscall(SYS_readlinkat, fd, "", text, sizeof(text)));
  say("mkdirat", syscall(SYS_mkdirat, fd, "none", 0700));
  say("unlinkat", syscall(SYS_unlinkat, fd, "none", 0));
  say("renameat", syscall(SYS_renameat, fd, "none", fd, "other"));
  say("linkat", syscall(SYS_linkat, fd, "none", fd, "other", 0));
  say("symlinkat", syscall(SYS_symlinkat, "none", fd, "other"));
  say("fchmodat", syscall(SYS_fchmodat, fd, "none", 0600));
  say("fchownat", syscall(SYS_fchownat, fd, "none", -1, -1, 0));
  say("utimensat", syscall(SYS_utimensat, fd, "none", nullptr, 0));
  say("futimesat", syscall(SYS_futimesat, fd, "none", nullptr));
  printf("\n ");
}

void control(int fd) {
  for (const int command : {F_GETFD, F_GETOWN, F_GETSIG, F_GETLEASE, F_GETPIPE_SZ}) {
    char text[32];
    snprintf(text, sizeof(text), "fcntl%d", command);
    say(text, syscall(SYS_fcntl, fd, command, 0));
  }
  say("flock?", syscall(SYS_flock, fd, 3));
  say("flock-mandatory", syscall(SYS_flock, fd, LOCK_MAND | LOCK_READ));
  printf("\n ");
}

void others(int fd) {
  int number = 0;
  say("epoll_wait", syscall(SYS_epoll_wait, fd, &number, 1, 0));
  say("timerfd_gettime", syscall(SYS_timerfd_gettime, fd, nullptr));
  say("accept", syscall(SYS_accept, fd, nullptr, nullptr));
  say("getsockopt", syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &number, nullptr));
  say("shutdown", syscall(SYS_shutdown, fd, 9));
  say("sendfile", syscall(SYS_sendfile, fd, fd, nullptr, 1));
  say("copy_file_range", syscall(SYS_copy_file_range, fd, nullptr, fd, nullptr, 1, 0));
  say("splice", syscall(SYS_splice, fd, nullptr, fd, nullptr, 1, 0));
  printf("\n");
}

}  // namespace

int main() {
  int p[2];
  int s[2];
  (void)!pipe2(p, O_NONBLOCK);
  (void)!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
  const Kind kinds[] = {
      {"nothing", 700},
      {"negative", -1},
      {"the end to read", p[0]},
      {"the end to write", p[1]},
      {"a pair", s[0]},
      {"a local stream", socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)},
      {"a stream", socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)},
      {"datagrams", socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)},
      {"an eventfd", eventfd(0, EFD_NONBLOCK)},
      {"a timer", timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)},
      {"an epoll", epoll_create1(0)},
      {"a name", open("/usr/include", O_PATH), true},
  };
  for (const Kind& kind : kinds) {
    printf("%s:", kind.name);
    metadata(kind.fd);
    contents(kind.fd);
    if (!kind.is_directory) {
      directory(kind.fd);
      others(kind.fd);
    }
    control(kind.fd);
    printf("\n");
  }
  return 0;
}
