// SPDX-License-Identifier: Apache-2.0
// The doors: the only place in the shim where primary and secondary differ. The primary lets
// something in and writes it down; a secondary takes it from the log. Everything else in preload/
// is the same deterministic code in every replica.
// Runs in the application, by the token's holder, on the shim's stack. No libc.
#pragma once

#include "eventlog/output.h"
#include "eventlog/records.h"
#include "eventlog/shared_region.h"
#include "preload/failure.h"
#include "preload/thread.h"

namespace ftrun::shim {

// Attaches to the mapped region and opens the log: writes or expects the start record.
void doors_init(Control* control);
Control* doors_control();
bool doors_are_live();  // this replica is the primary now

// Advances the call counter of the calling thread, and ends the turn if it is due here. First thing
// in every intercepted call.
void doors_enter_call(Thread* thread, long number);

// Reads that have no record: an ingest point (env.h) and the clock.
int64_t doors_clock_ns();

// Nothing can run: ends the turn and waits until something arrives or `deadline_ns` (earliest of
// all, or kNoDeadline) has passed; applies what arrived. Returns the new virtual time.
int64_t doors_idle(int64_t deadline_ns);

// A choice. The primary calls `function(context, payload, capacity, &length)`, whose result and
// `length` payload bytes are logged; a secondary gets the same result and payload without the call.
// `number` identifies the choice (a system call, or one of kChoice… below). Returns the result.
using ChoiceFunction = long (*)(void* context, uint8_t* payload, size_t capacity, size_t* length);
long doors_choose(long number, ChoiceFunction function, void* context, uint8_t* payload,
                  size_t capacity, size_t* length);
// Same with a lambda and a payload of fixed size, or none.
template <typename F>
inline long choose(long number, void* payload, size_t size, F&& function) {
  struct Context {
    F* function;
    size_t size;
  } context{&function, size};
  size_t length = 0;
  return doors_choose(
      number,
      [](void* c, uint8_t*, size_t, size_t* out_length) -> long {
        auto* ctx = static_cast<Context*>(c);
        const long result = (*ctx->function)();
        *out_length = result < 0 && result > -4096 ? 0 : ctx->size;
        return result;
      },
      &context, static_cast<uint8_t*>(payload), size, &length);
}
template <typename F>
inline long choose(long number, F&& function) {
  return choose(number, nullptr, 0, static_cast<F&&>(function));
}

// The token goes to the thread with this index: written by the primary, checked by a secondary.
void doors_switch(uint32_t thread_index);

// The process ends by itself: last record, last mark; both visible to the supervisor on return.
void doors_exit(int status);

}  // namespace ftrun::shim
