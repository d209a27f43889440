// SPDX-License-Identifier: Apache-2.0
// The memory that one application process shares with its supervisor: a control page and four
// rings, in one memfd. The supervisor creates it (supervisor/rings/region.h); the launcher hands it
// to the application as descriptor kRegionFd; the shim maps it at kRegionAddress and closes it.
// Layout and rings are versioned: both sides refuse another kRegionVersion.
//
// Who serves the rings: the application's own supervisor, or, while the application is the primary
// and the sender's supervisor runs on the same host, that one (supervisor/rings/primary_rings.h).
// The own supervisor is then the trailing consumer of all that goes in or out. Below, "the
// supervisor" is whoever serves the rings.
//
// ORDER (sleeping): a sleeper stores its `*_asleep` word, then a full fence, then looks at its
// rings once more, then sleeps. A waker publishes to the ring, then a full fence, then reads the
// word and wakes. One of the two always sees the other.
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include <atomic>

#include "eventlog/ring.h"

namespace ftrun {

inline constexpr uint64_t kRegionMagic = 0x314e4f4947455246;  // "FREGION1" little endian
inline constexpr uint32_t kRegionVersion = 8;

// The inherited descriptor of the memfd; the shim closes it once it is mapped. A second one stands
// at the number below the doorbell's, out of the application's reach, for the shim of an image that
// an exec starts.
inline constexpr int kRegionFd = 198;
// An application that is traced (PTRACE_TRACEME, just before an exec) tells its init by this signal
// that the exec has failed; one that succeeds stops by SIGTRAP.
inline constexpr int kExecFailedSignal = SIGILL;
// Where the shim maps the region in every application (ASLR is off; nothing else lives here).
inline constexpr uint64_t kRegionAddress = 0x100000000000;

enum class Role : uint32_t { kPrimary = 1, kSecondary = 2 };

// A primary is to become a secondary at the end of a turn. kAsked may be taken back.
enum class StepDown : uint32_t { kNo = 0, kAsked = 1, kDone = 2 };

// Why the shim stopped its process. kNone while it runs.
enum class ShimFailure : uint32_t {
  kNone = 0,
  kDiverged = 1,      // the replay met another record than the log has
  kCorruptInput = 3,  // a ring held bytes that do not decode
  kInternal = 4,      // an assertion of the shim
};

enum RingId : uint32_t {
  kRingInput = 0,   // supervisor -> application: arrivals (arrivals.h); used while primary
  kRingLogIn = 1,   // supervisor -> application: log records (records.h); used while secondary
  kRingLogOut = 2,  // application -> supervisor: log records; used while primary. Whole turns, or,
                    // with early logging, whole answers to the program
  kRingOutput = 3,  // application -> supervisor: output entries (output.h); in both roles
  kRingCount = 4,
};

inline constexpr size_t kRingBytes[kRingCount] = {2u << 20, 4u << 20, 4u << 20, 4u << 20};
inline constexpr size_t kControlBytes = 32768;
inline constexpr size_t kFailureTextBytes = 2048;
inline constexpr size_t kStateDirectoriesBytes = 4096;
inline constexpr size_t kPreloadEnvironmentBytes = 6144;
// Behind the rings: what the shim hands from one image to the next (preload/exec/carry.h).
inline constexpr size_t kCarriedBytes = 1 << 20;

struct Control {
  uint64_t magic;
  uint32_t version;
  uint32_t control_bytes;
  uint64_t ring_bytes[kRingCount];

  // Written by the supervisor before the application is started.
  std::atomic<Role> initial_role;
  // The application's end of the supervisor's doorbell (an eventfd), at a number above its limits.
  int32_t doorbell_fd;
  // 1: early logging: records are published as they are written, and replayed as they come. The
  // same in all replicas of a unit.
  uint32_t logs_early;
  // Stack-protector bytes for AT_RANDOM: equal in all replicas of a unit.
  uint8_t at_random[16];
  // Absolute paths of the state directories, each ended by a newline; NUL-terminated.
  char state_directories[kStateDirectoriesBytes];
  // What the shim needs in the environment of every image, each NAME=value ended by a NUL; one more
  // at the end.
  char preload_environment[kPreloadEnvironmentBytes];

  // Written by the supervisor while the application runs.
  // 1: when log_in is exhausted, continue as primary at that exact record.
  alignas(64) std::atomic<uint32_t> go_live;
  // 1: end the turn at the next intercepted call; the shim clears it.
  std::atomic<uint32_t> cut_requested;
  // ORDER: set by the supervisor once all that it has fed is published, and nothing is fed before
  // the answer; kDone is the shim's, when the last own turn is published: what was fed and stands
  // in no turn is void then.
  std::atomic<StepDown> step_down;
  // CLOCK_MONOTONIC in ns as last seen by the supervisor; 0 = not provided.
  std::atomic<uint64_t> coarse_now_ns;

  // Early logging. Points at which the primary may write a record but need not are counted, from 1,
  // in every replica alike. ORDER: the supervisor reads how far the primary is before the log, and
  // says so here after the log is in the ring: up to this point all records are in it.
  std::atomic<uint64_t> points_known;
  // To a primary: ring the doorbell once this point is passed; 0: none. The shim clears it.
  std::atomic<uint64_t> point_wanted;

  // Sleep words: 1 = asleep. The application's word is a futex (shared, not FUTEX_PRIVATE); the
  // supervisor sleeps in epoll_wait and is woken by 8 bytes written to doorbell_fd.
  alignas(64) std::atomic<uint32_t> app_asleep;
  alignas(64) std::atomic<uint32_t> supervisor_asleep;

  // Written by the shim.
  alignas(64) std::atomic<uint32_t> ready;  // 1 once the shim is initialised (the handshake)
  std::atomic<Role> role;                   // kPrimary while the doors are live
  std::atomic<uint64_t> lsn;                // records written or replayed
  std::atomic<uint64_t> log_position;       // log bytes written or replayed
  std::atomic<uint64_t> input_bytes;        // of these: bytes of client input
  std::atomic<uint64_t> kernel_calls;       // system calls that the application has cost so far,
  std::atomic<uint64_t> wake_calls;         // of these: sleeping, and waking the supervisor,
  std::atomic<uint64_t> spin_calls;         // and looking around before sleeping (spin.h)
  std::atomic<uint64_t> execs;              // images before the one that runs, or is being started
  // For tools that inspect a stopped process: its thread table (preload/thread.h) and its size.
  std::atomic<uint64_t> thread_table;
  std::atomic<uint64_t> thread_table_slots;
  // Not 0: the application is dying of a crash; see make_crash().
  std::atomic<uint64_t> crash;
  // Where in the output ring the last console text or notice of the present turn ends, beyond its
  // head: what an application that dies now has said, although no turn takes it any more.
  std::atomic<uint64_t> said_end;
  // Early logging. Of a primary: the last point that it has passed without a record, its records up
  // to there being in the ring. Of a secondary: the point at which it waits to know; 0: at none.
  alignas(64) std::atomic<uint64_t> points_passed;
  std::atomic<uint64_t> point_awaited;
  std::atomic<ShimFailure> failure;      // text below is complete when this is not kNone
  char failure_text[kFailureTextBytes];  // one or more lines, NUL-terminated

  alignas(128) RingControl rings[kRingCount];
};
static_assert(sizeof(Control) <= kControlBytes);

// The signals by which a request may crash an application.
constexpr bool is_crash_signal(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
         signal == SIGABRT;
}

// A crash in one word: its signal, and the connection that the crashed thread has read in the turn
// that died (0: none). The application's own account: believed only if it ended by such a signal.
constexpr uint64_t make_crash(int signal, uint32_t suspect) {
  return static_cast<uint64_t>(signal) << 32 | suspect;
}
constexpr int crash_signal(uint64_t crash) {
  return static_cast<int>(crash >> 32);
}
constexpr uint32_t crash_suspect(uint64_t crash) {
  return static_cast<uint32_t>(crash);
}

// Offset of a ring's data in the memfd (each ring's data is there once; it is mapped twice).
constexpr uint64_t ring_file_offset(uint32_t ring) {
  uint64_t offset = kControlBytes;
  for (uint32_t i = 0; i < ring; ++i) {
    offset += kRingBytes[i];
  }
  return offset;
}
constexpr uint64_t carried_file_offset() {
  return ring_file_offset(kRingCount);
}
constexpr uint64_t region_file_bytes() {
  return carried_file_offset() + kCarriedBytes;
}
// Offset of a ring's data in the address space, relative to the mapped control page.
constexpr uint64_t ring_map_offset(uint32_t ring) {
  uint64_t offset = kControlBytes;
  for (uint32_t i = 0; i < ring; ++i) {
    offset += 2 * kRingBytes[i];
  }
  return offset;
}
// Mapped by the shim alone, and only at an exec.
constexpr uint64_t carried_map_offset() {
  return ring_map_offset(kRingCount);
}
constexpr uint64_t region_map_bytes() {
  return carried_map_offset() + kCarriedBytes;
}

}  // namespace ftrun
