// SPDX-License-Identifier: Apache-2.0
// Ends in one of the ways in which programs end at their start, after it has said why: dying HOW.
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>

namespace {

int* volatile nowhere = nullptr;

void say_and_leave(int number) {
  static const char text[] = "handler: bad memory\n";
  const bool written = write(2, text, sizeof text - 1) > 0;
  _exit(written ? number : 99);
}

void say_and_die(int number) {
  static const char text[] = "handler: going down\n";
  const bool written = write(2, text, sizeof text - 1) > 0;
  signal(number, SIG_DFL);
  raise(written ? number : SIGKILL);
}

void die(const char* how) {
  if (strcmp(how, "assert") == 0) {
    __assert_fail("count == 99", "dying.cc", 1, "die");
  } else if (strcmp(how, "exception") == 0) {
    throw std::runtime_error("no such table");
  } else if (strcmp(how, "thread") == 0) {
    std::thread([] { throw std::runtime_error("no such row"); }).join();
  } else if (strcmp(how, "abort") == 0) {
    abort();
  } else if (strcmp(how, "fault") == 0) {
    *nowhere = 1;
  } else if (strcmp(how, "handler") == 0) {
    signal(SIGSEGV, say_and_leave);
    *nowhere = 1;
  } else if (strcmp(how, "reraise") == 0) {
    signal(SIGSEGV, say_and_die);
    *nowhere = 1;
  } else if (strcmp(how, "exit") == 0) {
    exit(3);
  } else if (strcmp(how, "_exit") == 0) {
    fflush(stdout);
    _exit(4);
  } else if (strcmp(how, "loud") == 0) {
    static char text[96 << 20];
    memset(text, 'x', sizeof text);
    exit(write(1, text, sizeof text) == sizeof text ? 0 : 5);
  } else if (strcmp(how, "term") == 0) {
    raise(SIGTERM);
  }
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IONBF, 0);
  printf("begin\n");
  fprintf(stderr, "fatal: configuration wrong\n");
  printf("no newline at the end");
  die(argc > 1 ? argv[1] : "");
  return 0;
}
