// SPDX-License-Identifier: Apache-2.0
// An ordinary program: threads on stacks of 16 KB, robust, recursive, error-checking and timed
// mutexes, cancellation, once, thread-specific data, counters read while others run. Prints only
// what is the same in each run.
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

namespace {

pthread_mutex_t robust;
pthread_mutex_t robust_waited;
pthread_barrier_t both_owned;
int handed = 0;

void* dies_with_lock(void*) {
  pthread_mutex_lock(&robust);
  pthread_mutex_lock(&robust_waited);
  pthread_barrier_wait(&both_owned);
  usleep(3000);  // so that somebody waits
  return nullptr;
}

void* waits_for_lock(void*) {
  const int rc = pthread_mutex_lock(&robust_waited);
  printf("waiter: %s\n", strerror(rc));
  pthread_mutex_consistent(&robust_waited);
  handed++;
  pthread_mutex_unlock(&robust_waited);
  return nullptr;
}

void robust_mutexes() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&robust, &attributes);
  pthread_mutex_init(&robust_waited, &attributes);
  pthread_t owner;
  pthread_t waiter;
  pthread_barrier_init(&both_owned, nullptr, 2);
  pthread_create(&owner, nullptr, dies_with_lock, nullptr);
  pthread_barrier_wait(&both_owned);
  pthread_create(&waiter, nullptr, waits_for_lock, nullptr);
  pthread_join(owner, nullptr);
  pthread_join(waiter, nullptr);
  const int rc = pthread_mutex_lock(&robust);
  printf("robust: %s\n", strerror(rc));
  printf("unlock as it is: %d", pthread_mutex_unlock(&robust));
  printf(" then: %s\n", strerror(pthread_mutex_lock(&robust)));
  printf("handed on: %d, %s\n", handed, strerror(pthread_mutex_trylock(&robust_waited)));
}

void kinds_of_mutexes() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &attributes);
  printf("recursive: %d", pthread_mutex_lock(&mutex));
  printf(" %d\n", pthread_mutex_lock(&mutex));
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_t checking;
  pthread_mutex_init(&checking, &attributes);
  pthread_mutex_lock(&checking);
  printf("checking: %s\n", strerror(pthread_mutex_lock(&checking)));
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void* m) -> void* {
        timespec deadline;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_nsec += 2'000'000;
        deadline.tv_sec += deadline.tv_nsec / 1'000'000'000;
        deadline.tv_nsec %= 1'000'000'000;
        printf("timed: %s",
               strerror(pthread_mutex_timedlock(static_cast<pthread_mutex_t*>(m), &deadline)));
        clock_gettime(CLOCK_MONOTONIC, &deadline);
        deadline.tv_sec -= 1;
        printf(", past: %s\n", strerror(pthread_mutex_clocklock(static_cast<pthread_mutex_t*>(m),
                                                                CLOCK_MONOTONIC, &deadline)));
        return nullptr;
      },
      &checking);
  pthread_join(thread, nullptr);
}

void* uses_little(void* argument) {
  // Calls of every entry: PLT, trapped, vDSO, time stamp.
  char byte = 0;
  timespec now;
  int p[2];
  (void)!pipe(p);
  (void)!write(p[1], "s", 1);
  (void)!read(p[0], &byte, 1);
  close(p[0]);
  close(p[1]);
  clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t stamp = __builtin_ia32_rdtsc();
  usleep(100);
  const bool moved = __builtin_ia32_rdtsc() > stamp;
  return reinterpret_cast<void*>(static_cast<long>(byte == 's' && moved) +
                                 *static_cast<int*>(argument));
}

void small_stacks() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  printf("stack size: %d\n", pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN));
  int base = 10;
  long sum = 0;
  pthread_t threads[20];
  for (pthread_t& thread : threads) {
    pthread_create(&thread, &attributes, uses_little, &base);
  }
  for (pthread_t thread : threads) {
    void* result = nullptr;
    pthread_join(thread, &result);
    sum += reinterpret_cast<long>(result);
  }
  printf("small stacks: %ld\n", sum);
  void* own = mmap(nullptr, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  printf("own stack: %d", pthread_attr_setstack(&attributes, own, 16384));
  pthread_create(&threads[0], &attributes, uses_little, &base);
  void* result = nullptr;
  pthread_join(threads[0], &result);
  printf(" %ld\n", reinterpret_cast<long>(result));
}

void cancelled() {
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        sleep(1000);
        return nullptr;
      },
      nullptr);
  usleep(1000);
  pthread_cancel(thread);
  void* result = nullptr;
  pthread_join(thread, &result);
  printf("cancelled: %d\n", result == PTHREAD_CANCELED);
}

void specific() {
  static pthread_key_t key;
  static int destroyed = 0;
  pthread_key_create(&key, [](void*) { destroyed++; });
  pthread_t threads[4];
  for (pthread_t& thread : threads) {
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          static pthread_once_t once = PTHREAD_ONCE_INIT;
          pthread_once(&once, [] { printf("once\n"); });
          pthread_setspecific(key, &key);
          sched_yield();
          return nullptr;
        },
        nullptr);
  }
  for (pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  printf("destroyed: %d\n", destroyed);
  pthread_t detached;
  pthread_create(
      &detached, nullptr, [](void*) -> void* { return nullptr; }, nullptr);
  pthread_detach(detached);
  usleep(2000);
}

}  // namespace

int main() {
  robust_mutexes();
  kinds_of_mutexes();
  small_stacks();
  cancelled();
  specific();
  return 0;
}
