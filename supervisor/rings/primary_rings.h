// SPDX-License-Identifier: Apache-2.0
// The rings of the primary's application, served by the sender's supervisor on the same host:
// arrivals go from the edge straight to the application, and its turns straight from there to the
// core. The primary's own supervisor trails (app_port.h). Measured on two cores with 50 clients:
// without it in the path of every request, the unit serves 1.26 times as many.
//
// Runs in the sender's supervisor. What the application writes is no more trusted than that of the
// own one; a damaged ring is the primary's failure.
#pragma once

#include <cstdint>
#include <memory>

#include "supervisor/members/peers.h"
#include "supervisor/process/launch.h"
#include "supervisor/rings/app_port.h"
#include "supervisor/rings/region.h"
#include "supervisor/unit/core.h"

namespace ftrun {

class PrimaryRings final : AppPort::Sink {
 public:
  // Takes region and doorbell out of the descriptor table of the primary's supervisor (their
  // numbers stand in its hello). REQUIRES: that supervisor trails and nothing was served yet.
  static Result<std::unique_ptr<PrimaryRings>> open(const link::Peer& primary);

  int doorbell() const { return doorbell_.get(); }
  const Region& region() const { return region_; }
  AppPort& port() { return *port_; }
  const AppPort& port() const { return *port_; }

  // Hands all published turns to the core, as UnitCore::on_primary_turns().
  Result<bool> drain(unit::UnitCore* core);
  // Early logging: hands what has been published of its present turn, as
  // UnitCore::on_primary_part().
  Result<void> drain_part(unit::UnitCore* core);
  // Whether the primary's supervisor should look at the rings soon: it trails far behind, or the
  // application has failed. Once for each time that this comes about.
  bool wants_attention();

 private:
  explicit PrimaryRings(Region region);
  void app_output(const Output&) override {}  // its digest counts; the own application's is used
  void app_mark(uint64_t, uint64_t, uint64_t) override {}
  void app_turns(unit::Bytes turns, uint64_t lsn_end, uint64_t digest) override;

  Region region_;
  process::Descriptor doorbell_;
  std::unique_ptr<AppPort> port_;
  unit::UnitCore* core_ = nullptr;  // while draining
  std::vector<uint8_t> part_;
  bool attention_asked_ = false;
  uint64_t lag_seen_ = 0;
};

}  // namespace ftrun
