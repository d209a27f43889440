// SPDX-License-Identifier: Apache-2.0
// Micro-benchmarks of what preload/guarded.h and the stubs of preload/entry.S cost, beside what
// would do without them. An ordinary process; run it as `bench-guarded`.
#include <benchmark/benchmark.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "preload/guarded.h"

extern "C" {
void bench_nothing();
void bench_forget();
}

namespace ftrun::shim {
namespace {

constexpr size_t kBytes = 16;
char from[kBytes], to[kBytes];

// Not inlined, as the guarded copy is not.
void* (*volatile plain_copy)(void*, const void*, size_t) = &std::memcpy;
void memcpy_16(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(plain_copy(to, from, kBytes));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(memcpy_16);

size_t (*volatile guarded_copy)(void*, const void*, size_t) = &ftrun_guarded_copy;
void guarded_16(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(guarded_copy(to, from, kBytes));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(guarded_16);

void leave(int, siginfo_t*, void* context) {
  if (!leave_guarded(static_cast<ucontext_t*>(context)->uc_mcontext.gregs)) {
    abort();
  }
}

void* forbidden_page() {
  void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    abort();
  }
  return page;
}

// The quick copy faults, and the careful one after it: two signals.
void guarded_fault(benchmark::State& state) {
  struct sigaction action {};
  action.sa_sigaction = &leave;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  const void* page = forbidden_page();
  for (auto _ : state) {
    benchmark::DoNotOptimize(copy_in(to, page, kBytes));
  }
}
BENCHMARK(guarded_fault);

void process_vm_readv_16(benchmark::State& state) {
  iovec here = {to, kBytes};
  iovec there = {from, kBytes};
  const pid_t self = getpid();
  for (auto _ : state) {
    benchmark::DoNotOptimize(process_vm_readv(self, &here, 1, &there, 1, 0));
  }
}
BENCHMARK(process_vm_readv_16);

void call_of_nothing(benchmark::State& state) {
  for (auto _ : state) {
    bench_nothing();
  }
}
BENCHMARK(call_of_nothing);

void call_that_forgets(benchmark::State& state) {
  for (auto _ : state) {
    bench_forget();
  }
}
BENCHMARK(call_that_forgets);

}  // namespace
}  // namespace ftrun::shim

BENCHMARK_MAIN();
