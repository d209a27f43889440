// SPDX-License-Identifier: Apache-2.0
// Computes without a system call: computing BILLIONS (of rounds), or "ever" for a thread that waits
// for another one by spinning.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
  } else if (argc > 1) {
    printf("%lu\n", compute(strtoul(argv[1], nullptr, 10) * 1'000'000'000));
  }
  printf("end\n");
  return 0;
}
