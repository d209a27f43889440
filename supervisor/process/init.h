// SPDX-License-Identifier: Apache-2.0
// The far side of a launch: the init (pid 1 of the application's namespace) and, inside it, the
// steps from its child's birth to execve. Runs in a copy of the supervisor's process made by
// clone3: no allocation, no stdio, no exceptions, no locks there; everything is prepared in
// InitPlan before.
//
// The init reaps orphans, forwards nothing, reports how the application fares, and ends with it. A
// process that were pid 1 itself would be another program: abort() would be reported as signal 11,
// raise(SIGTERM) would do nothing, and a daemonizing parent would take its child along.
//
// Messages travel over a SOCK_SEQPACKET pair to the supervisor, one struct each.
#pragma once

#include <linux/filter.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace ftrun::process {

enum class InitMessageKind : uint32_t {
  kHello = 1,    // from the application before exec: its credentials carry its pid
  kRunning = 2,  // from the init: exec done, AT_RANDOM overwritten, application let go
  kFailed = 3,   // from either: `step` failed with errno `value`; nothing will run
  kStopped = 4,  // as StatusKind
  kContinued = 5,
  kExited = 6,
  kHostProc = 7,  // from the init, first: the application sees the host's /proc; errno `value`
};

enum class InitStep : uint32_t {
  kNone = 0,
  kMapUser,      // /proc/self/{uid_map,setgroups,gid_map}
  kPrivateTree,  // making the mount namespace private
  kMount,        // `detail` is the index of the mount
  kReadOnly,     // all other mounts
  kLifeline,     // PDEATHSIG; or the supervisor is gone already
  kFork,
  kTraceMe,
  kSession,
  kDescriptors,
  kLimits,  // `detail` is the resource
  kDirectory,
  kPersonality,
  kExec,
  kPatch,       // walking the stack at the exec stop
  kSecureExec,  // AT_SECURE: the loader would ignore LD_PRELOAD
  kDiedEarly,   // the application died before exec; `value` is its wait status
  kStaticExec,  // no loader that could preload the shim
  kWall,        // the filter of system calls
};

inline constexpr uint32_t kInitMessageVersion = 0x46540001;  // "FT", version 1

struct InitMessage {
  uint32_t version = kInitMessageVersion;
  InitMessageKind kind = InitMessageKind::kFailed;
  InitStep step = InitStep::kNone;
  int32_t value = 0;
  int32_t detail = 0;
};
static_assert(sizeof(InitMessage) == 20);

struct InitMount {
  const char* source;
  const char* target;
};

// Pointers are borrowed from the supervisor's memory, of which the init is a copy.
struct InitPlan {
  const char* path = nullptr;
  char* const* arguments = nullptr;
  char* const* environment = nullptr;
  const char* directory = nullptr;
  const InitMount* mounts = nullptr;
  size_t mount_count = 0;
  const char* uid_map = nullptr;  // contents for /proc/self/uid_map; nullptr: no user namespace
  const char* gid_map = nullptr;
  const rlimit* limits = nullptr;   // RLIM_NLIMITS of them, as the application gets them
  rlim_t descriptors_hard_max = 0;  // the caller's hard limit, used while placing descriptors
  mode_t mask = 022;
  const sock_fprog* wall = nullptr;  // call_wall.h; nullptr: none
  int status_fd = -1;                // the init's end of the pair
  int supervisor_fd = -1;            // pidfd of the supervisor
  int region_fd = -1;
  int doorbell_fd = -1;
  int early_output_fd = -1;  // standard output and error until the shim virtualizes them
  int doorbell_number = -1;  // the region goes to the number below, too
  uint8_t at_random[16] = {};
};

// The whole life of the init. REQUIRES: called right after clone3 in the child.
[[noreturn]] void run_init(const InitPlan& plan);

// Runs the steps from birth to execve in the application's process (init_child.cc).
[[noreturn]] void become_application(const InitPlan& plan);

// Sends one message; a supervisor that is gone is not an error here (the lifeline ends us).
void send_init_message(int status_fd, const InitMessage& message);

}  // namespace ftrun::process
