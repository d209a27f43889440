// SPDX-License-Identifier: Apache-2.0
// Computes without a system call: computing BILLIONS (of rounds), or "ever" for a thread that waits
// for another one by spinning. "clock": looks at nothing but the clock, for 50 ms.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <thread>

namespace {

volatile bool flag = false;

extern "C" __attribute__((noinline)) unsigned long compute(unsigned long rounds) {
  unsigned long sum = 1;
  for (unsigned long i = 0; i < rounds; ++i) {
    asm volatile("" : "+r"(sum));
    sum += i;
  }
  return sum;
}

int64_t now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

extern "C" __attribute__((noinline)) void wait_by_spinning() {
  while (!flag) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  printf("begin\n");
  if (argc > 1 && strcmp(argv[1], "ever") == 0) {
    std::thread other([] {
      usleep(20'000);
      flag = true;
    });
    wait_by_spinning();
    other.join();
  } else if (argc > 1 && strcmp(argv[1], "clock") == 0) {
    for (const int64_t end = now_ms() + 50; now_ms() < end;) {
    }
  } else if (argc > 1) {
    printf("%lu\n", compute(strtoul(argv[1], nullptr, 10) * 1'000'000'000));
  }
  printf("end\n");
  return 0;
}
