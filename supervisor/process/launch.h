// SPDX-License-Identifier: Apache-2.0
// Starts one application under the shim, in a PID namespace of its own: a minimal init (init.h) is
// pid 1, the application is pid 2. Everything that a process inherits and that no log could carry
// is pinned here: address layout, AT_RANDOM, environment, descriptors, limits, umask, signal state.
// Runs in the supervisor, on its main thread (PDEATHSIG follows the thread), before it has started
// any other thread: the init is a plain copy of the calling process and never execs.
//
//   supervisor --clone3(NEWPID[|NEWUSER][|NEWNS])--> init (pid 1) --clone--> application (pid 2)
//
// The application dies with the init, the init dies with the supervisor (PDEATHSIG) or when
// somebody kills it; killing `Application::init` is how a whole replica's processes are ended.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/shared_region.h"
#include "supervisor/base/result.h"

namespace ftrun::process {

// An owned descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release();
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// One directory of the application's view that is another one in truth (state_dirs.h).
struct Mount {
  std::string source;  // the replica's own copy
  std::string target;  // what the application calls it
};

using Limits = std::array<rlimit, RLIM_NLIMITS>;

// What a process inherits; recorded at the supervisor's start, before it changes any of it.
struct Inheritance {
  std::vector<std::string> environment;  // "NAME=value" as received
  std::string directory;                 // absolute
  Limits limits{};
  mode_t mask = 022;
};
// REQUIRES: one thread (it reads the umask by setting it).
Result<Inheritance> record_inheritance();

struct LaunchPlan {
  std::string path;                    // what execve is given (program_check.h: find_program)
  std::vector<std::string> arguments;  // argv; the first is the name as the operator wrote it
  std::string preload_path;            // libftpreload.so, absolute
  Inheritance inheritance;             // environment without the shim's additions
  std::vector<Mount> mounts;           // state directories
  bool filter = true;                  // with the second wall (call_wall.h)
  int region_fd = -1;                  // the memfd of eventlog/shared_region.h; stays the caller's
  int doorbell_fd = -1;                // the supervisor's eventfd; stays the caller's
  // The mapped control page: at_random is read, doorbell_fd is written (the number that the
  // application will see), before the application runs.
  Control* control = nullptr;
};

struct Application {
  Descriptor init;          // pidfd of the init: readable when init (and so everything) is gone
  Descriptor application;   // pidfd of the application
  Descriptor early_output;  // what loader and shim said before the shim was up (early_words)
  Descriptor status;        // status events (below): readable when there is one; non-blocking
  pid_t init_pid = -1;      // both as the caller's PID namespace counts
  pid_t application_pid = -1;
  // Not 0: why the application sees the host's /proc and not that of its own PID namespace.
  int proc_error = 0;
};

// Returns when the application stands at its first instruction (ld.so's), a few milliseconds; waits
// at most kLaunchDeadlineMs. On failure nothing is left running and the error names the step.
// REQUIRES: the calling thread outlives the application; `plan.control` is mapped.
Result<Application> launch(const LaunchPlan& plan);
inline constexpr int kLaunchDeadlineMs = 10'000;

// Kills the init, and with it the application, and waits until both are gone. Does nothing when
// that was done before. REQUIRES: the caller launched it (the init is its child).
void end(Application* application);

enum class StatusKind : uint32_t {
  kStopped = 1,    // the application was stopped by signal `value` (SIGSTOP, SIGTSTP, ...)
  kContinued = 2,  // and goes on
  kExited = 3,     // it ended: `value` is the wait status as waitpid gives it; the last event
};
struct StatusEvent {
  StatusKind kind;
  int value;
};
// The next event, or nothing when there is none now. An Error means that the init is gone without
// saying how the application ended (it was killed), or that it spoke nonsense.
Result<std::optional<StatusEvent>> read_status(int status_fd);

// What the application's loader and shim have written to standard output and error before the shim
// was up ("error while loading shared libraries: ..."); the first kEarlyWordsBytesMax bytes.
std::string early_words(const Application& application);
inline constexpr size_t kEarlyWordsBytesMax = 2048;

// "exit code 1", "signal 11 (Segmentation fault)" for a wait status.
std::string describe_wait_status(int status);
// The exit status that stands for it: the code, or 128 + signal.
int exit_status_of(int wait_status);

// The number at which the application finds its doorbell, and the descriptor limits that keep the
// number out of its reach: both limits are capped at it (the shim's table has as many entries).
inline constexpr int kDoorbellFdMax = 65535;
int doorbell_number(const rlimit& descriptors);
rlimit application_descriptor_limits(const rlimit& descriptors);

}  // namespace ftrun::process
