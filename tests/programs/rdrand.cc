// SPDX-License-Identifier: Apache-2.0
// What `ftrun check` is to find: rdrand [spin]. Has an instruction that escapes the log, in `roll`,
// which is never run without an argument; "spin" computes for a while without a call.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern "C" __attribute__((noinline)) unsigned long roll() {
  unsigned long number = 0;
  asm volatile("rdrand %0" : "=r"(number));
  return number;
}

extern "C" __attribute__((noinline)) unsigned long spin() {
  unsigned long sum = 1;
  for (unsigned long i = 0; i < 2'000'000'000; ++i) {
    asm volatile("" : "+r"(sum));
    sum += i;
  }
  return sum;
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "spin") == 0) {
    printf("%lu\n", spin());
  } else if (argc > 1 && strcmp(argv[1], "roll") == 0) {
    printf("%lu\n", roll());
  }
  usleep(300'000);
  return 0;
}
