// SPDX-License-Identifier: Apache-2.0
// Runs a program under ptrace and prints the names of the system calls that it makes and that the
// table of system calls has a handler for, one a line: what the tests of the table have tried. With
// --all it prints all names that have a handler. Runs in the tests only; Linux 5.3 or later.
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>
#include <string>

#include "preload/newer_calls.h"

namespace {

const std::map<long, std::string>& handled() {
  static const std::map<long, std::string> names = {
#define FTRUN_DENIED(name, error, why)
#define FTRUN_SYSCALL(name, call_class, handler) {__NR_##name, #name},
#include "preload/table.def"
#undef FTRUN_SYSCALL
  };
  return names;
}

void print(const std::set<long>& numbers) {
  for (const auto& [number, name] : handled()) {
    if (numbers.contains(number)) {
      printf("%s\n", name.c_str());
    }
  }
}

[[noreturn]] void run(char** arguments) {
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  raise(SIGSTOP);
  // Its words are not what is asked for here.
  dup2(STDERR_FILENO, STDOUT_FILENO);
  execv(arguments[0], arguments);
  _exit(127);
}

constexpr int kSystemCallStop = SIGTRAP | 0x80;

// The signal that the stopped thread is to get.
int after_stop(pid_t thread, int status, std::set<long>* numbers) {
  const int signal = WSTOPSIG(status);
  if (signal == kSystemCallStop) {
    __ptrace_syscall_info info = {};
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(info), &info) > 0 &&
        info.op == PTRACE_SYSCALL_INFO_ENTRY) {
      numbers->insert(static_cast<long>(info.entry.nr));
    }
    return 0;
  }
  const bool is_event = status >> 16 != 0;
  return is_event || signal == SIGSTOP ? 0 : signal;  // new threads start with a stop
}

std::set<long> census(char** arguments) {
  const pid_t child = fork();
  if (child == 0) {
    run(arguments);
  }
  std::set<long> numbers;
  int status = 0;
  waitpid(child, &status, 0);
  ptrace(PTRACE_SETOPTIONS, child, nullptr,
         PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
             PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
  ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
  for (;;) {
    const pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0) {
      return numbers;  // nobody is left
    }
    if (WIFSTOPPED(status)) {
      const long signal = after_stop(thread, status, &numbers);
      ptrace(PTRACE_SYSCALL, thread, nullptr, signal);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--all") == 0) {
    std::set<long> numbers;
    for (const auto& [number, name] : handled()) {
      numbers.insert(number);
    }
    print(numbers);
    return 0;
  }
  if (argc < 2) {
    fprintf(stderr, "usage: %s --all | PROGRAM [ARGUMENT...]\n", argv[0]);
    return 2;
  }
  print(census(argv + 1));
  return 0;
}
