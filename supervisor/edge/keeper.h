// SPDX-License-Identifier: Apache-2.0
// The keeper: a process that shares its supervisor's descriptor table and does nothing but wait, so
// that the supervisor can be killed at any instant without a client socket being closed. A clone
// with CLONE_FILES and a memory of its own; it never execs (that would unshare the table).
//
// Since it keeps everything open, nothing may rely on a descriptor being closed at the supervisor's
// death: death is seen by pidfd, never by EOF; there are no file locks.
//
// Whoever takes the sockets over kills it. If nobody does (the last replica died), it ends by
// itself kKeeperLingerMs after its supervisor, and the clients see their connections closed then;
// ftrun kills it earlier (its pid is in sup.<id>.json). Supervisor only.
#pragma once

#include <sys/types.h>

#include <vector>

#include "supervisor/edge/edge.h"
#include "supervisor/result.h"

namespace ftrun::edge {

inline constexpr int kKeeperLingerMs = 60'000;

// Starts the keeper of the calling process. Call early: pages that are resident now stay shared
// with it until either side writes to them. REQUIRES: one thread.
Result<pid_t> start_keeper();

// Takes every client socket (and what else may be one) out of the descriptor table that `keeper`
// holds, without its help: it may be stopped. The table's other owner must be dead already.
Result<std::vector<TakenSocket>> take_sockets(pid_t keeper, int keeper_pidfd);

// Sends SIGKILL by pidfd and waits until the process is gone.
Result<void> kill_and_wait(int pidfd, int timeout_ms);

// Field 22 of /proc/<pid>/stat, and a pidfd to exactly that process.
Result<uint64_t> process_start_time(pid_t pid);
Result<int> open_process(pid_t pid, uint64_t start_time);
// A pidfd of a process that has ended, for one that was gone before it could be opened.
Result<int> open_ended_process();

}  // namespace ftrun::edge
