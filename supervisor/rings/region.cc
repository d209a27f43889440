// SPDX-License-Identifier: Apache-2.0
// The memory shared with one application: see region.h. Runs in the supervisor.
#include "supervisor/rings/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "supervisor/base/memory_file.h"

namespace ftrun {

Region::Region(Region&& other) noexcept {
  *this = std::move(other);
}

Region& Region::operator=(Region&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(base_, other.base_);
  return *this;
}

Region::~Region() {
  if (base_ != nullptr) {
    munmap(base_, region_map_bytes());
  }
  if (fd_ >= 0) {
    close(fd_);
  }
}

RingProducer Region::producer(RingId ring) const {
  return {&control()->rings[ring], ring_data(ring), kRingBytes[ring]};
}

RingConsumer Region::consumer(RingId ring) const {
  return {&control()->rings[ring], ring_data(ring), kRingBytes[ring]};
}

RingConsumer Region::trailing_consumer(RingId ring) const {
  return RingConsumer::trailing(&control()->rings[ring], ring_data(ring), kRingBytes[ring]);
}

Result<void> Region::map() {
  void* base = mmap(nullptr, region_map_bytes(), PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return system_error("region: reserving its address space", errno);
  }
  base_ = static_cast<uint8_t*>(base);
  const auto place = [this](uint64_t at, size_t bytes, uint64_t offset) {
    return mmap(base_ + at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_,
                static_cast<off_t>(offset)) != MAP_FAILED;
  };
  bool placed = place(0, kControlBytes, 0);
  for (uint32_t ring = 0; ring < kRingCount; ++ring) {
    const size_t bytes = kRingBytes[ring];
    placed = placed && place(ring_map_offset(ring), bytes, ring_file_offset(ring)) &&
             place(ring_map_offset(ring) + bytes, bytes, ring_file_offset(ring));
  }
  if (!placed) {
    return system_error("region: mmap", errno);
  }
  return {};
}

Result<Region> Region::create(Role role, const std::array<uint8_t, 16>& at_random) {
  Region region;
  const Result<int> file =
      make_memory_file("ftrun-region", region_file_bytes(), Allocated::kNo, "a replica's rings");
  if (!file.ok()) {
    return file.error();
  }
  region.fd_ = *file;
  FTRUN_TRY(region.map());
  Control* control = new (region.base_) Control{};
  control->magic = kRegionMagic;
  control->version = kRegionVersion;
  control->control_bytes = kControlBytes;
  for (uint32_t ring = 0; ring < kRingCount; ++ring) {
    control->ring_bytes[ring] = kRingBytes[ring];
  }
  control->initial_role.store(role, std::memory_order_relaxed);
  control->role.store(role, std::memory_order_relaxed);
  control->doorbell_fd = -1;
  std::memcpy(control->at_random, at_random.data(), at_random.size());
  return region;
}

Result<Region> Region::attach(int fd) {
  Region region;
  region.fd_ = fd;
  struct stat status {};
  if (fstat(fd, &status) != 0) {
    return system_error("region: fstat", errno);
  }
  if (static_cast<uint64_t>(status.st_size) != region_file_bytes()) {
    return Error{"region: its size is not that of this version"};
  }
  FTRUN_TRY(region.map());
  const Control* control = region.control();
  if (control->magic != kRegionMagic || control->version != kRegionVersion ||
      control->control_bytes != kControlBytes) {
    return Error{"region: bad magic, version or layout"};
  }
  return region;
}

}  // namespace ftrun
