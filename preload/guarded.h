// SPDX-License-Identifier: Apache-2.0
// The application's memory, which may be anything: unmapped, protected, a file that has become
// shorter. Every pointer that the application gives to a call is read and written through these
// functions; none of them crashes, and what the kernel would answer (EFAULT, or a short count) can
// be answered. Runs in the application with the token held (and in the tests of preload/net).
// SIGNAL-SAFE. No libc, no system calls.
//
// How handlers use it, in the kernel's order:
//   1. structures come in whole, into a copy of the shim's own, before anything is done:
//        struct itimerspec wanted;
//        if (!get_in(&wanted, at(a[2]))) return -EFAULT;
//      Then nobody can change them between the check and the use either.
//   2. work on the copy;
//   3. results go out whole: `return put_out(at(a[3]), old) ? 0 : -EFAULT;`
//      Where the kernel has done its work by then, so have we: a timer is set although its old
//      value could not be written.
//   4. streams and rings move on only by what has been copied: copy first, then take. Bytes that
//      could not be copied are still there at the next call.
//   A pointer that may be null is asked for null by the caller: to these functions null is a bad
//   address like others.
// Pointers that only the kernel follows (raw calls on files) need nothing: it answers EFAULT
// itself. What a secondary copies out of the log instead goes through copy_out.
//
// Both sides of a copy are guarded, so a wrong pointer of the shim's own shows as EFAULT too.
// Measured by bench-guarded on an AMD EPYC (family 26, model 2, a virtual machine): without a fault
// 16 bytes cost 1.2 ns, by memcpy 1.7; with one, 25 us (two signals), where any page fault
// takes 14.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <ucontext.h>

extern "C" {
#define FTRUN_GUARDED(type) __attribute__((visibility("hidden"))) type
FTRUN_GUARDED(size_t) ftrun_guarded_copy(void* to, const void* from, size_t n);
FTRUN_GUARDED(size_t) ftrun_guarded_clear(void* to, size_t n);
FTRUN_GUARDED(long) ftrun_guarded_string(char* to, const char* from, size_t n);
FTRUN_GUARDED(long) ftrun_guarded_exchange(uint32_t* word, uint32_t* expected, uint32_t desired);
#undef FTRUN_GUARDED
}

namespace ftrun::shim {

// How many of the `bytes` were copied: fewer where the next byte cannot be read or written. Exact
// to the byte, as the kernel's copies are.
[[nodiscard]] inline size_t copy_in(void* to, const void* application, size_t bytes) {
  return bytes - ftrun_guarded_copy(to, application, bytes);
}
[[nodiscard]] inline size_t copy_out(void* application, const void* from, size_t bytes) {
  return bytes - ftrun_guarded_copy(application, from, bytes);
}

// One value (a structure, an integer) whole. False: EFAULT; `*to` is then undefined, and of what is
// at `application` a first part may have been written.
template <typename T>
[[nodiscard]] inline bool get_in(T* to, const void* application) {
  static_assert(__is_trivially_copyable(T));
  return ftrun_guarded_copy(to, application, sizeof(T)) == 0;
}
template <typename T>
[[nodiscard]] inline bool put_out(void* application, const T& value) {
  static_assert(__is_trivially_copyable(T));
  return ftrun_guarded_copy(application, &value, sizeof(T)) == 0;
}

// How many bytes were set to zero.
[[nodiscard]] inline size_t clear_out(void* application, size_t bytes) {
  return bytes - ftrun_guarded_clear(application, bytes);
}

// A string and its final NUL. Returns its length without the NUL; -EFAULT; or `capacity` if it has
// none within so many bytes (then `to` is not terminated): -ENAMETOOLONG for a path.
[[nodiscard]] inline long string_in(char* to, const char* application, size_t capacity) {
  return ftrun_guarded_string(to, application, capacity);
}

// Atomically: if the word is `*expected`, it becomes `desired`, and the result is 1; else 0, and
// `*expected` is what the word is. -EFAULT.
[[nodiscard]] inline long exchange_word(uint32_t* application, uint32_t* expected,
                                        uint32_t desired) {
  return ftrun_guarded_exchange(application, expected, desired);
}

// An array of buffers into the `to` of the shim. 0; -EINVAL for a count that no call takes, a
// negative length; -EFAULT. What the buffers point at is not looked at.
inline constexpr int kIovecCountMax = 1024;  // UIO_MAXIOV
[[nodiscard]] long iovecs_in(struct iovec (&to)[kIovecCountMax], const void* application,
                             long count);

// For the handler of SIGSEGV and SIGBUS, first of all: if the fault at `registers` is one of the
// functions above, makes them continue at its end, and says so.
// REQUIRES: the kernel raised the signal (si_code > 0). These two are never blocked in the kernel's
// mask: a fault whose signal is blocked kills the process.
bool leave_guarded(greg_t* registers);

}  // namespace ftrun::shim
