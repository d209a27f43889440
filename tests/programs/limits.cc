// SPDX-License-Identifier: Apache-2.0
// Limits of memory: they are read back as they were set, and leave as much room as natively,
// whatever else is mapped.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

constexpr unsigned long kMiB = 1ul << 20;

const char* said(long result) {
  return result >= 0 ? "ok" : strerrorname_np(errno);
}

void show(const char* name, int resource) {
  rlimit now = {};
  const int result = getrlimit(resource, &now);
  printf("%s: %d %ld %ld\n", name, result, static_cast<long>(now.rlim_cur),
         static_cast<long>(now.rlim_max));
}

void take(unsigned long bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  printf("%lu MiB: %s\n", bytes / kMiB, memory == MAP_FAILED ? strerrorname_np(errno) : "ok");
  if (memory != MAP_FAILED) {
    munmap(memory, bytes);
  }
}

void* nothing(void*) {
  return nullptr;
}

void start_thread() {
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, &nothing, nullptr);
  printf("thread: %d\n", error);
  if (error == 0) {
    pthread_join(thread, nullptr);
  }
}

}  // namespace

int main() {
  show("address space at first", RLIMIT_AS);
  const rlimit large = {256 * kMiB, 512 * kMiB};
  printf("set: %d\n", setrlimit(RLIMIT_AS, &large));
  show("address space", RLIMIT_AS);
  take(128 * kMiB);
  take(257 * kMiB);
  start_thread();
  const rlimit lower = {128 * kMiB, 256 * kMiB};
  rlimit old = {};
  printf("set lower: %d", prlimit(0, RLIMIT_AS, &lower, &old));
  printf(", before %lu\n", old.rlim_cur / kMiB);
  take(64 * kMiB);
  take(129 * kMiB);
  const rlimit crossed = {2, 1};
  printf("crossed: %s\n", said(setrlimit(RLIMIT_AS, &crossed)));
  const rlimit data = {64 * kMiB, 64 * kMiB};
  printf("data: %d\n", setrlimit(RLIMIT_DATA, &data));
  show("data", RLIMIT_DATA);
  take(32 * kMiB);
  take(65 * kMiB);
  start_thread();
  const rlimit descriptors = {100, 200};
  printf("descriptors: %d\n", setrlimit(RLIMIT_NOFILE, &descriptors));
  show("descriptors", RLIMIT_NOFILE);
  printf("the last: %s", said(dup2(1, 99)));
  printf(", one more: %s\n", said(dup2(1, 100)));
  printf("no such limit: %s\n", said(getrlimit(static_cast<__rlimit_resource_t>(99), &old)));
  return 0;
}
