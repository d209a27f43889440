// SPDX-License-Identifier: Apache-2.0
// The keeper: a process that shares its supervisor's descriptor table and does nothing but wait, so
// that the supervisor can be killed at any instant without a client socket being closed. A clone
// with CLONE_FILES and a memory of its own; it never execs (that would unshare the table).
//
// Since it keeps everything open, nothing may rely on a descriptor being closed at the supervisor's
// death: death is seen by pidfd, never by EOF; there are no file locks.
//
// Whoever takes the sockets over kills it. It ends by itself, and the clients see their connections
// closed, as soon as nobody is left to do so: the supervisors of all other replicas are dead too.
// If one lives and does nothing, it waits for kKeeperLingerMs. Supervisor only.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <utility>
#include <vector>

#include "supervisor/base/result.h"
#include "supervisor/edge/edge.h"

namespace ftrun::edge {

inline constexpr int kKeeperLingerMs = 60'000;

// Whom a keeper watches, in memory that it shares with its supervisor (of all else it has a copy).
class KeeperWatch {
 public:
  // Of the calling process.
  static Result<KeeperWatch> create();
  KeeperWatch() = default;
  KeeperWatch(KeeperWatch&& other) noexcept { *this = std::move(other); }
  KeeperWatch& operator=(KeeperWatch&& other) noexcept;
  ~KeeperWatch();
  // Another replica's supervisor, which may take the sockets over; `pidfd` stays open.
  void add(int pidfd);

 private:
  friend Result<pid_t> start_keeper(const KeeperWatch& watch);
  static constexpr unsigned kOthersMax = 31;
  struct Page {
    int supervisor = -1;  // pidfds, in the descriptor table that both share
    std::atomic<unsigned> count{0};
    std::array<int, kOthersMax> others{};
  };
  [[noreturn]] static void keep(const Page* page);
  Page* page_ = nullptr;
};

// Starts the keeper of the calling process. Call early: pages that are resident now stay shared
// with it until either side writes to them. REQUIRES: one thread; `watch` is the caller's.
Result<pid_t> start_keeper(const KeeperWatch& watch);

// Takes every client socket (and what else may be one) out of the descriptor table that `keeper`
// holds, without its help: it may be stopped. The table's other owner must be dead already.
// A keeper that is gone has none.
Result<std::vector<TakenSocket>> take_sockets(pid_t keeper, int keeper_pidfd);
// Adds `socket` to what was taken from others. A sender that died while it took over leaves sockets
// in two tables: one is kept, under the name that either gave it.
void add_taken(const TakenSocket& socket, std::vector<TakenSocket>* sockets);

// Waits until the process of `pidfd` is gone; false: it was not for so long. Signals are no reason
// to stop waiting (SIGURG comes at any time), and only time counts in which it could have ended:
// not while we did not run ourselves, and a tenth while it waits for a CPU or a disk.
bool wait_for_end(int pidfd, int patience_ms);
// Sends SIGKILL by pidfd and waits as above.
Result<void> kill_and_wait(int pidfd, int patience_ms);

// Field 22 of /proc/<pid>/stat, and a pidfd to exactly that process. Refuses one of another user:
// whoever names a process may have it killed.
Result<uint64_t> process_start_time(pid_t pid);
Result<int> open_process(pid_t pid, uint64_t start_time);
// A pidfd of a process that has ended, for one that was gone before it could be opened.
Result<int> open_ended_process();

}  // namespace ftrun::edge
