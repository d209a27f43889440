// SPDX-License-Identifier: Apache-2.0
// A replica's copies of the state directories: made before the application starts and marked while
// it runs (their end: replica_failure.cc). See replica.h and process/state_dirs.h. Supervisor only.
#include <fmt/format.h>

#include "supervisor/process/state_dirs.h"
#include "supervisor/replica.h"

namespace ftrun {

namespace {
constexpr int64_t kNoteIntervalNs = 1'000'000'000;
constexpr int kPeerEndMs = 5'000;  // for the other replicas' applications to be gone at a clean end
}  // namespace

Result<void> Replica::make_state_copies(process::LaunchPlan* plan) {
  FTRUN_TRY(process::announce(options_.state_dirs, region_.control()));
  Result<std::vector<process::Mount>> mounts = process::make_copies(
      options_.state_dirs, options_.unit, arbiter::replica_name(options_.replica), 1);
  if (!mounts.ok()) {
    return mounts.error();
  }
  plan->mounts = std::move(*mounts);
  return {};
}

// Also between changes of view, so that of two copies of one view the newer one is known.
void Replica::note_state() {
  if (now_ns_ - state_noted_ns_ >= kNoteIntervalNs) {
    state_noted_ns_ = now_ns_;
    update_markers();
    look_after_run_dir();
  }
}

// Whether every other replica's application is gone: nobody may write to what is exchanged or
// removed. Waits a while; at a clean end all end together.
bool Replica::peers_have_ended() {
  for (const link::Peer& peer : peers_.all()) {
    if (!edge::wait_for_end(peer.init.get(), kPeerEndMs)) {
      event("trouble", fmt::format("replica {} has not ended; all copies of state directories stay",
                                   arbiter::replica_name(peer.replica)));
      return false;
    }
  }
  return true;
}

}  // namespace ftrun
