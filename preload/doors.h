// SPDX-License-Identifier: Apache-2.0
// The doors: the only place in the shim where primary and secondary differ. The primary lets
// something in and writes it down (log_writer.h); a secondary takes it from the log (log_reader.h).
// Everything else in preload/ is the same deterministic code in every replica. There are four:
// arrivals, which enter at ingest points; choices; time; and turns of threads.
// Runs in the application, by the token's holder, on the shim's stack. No libc.
#pragma once

#include "eventlog/output.h"
#include "eventlog/records.h"
#include "eventlog/shared_region.h"
#include "preload/failure.h"
#include "preload/raw.h"
#include "preload/thread.h"

namespace ftrun::shim {

// Attaches to the mapped region and opens the log: writes or expects the start record.
void doors_init(Control* control);
Control* doors_control();
bool doors_are_live();  // this replica is the primary now
// Which time it is that it has become so; 0: it is not.
uint64_t doors_live_period();
// Whether the next record, which must come here, is this replica's to write: it is live, or goes so
// now, since the log ends here. A secondary waits until it knows.
bool doors_decide();

// Advances the call counter of the calling thread, and ends the turn if it is due here. First thing
// in every intercepted call.
void doors_enter_call(Thread* thread, long number);

// Between two choices of one call: ends the turn if it is due, so that a call of many choices
// cannot fill the log ring. The token stays here. A secondary may go live in it: the rest of the
// call is then its own.
void doors_between_parts(long number);

// Reads that have no record: an ingest point (env.h) and the clock.
int64_t doors_clock_ns();

// Nothing can run: ends the turn and waits until something arrives or `deadline_ns` (earliest of
// all, or kNoDeadline) has passed; applies what arrived. Returns the new virtual time.
int64_t doors_idle(int64_t deadline_ns);

// The two sides of a choice: the primary writes down what its call gave (`length` bytes at
// `payload` belong to it), a secondary gets that instead of a call (at most `capacity` bytes).
// `number` names the choice: that of the system call. Both return the result.
long doors_log_choice(long number, long result, const void* payload, size_t length);
long doors_replay_choice(long number, void* payload, size_t capacity);

// A secondary: the result of the choice that stands here in the log, which stays there.
long doors_peek_choice(long number);

// A choice, then the deed: the primary's `function()` is both, and puts `size` bytes at `payload`
// unless it fails; a replica that has all this from the log makes up for the deed with
// `follow(result)`, unless the call failed, so that its own kernel has what the primary's has.
// ORDER: how the choice came decides who acts, not a question before or after it: a replica may go
// live at this very choice, and would then do nothing, or everything twice.
// PERF: inline down to the system call. After one the processor predicts no return address (the
// kernel's mitigations use up the return stack): each return on the way back costs some ns.
template <typename F, typename G>
inline long choose_and_follow(long number, void* payload, size_t size, F&& function, G&& follow) {
  if (doors_decide()) {
    const long result = function();
    return doors_log_choice(number, result, payload, is_error(result) ? 0 : size);
  }
  const long result = doors_replay_choice(number, payload, size);
  if (!is_error(result)) {
    follow(result);
  }
  return result;
}
// The same without a payload.
template <typename F, typename G>
inline long choose_and_follow(long number, F&& function, G&& follow) {
  return choose_and_follow(number, nullptr, 0, static_cast<F&&>(function),
                           static_cast<G&&>(follow));
}
// The same where the result says how many bytes there are. `capacity` 0: they are not logged.
template <typename F, typename G>
inline long choose_counted_and_follow(long number, void* payload, size_t capacity, F&& function,
                                      G&& follow) {
  if (doors_decide()) {
    const long result = function();
    return doors_log_choice(number, result, payload,
                            result > 0 && capacity != 0 ? static_cast<size_t>(result) : 0);
  }
  const long result = doors_replay_choice(number, payload, capacity);
  if (!is_error(result)) {
    follow(result);
  }
  return result;
}

// A choice that leaves nothing behind in the kernel: the three forms as above.
template <typename F>
inline long choose(long number, void* payload, size_t size, F&& function) {
  return choose_and_follow(number, payload, size, static_cast<F&&>(function), [](long) {});
}
template <typename F>
inline long choose(long number, F&& function) {
  return choose(number, nullptr, 0, static_cast<F&&>(function));
}
template <typename F>
inline long choose_counted(long number, void* payload, size_t capacity, F&& function) {
  return choose_counted_and_follow(number, payload, capacity, static_cast<F&&>(function),
                                   [](long) {});
}

// What is written between these is one answer: nobody sees a part of it.
void doors_begin_answer();
void doors_end_answer();

// A choice whose bytes may be more than one record carries: further records carry the rest, all
// in one turn, since they are one answer. REQUIRES: `payload` is small beside the log ring.
template <typename F>
inline long choose_long(long number, void* payload, F&& function) {
  constexpr auto kPartBytesMax = static_cast<long>(kChoicePayloadBytesMax);
  auto* bytes = static_cast<uint8_t*>(payload);
  doors_begin_answer();
  const long total = choose(number, static_cast<F&&>(function));
  for (long done = 0; done < total;) {
    const long left = total - done;
    const long part = left < kPartBytesMax ? left : kPartBytesMax;
    choose(number, bytes + done, static_cast<size_t>(part), [&] { return part; });
    done += part;
  }
  doors_end_answer();
  return total;
}

// A result of up to `size` bytes at `out`, which may be more than one record carries: taken in
// parts. `part(to, bytes)` makes a choice of `bytes` bytes at most. Ends with the first part that
// is short.
template <typename F>
inline long in_parts(long number, void* out, size_t size, F&& part) {
  auto* to = static_cast<uint8_t*>(out);
  size_t done = 0;
  for (;;) {
    const size_t left = size - done;
    const size_t bytes = left < kChoicePayloadBytesMax ? left : kChoicePayloadBytesMax;
    const long result = part(to + done, bytes);
    if (result < 0) {
      return done != 0 ? static_cast<long>(done) : result;
    }
    done += static_cast<size_t>(result);
    if (static_cast<size_t>(result) < bytes || done == size) {
      return static_cast<long>(done);
    }
    doors_between_parts(number);
  }
}

// How far this replica has written its own log; and whether the log up to there has been taken by
// whoever passes it on, so that it survives this process.
uint64_t doors_log_written();
bool doors_log_is_taken(uint64_t position);

// The token goes to the thread with this index: written by the primary, checked by a secondary.
void doors_switch(uint32_t thread_index);

// The process ends by itself: its connections are closed, last record, last mark; all visible to
// the supervisor on return.
void doors_exit(int status);

}  // namespace ftrun::shim
