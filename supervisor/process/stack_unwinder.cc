// SPDX-License-Identifier: Apache-2.0
// See stack_unwinder.h. Runs in a process of its own, a copy of the supervisor.
//
// ORDER: all threads are stopped, then their return addresses are collected, then all are let go,
// and only then names are looked up, which takes most of the time. When this process dies the
// kernel lets them go.
#include "supervisor/process/stack_unwinder.h"

#include <cxxabi.h>
#include <dirent.h>
#include <fmt/format.h>
#include <libunwind-ptrace.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "preload/layout.h"
#include "supervisor/process/call_stacks.h"

namespace ftrun::process {
namespace {

constexpr suseconds_t kLifeMicroseconds = 500'000;
constexpr size_t kThreadsMax = 64;
constexpr int kFramesMax = 64;

struct Frame {
  unw_word_t address;
  bool exact;  // where the thread stands; else the return address of a call
};

struct StoppedThread {
  pid_t tid;
  std::vector<Frame> frames;
  std::string problem;  // why there are no (more) frames
};

// The registers that unwinding starts from. libunwind's own accessors would read the thread's.
user_regs_struct start_registers;

int access_register(unw_addr_space_t, unw_regnum_t number, unw_word_t* value, int write, void*) {
  const user_regs_struct& r = start_registers;
  const unsigned long long values[] = {r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8,
                                       r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rip};
  static_assert(UNW_X86_64_RAX == 0 && UNW_X86_64_RIP == 16);
  if (write != 0 || number < 0 || number > UNW_X86_64_RIP) {
    return -UNW_EREADONLYREG;
  }
  *value = values[number];
  return 0;
}

// The gate has no unwind table and leaves the stack alone: its caller is where it would jump back.
void leave_gate() {
  user_regs_struct& r = start_registers;
  if (r.rip >= FTRUN_GATE_ADDRESS && r.rip < FTRUN_GATE_ADDRESS + FTRUN_GATE_BYTES) {
    r.rip = r.r12;
  }
}

void collect_frames(unw_addr_space_t space, StoppedThread* thread) {
  if (ptrace(PTRACE_GETREGS, thread->tid, nullptr, &start_registers) != 0) {
    thread->problem = "its registers cannot be read";
    return;
  }
  leave_gate();
  void* info = _UPT_create(thread->tid);
  unw_cursor_t cursor;
  int result = unw_init_remote(&cursor, space, info);
  bool exact = true;
  for (int i = 0; result >= 0 && i < kFramesMax; ++i) {
    unw_word_t address = 0;
    unw_get_reg(&cursor, UNW_REG_IP, &address);
    if (address == 0) {
      break;
    }
    thread->frames.push_back({address, exact});
    exact = unw_is_signal_frame(&cursor) > 0;
    result = unw_step(&cursor);
    if (result == 0) {
      break;
    }
  }
  if (result < 0) {
    thread->problem = fmt::format("the unwinder stops here: {}", unw_strerror(result));
  } else if (result > 0 && thread->frames.size() >= kFramesMax) {
    thread->problem = "more frames follow";
  }
  _UPT_destroy(info);
}

std::vector<StoppedThread> stop_threads(pid_t process) {
  std::vector<StoppedThread> threads;
  DIR* directory = opendir(fmt::format("/proc/{}/task", process).c_str());
  while (directory != nullptr && threads.size() < kThreadsMax) {
    const dirent* entry = readdir(directory);
    if (entry == nullptr) {
      break;
    }
    const pid_t tid = static_cast<pid_t>(std::atoi(entry->d_name));
    if (tid <= 0) {
      continue;
    }
    threads.push_back({tid, {}, {}});
    if (ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0 ||
        ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0) {
      threads.back().problem = system_error("ptrace", errno).message;
    }
  }
  if (directory != nullptr) {
    closedir(directory);
  }
  for (StoppedThread& thread : threads) {
    int status = 0;
    if (thread.problem.empty() &&
        (waitpid(thread.tid, &status, __WALL) != thread.tid || !WIFSTOPPED(status))) {
      thread.problem = "the thread is gone";
    }
  }
  return threads;
}

// --- names ---

struct Mapping {
  unsigned long begin, end, offset;
  std::string name;
};

std::vector<Mapping> read_mappings(pid_t process) {
  std::vector<Mapping> mappings;
  std::ifstream maps(fmt::format("/proc/{}/maps", process));
  for (std::string line; std::getline(maps, line);) {
    Mapping mapping{};
    int name = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %lx %*s %*s %n", &mapping.begin, &mapping.end,
                    &mapping.offset, &name) == 3) {
      mapping.name = line.substr(static_cast<size_t>(name));
      mapping.name.erase(0, mapping.name.rfind('/') + 1);
      mappings.push_back(std::move(mapping));
    }
  }
  return mappings;
}

std::string place_of(const std::vector<Mapping>& mappings, unsigned long address) {
  for (const Mapping& mapping : mappings) {
    if (address >= mapping.begin && address < mapping.end) {
      return fmt::format("{}+{:#x}", mapping.name.empty() ? "anonymous memory" : mapping.name,
                         address - mapping.begin + mapping.offset);
    }
  }
  return "unmapped memory";
}

std::string function_of(unw_addr_space_t space, void* info, unw_word_t address) {
  char name[512];
  unw_word_t offset = 0;
  const int result = _UPT_get_proc_name(space, address, name, sizeof name, &offset, info);
  if (result != 0 && result != -UNW_ENOMEM) {
    return "?";
  }
  int status = 0;
  char* readable = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  const std::string text = fmt::format("{}+{:#x}", status == 0 ? readable : name, offset);
  std::free(readable);
  return text;
}

std::string inner_tid(pid_t process, pid_t tid) {
  std::ifstream file(fmt::format("/proc/{}/task/{}/status", process, tid));
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("NSpid:")) {
      return line.substr(line.find_last_of(" \t") + 1);
    }
  }
  return "?";
}

std::string in_words(pid_t process, unw_addr_space_t space,
                     const std::vector<StoppedThread>& threads) {
  const std::vector<Mapping> mappings = read_mappings(process);
  std::string text;
  for (const StoppedThread& thread : threads) {
    text += fmt::format("thread {} (tid {} in its namespace):\n", thread.tid,
                        inner_tid(process, thread.tid));
    void* info = _UPT_create(thread.tid);
    for (size_t i = 0; i < thread.frames.size(); ++i) {
      const Frame& frame = thread.frames[i];
      // A return address may lie behind the end of a function that never returns.
      const unw_word_t inside = frame.exact ? frame.address : frame.address - 1;
      text += fmt::format("  #{:<2} {:#014x} {} ({})\n", i, frame.address,
                          function_of(space, info, inside), place_of(mappings, inside));
    }
    _UPT_destroy(info);
    if (!thread.problem.empty()) {
      text += "  (" + thread.problem + ")\n";
    }
  }
  if (threads.size() == kThreadsMax) {
    text += fmt::format("(only {} threads are shown)\n", kThreadsMax);
  }
  return text.substr(0, kStackTextBytesMax);
}

}  // namespace

void run_stack_unwinder(pid_t process, int output) {
  const auto number = static_cast<unsigned>(output);
  if (number > 0) {
    syscall(SYS_close_range, 0U, number - 1, 0);
  }
  syscall(SYS_close_range, number + 1, ~0U, 0);
  signal(SIGALRM, SIG_DFL);
  itimerval life{};
  life.it_value.tv_usec = kLifeMicroseconds;
  setitimer(ITIMER_REAL, &life, nullptr);
  unw_accessors_t accessors = _UPT_accessors;
  accessors.access_reg = access_register;
  unw_addr_space_t space = unw_create_addr_space(&accessors, 0);
  unw_set_caching_policy(space, UNW_CACHE_GLOBAL);
  std::vector<StoppedThread> threads = stop_threads(process);
  for (StoppedThread& thread : threads) {
    if (thread.problem.empty()) {
      collect_frames(space, &thread);
    }
  }
  for (const StoppedThread& thread : threads) {
    ptrace(PTRACE_DETACH, thread.tid, nullptr, nullptr);
  }
  const std::string text = in_words(process, space, threads);
  [[maybe_unused]] const ssize_t written = write(output, text.data(), text.size());
  _exit(0);
}

}  // namespace ftrun::process
