// SPDX-License-Identifier: Apache-2.0
// An ordinary program: mutexes, conditions with time-outs, barriers, read-write locks, semaphores,
// thread-local storage, many short threads, exit of the main thread's peers.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

namespace {

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t ready = PTHREAD_COND_INITIALIZER;
pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
pthread_barrier_t barrier;
sem_t semaphore;
long total = 0;
thread_local long mine = 0;
int stage = 0;

void* add(void* argument) {
  for (int i = 0; i < 1000; ++i) {
    pthread_mutex_lock(&lock);
    total += reinterpret_cast<long>(argument);
    pthread_mutex_unlock(&lock);
    mine++;
    if (i % 100 == 0) {
      usleep(10);
    }
  }
  pthread_barrier_wait(&barrier);
  sem_post(&semaphore);
  return reinterpret_cast<void*>(mine);
}

void* follow(void*) {
  pthread_mutex_lock(&lock);
  while (stage != 1) {
    pthread_cond_wait(&ready, &lock);
  }
  stage = 2;
  pthread_cond_broadcast(&ready);
  pthread_mutex_unlock(&lock);
  pthread_rwlock_rdlock(&shared);
  pthread_rwlock_unlock(&shared);
  return nullptr;
}

void* nothing(void* argument) {
  return argument;
}

void* outlive(void* thread) {
  void* result = nullptr;
  const int rc = pthread_join(*static_cast<pthread_t*>(thread), &result);
  printf("the first thread: %d %ld\n", rc, reinterpret_cast<long>(result));
  exit(3);
}

}  // namespace

int main() {
  constexpr int kThreads = 8;
  pthread_t threads[kThreads];
  pthread_barrier_init(&barrier, nullptr, kThreads);
  sem_init(&semaphore, 0, 0);
  for (long i = 0; i < kThreads; ++i) {
    pthread_create(&threads[i], nullptr, add, reinterpret_cast<void*>(i + 1));
  }
  for (int i = 0; i < kThreads; ++i) {
    sem_wait(&semaphore);
  }
  long own = 0;
  for (pthread_t thread : threads) {
    void* result = nullptr;
    pthread_join(thread, &result);
    own += reinterpret_cast<long>(result);
  }
  printf("total %ld, thread-local %ld\n", total, own);

  pthread_t follower;
  pthread_create(&follower, nullptr, follow, nullptr);
  pthread_mutex_lock(&lock);
  stage = 1;
  pthread_cond_broadcast(&ready);
  while (stage != 2) {
    pthread_cond_wait(&ready, &lock);
  }
  timespec deadline;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_nsec += 5'000'000;
  if (deadline.tv_nsec >= 1'000'000'000) {
    deadline.tv_nsec -= 1'000'000'000;
    deadline.tv_sec++;
  }
  const int rc = pthread_cond_timedwait(&ready, &lock, &deadline);
  pthread_mutex_unlock(&lock);
  pthread_join(follower, nullptr);
  printf("timed wait: %s\n", strerror(rc));

  long joined = 0;
  for (long i = 0; i < 200; ++i) {
    pthread_t thread;
    void* result = nullptr;
    pthread_create(&thread, nullptr, nothing, reinterpret_cast<void*>(i));
    pthread_join(thread, &result);
    joined += reinterpret_cast<long>(result);
  }
  printf("joined %ld\n", joined);

  // The first thread ends before the others.
  pthread_t main_thread = pthread_self();
  pthread_t last;
  pthread_create(&last, nullptr, outlive, &main_thread);
  pthread_exit(reinterpret_cast<void*>(42));
}
