// SPDX-License-Identifier: Apache-2.0
// Tries, one per run, what ftrun refuses: refused fork | exec | io_uring | write FILE | unknown.
// Prints what the call answered.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  long result = 0;
  if (strcmp(what, "fork") == 0) {
    result = fork();
  } else if (strcmp(what, "exec") == 0) {
    result = execl("/bin/true", "true", nullptr);
  } else if (strcmp(what, "io_uring") == 0) {
    result = syscall(SYS_io_uring_setup, 8, nullptr);
  } else if (strcmp(what, "write") == 0 && argc > 2) {
    result = open(argv[2], O_CREAT | O_WRONLY, 0600);
  } else if (strcmp(what, "unknown") == 0) {
    result = syscall(SYS_ptrace, 0, 0, 0, 0);
  }
  printf("%s: %ld %s\n", what, result, strerror(errno));
  return 0;
}
