// SPDX-License-Identifier: Apache-2.0
// Tries, one per run, what ftrun refuses or denies: refused NAME [FILE]. Prints what the call
// answered, if it comes back.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

// Calls by number, with harmless arguments.
struct Call {
  const char* name;
  long number;
  long arguments[4];
};
const Call kCalls[] = {
    {"io_uring", SYS_io_uring_setup, {8, 0}},
    {"ptrace", SYS_ptrace, {0, 0, 0, 0}},
    {"shmget", SYS_shmget, {0, 4096, 0600}},
    {"semget", SYS_semget, {0, 1, 0600}},
    {"msgget", SYS_msgget, {0, 0600}},
    {"mq_open", SYS_mq_open, {0, 0}},
    {"mount", SYS_mount, {0, 0, 0, 0}},
    {"unshare", SYS_unshare, {0}},
    {"chroot", SYS_chroot, {0}},
    {"clock_settime", SYS_clock_settime, {0, 0}},
    {"process_vm_readv", SYS_process_vm_readv, {0, 0, 0, 0}},
    {"pidfd_open", SYS_pidfd_open, {1, 0}},
    {"memfd_create", SYS_memfd_create, {0, 0}},
    {"inotify_init1", SYS_inotify_init1, {0}},
    {"signalfd4", SYS_signalfd4, {-1, 0, 8, 0}},
    {"timer_create", SYS_timer_create, {0, 0, 0}},
    {"seccomp", SYS_seccomp, {0, 0, 0}},
    {"keyctl", SYS_keyctl, {0, -3, 0, 0}},
    {"kcmp", SYS_kcmp, {0, 0, 0, 0}},
    {"negative", -1, {0}},
    {"new", 499, {0}},
    {"beyond", 600, {0}},
    {"x32", 0x40000000 + SYS_getpid, {0}},
};

long i386_getpid() {
  long result = 20;
  __asm__ volatile("int $0x80" : "+a"(result) : : "r8", "r9", "r10", "r11", "memory");
  return result;
}

long share(const char* path) {
  const int fd = open(path, O_RDWR);
  void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return map == MAP_FAILED ? -1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  long result = 0;
  if (strcmp(what, "fork") == 0) {
    result = fork();
  } else if (strcmp(what, "exec") == 0 && argc > 2) {
    result = execl(argv[2], argv[2], nullptr);
  } else if (strcmp(what, "exec_threads") == 0) {
    pthread_t thread;
    pthread_create(
        &thread, nullptr, [](void*) -> void* { return reinterpret_cast<void*>(pause()); }, nullptr);
    result = execl("/bin/true", "true", nullptr);
  } else if (strcmp(what, "exec_socket") == 0) {
    socket(AF_INET, SOCK_STREAM, 0);
    result = execl("/bin/true", "true", nullptr);
  } else if (strcmp(what, "exec_pipe") == 0) {
    int ends[2];
    result = pipe(ends) == 0 ? execl("/bin/true", "true", nullptr) : 0;
  } else if (strcmp(what, "i386") == 0) {
    result = i386_getpid();
  } else if (strcmp(what, "write") == 0 && argc > 2) {
    result = open(argv[2], O_CREAT | O_WRONLY, 0600);
  } else if (strcmp(what, "share") == 0) {
    result = share("/dev/zero");
  }
  for (const Call& call : kCalls) {
    if (strcmp(what, call.name) == 0) {
      const long* a = call.arguments;
      result = syscall(call.number, a[0], a[1], a[2], a[3]);
    }
  }
  printf("%s: %ld %s\n", what, result, strerror(errno));
  return 0;
}
