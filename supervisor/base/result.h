// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value, or an Error that says in one line what failed and why. Used by supervisor,
// launcher and tools for trouble that comes from the environment; broken invariants are assertions
// (FTRUN_ASSERT below, on in release as well). Never used in the shim: it allocates.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace ftrun {

struct [[nodiscard]] Error {
  std::string message;  // complete, without a final newline; names the object concerned
  int number = 0;       // errno, or 0 where none applies
};

// Which limit it is that has been reached, where the errno says so.
inline const char* limit_hint(int number) {
  return number == EFBIG    ? " (the limit of file sizes: see ulimit -f)"
         : number == ENOMEM ? " (see ulimit -v, and memory.max of the cgroup)"
         : number == EMFILE ? " (the limit of open files: see ulimit -n)"
                            : "";
}
// The same for what makes a process or thread.
inline const char* process_hint(int number) {
  return number == EAGAIN
             ? " (the limit of processes is reached: see ulimit -u, and pids.max of the cgroup)"
             : limit_hint(number);
}

// An Error for a failed system call: "`what`: <text of `number`>", and the limit.
inline Error system_error(const std::string& what, int number) {
  return Error{what + ": " + std::strerror(number) + limit_hint(number), number};
}
inline Error fork_error(const std::string& what, int number) {
  return Error{what + ": " + std::strerror(number) + process_hint(number), number};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit
  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // REQUIRES: ok().
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  // REQUIRES: !ok().
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}  // NOLINT: implicit
  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return error_; }

 private:
  bool failed_ = false;
  Error error_;
};

}  // namespace ftrun

// Returns the error of `expression` (a Result) from the enclosing function, if it has one.
#define FTRUN_TRY(expression)               \
  do {                                      \
    auto&& ftrun_try_result = (expression); \
    if (!ftrun_try_result.ok()) {           \
      return ftrun_try_result.error();      \
    }                                       \
  } while (0)

// A broken invariant: says where, and aborts. On in every build.
#define FTRUN_ASSERT(condition)                                                              \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: assertion failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (0)
