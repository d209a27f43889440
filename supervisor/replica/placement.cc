// SPDX-License-Identifier: Apache-2.0
// See placement.h. Runs in the supervisor.
#include "supervisor/replica/placement.h"

#include <sched.h>

namespace ftrun {

namespace {
// The scheduler moves processes about some hundred times a second.
constexpr int64_t kIntervalNs = 10'000'000;
constexpr uint64_t kReadsMin = 20;  // else nobody is in a hurry
// Whoever sends more at once has the applications do more for each packet: on two cores, pipelined
// requests then lose a fifth.
constexpr uint64_t kBytesPerReadMax = 512;
}  // namespace

void Placement::choose(const edge::Edge::Traffic& traffic, bool together, int64_t now_ns) {
  const int packet_core = traffic.core;
  next_ns_ = now_ns + kIntervalNs;
  if (traffic.reads < kReadsMin || traffic.bytes > traffic.reads * kBytesPerReadMax) {
    return;
  }
  if (packet_core < 0 || packet_core >= CPU_SETSIZE ||
      (packet_core == sched_getcpu()) == together) {
    return;
  }
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 ||
      CPU_COUNT(&allowed) > static_cast<int>(replicas_)) {
    return;
  }
  cpu_set_t there;
  CPU_ZERO(&there);
  CPU_SET(packet_core, &there);
  if (together) {
    CPU_AND(&there, &there, &allowed);
  } else {
    CPU_XOR(&there, &there, &allowed);
  }
  if (sched_setaffinity(0, sizeof(there), &there) == 0) {
    sched_setaffinity(0, sizeof(allowed), &allowed);
  }
}

}  // namespace ftrun
