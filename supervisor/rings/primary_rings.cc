// SPDX-License-Identifier: Apache-2.0
// Serving the rings of the primary's application: see primary_rings.h. Runs in the supervisor.
#include "supervisor/rings/primary_rings.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace ftrun {

namespace {

// What the primary's supervisor may be behind before it is told: a quarter of the smaller ring.
constexpr uint64_t kTrailLagMax = kRingBytes[kRingOutput] / 4;
static_assert(kRingBytes[kRingOutput] <= kRingBytes[kRingLogOut]);

Result<int> take(const link::Peer& primary, uint32_t number, const char* what) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_getfd, primary.supervisor.get(), number, 0));
  return fd < 0 ? system_error(what, errno) : Result<int>(fd);
}

}  // namespace

PrimaryRings::PrimaryRings(Region region)
    : region_(std::move(region)),
      port_(std::make_unique<AppPort>(&region_, AppPort::Part::kServes)) {}

Result<std::unique_ptr<PrimaryRings>> PrimaryRings::open(const link::Peer& primary) {
  const Result<int> memory =
      take(primary, primary.hello.region_fd, "pidfd_getfd of the primary's rings");
  if (!memory.ok()) {
    return memory.error();
  }
  Result<Region> region = Region::attach(*memory);
  if (!region.ok()) {
    return region.error();
  }
  std::unique_ptr<PrimaryRings> rings(new PrimaryRings(std::move(*region)));
  const Result<int> doorbell =
      take(primary, primary.hello.doorbell_fd, "pidfd_getfd of the primary's doorbell");
  if (!doorbell.ok()) {
    return doorbell.error();
  }
  rings->doorbell_.reset(*doorbell);
  return rings;
}

Result<bool> PrimaryRings::drain(unit::UnitCore* core) {
  core_ = core;
  Result<bool> drained = port_->drain(this);
  core_ = nullptr;
  return drained;
}

Result<void> PrimaryRings::drain_part(unit::UnitCore* core) {
  const Result<unit::Part> part = port_->read_part(&part_);
  if (!part.ok()) {
    return part.error();
  }
  core->on_primary_part(*part);
  return {};
}

void PrimaryRings::app_turns(unit::Bytes turns, uint64_t lsn_end, uint64_t digest) {
  core_->on_primary_turns(turns, lsn_end, digest);
}

bool PrimaryRings::wants_attention() {
  const uint64_t lag = port_->trail_lag();
  const bool wanted = lag > kTrailLagMax || port_->control()->failure.load(
                                                std::memory_order_relaxed) != ShimFailure::kNone;
  const bool looked = lag < lag_seen_;  // since it was asked, and is behind again
  const bool ask = wanted && (!attention_asked_ || looked);
  attention_asked_ = wanted;
  lag_seen_ = lag;
  return ask;
}

}  // namespace ftrun
