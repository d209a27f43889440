// SPDX-License-Identifier: Apache-2.0
// The memory of a unit: see unit_memory.h. Runs in supervisors and ftrun.
#include "supervisor/arbiter/unit_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "supervisor/base/memory_file.h"

namespace ftrun {

namespace {

// A view's word: five bits for each replica (its number and one; 0: no more), the sender in the
// highest five.
constexpr unsigned kReplicaBits = 5;
constexpr uint64_t kReplicaMask = (1u << kReplicaBits) - 1;
constexpr unsigned kSenderShift = 64 - kReplicaBits;
static_assert(kReplicaBits * kViewReplicasMax <= kSenderShift);

}  // namespace

std::optional<uint64_t> pack_view(const unit::View& view) {
  if (view.replicas.empty() || view.replicas.size() > kViewReplicasMax ||
      std::find(view.replicas.begin(), view.replicas.end(), view.sender) == view.replicas.end()) {
    return std::nullopt;
  }
  uint64_t word = (uint64_t{view.sender} + 1) << kSenderShift;
  unsigned shift = 0;
  for (const unit::ReplicaId replica : view.replicas) {
    if (replica >= kReplicaMask) {
      return std::nullopt;
    }
    word |= (uint64_t{replica} + 1) << shift;
    shift += kReplicaBits;
  }
  return word;
}

std::optional<unit::View> unpack_view(uint64_t epoch, uint64_t word) {
  unit::View view;
  view.epoch = epoch;
  view.sender = static_cast<unit::ReplicaId>((word >> kSenderShift) - 1);
  for (unsigned i = 0; i < kViewReplicasMax; ++i) {
    const uint64_t replica = (word >> (i * kReplicaBits)) & kReplicaMask;
    if (replica == 0) {
      break;
    }
    view.replicas.push_back(static_cast<unit::ReplicaId>(replica - 1));
  }
  return pack_view(view) == word ? std::optional<unit::View>(view) : std::nullopt;
}

UnitMemory::UnitMemory(UnitMemory&& other) noexcept {
  *this = std::move(other);
}

UnitMemory& UnitMemory::operator=(UnitMemory&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(memory_, other.memory_);
  return *this;
}

UnitMemory::~UnitMemory() {
  if (memory_ != nullptr) {
    munmap(memory_, sizeof(UnitMemoryLayout));
  }
  if (fd_ >= 0) {
    close(fd_);
  }
}

Result<void> UnitMemory::map() {
  void* memory = mmap(nullptr, sizeof(UnitMemoryLayout), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_POPULATE, fd_, 0);
  if (memory == MAP_FAILED) {
    return system_error("the unit's memory: mmap", errno);
  }
  memory_ = static_cast<UnitMemoryLayout*>(memory);
  return {};
}

Result<UnitMemory> UnitMemory::create() {
  UnitMemory made;
  const Result<int> file = make_memory_file("ftrun-unit", sizeof(UnitMemoryLayout), Allocated::kYes,
                                            "the unit's memory");
  if (!file.ok()) {
    return file.error();
  }
  made.fd_ = *file;
  FTRUN_TRY(made.map());
  new (made.memory_) UnitMemoryLayout{};
  if (getrandom(made.memory_->random.data(), kUnitRandomBytes, 0) !=
      static_cast<ssize_t>(kUnitRandomBytes)) {
    return system_error("getrandom", errno);
  }
  made.memory_->magic = kUnitMemoryMagic;
  return made;
}

Result<UnitMemory> UnitMemory::attach(int fd) {
  UnitMemory attached;
  attached.fd_ = fd;
  struct stat status {};
  if (fstat(fd, &status) != 0) {
    return system_error("the unit's memory: fstat", errno);
  }
  if (static_cast<size_t>(status.st_size) != sizeof(UnitMemoryLayout)) {
    return Error{"the unit's memory: its size is not that of this version"};
  }
  FTRUN_TRY(attached.map());
  if (attached.memory_->magic != kUnitMemoryMagic) {
    return Error{"the unit's memory: bad magic"};
  }
  return attached;
}

Result<unit::View> UnitMemory::publish(const unit::View& view) {
  const std::optional<uint64_t> word = pack_view(view);
  if (!word || view.epoch == 0 || view.epoch > kEpochsMax) {
    return Error{fmt::format("a view of {} replicas with epoch {} cannot be published",
                             view.replicas.size(), view.epoch)};
  }
  uint64_t none = 0;
  memory_->views[view.epoch - 1].compare_exchange_strong(none, *word);
  std::optional<unit::View> newest = current();
  FTRUN_ASSERT(newest && newest->epoch >= view.epoch);
  return *newest;
}

std::optional<unit::View> UnitMemory::current() const {
  uint64_t epoch = 0;
  while (epoch < kEpochsMax && memory_->views[epoch].load() != 0) {
    ++epoch;
  }
  return epoch == 0 ? std::nullopt : unpack_view(epoch, memory_->views[epoch - 1].load());
}

bool UnitMemory::claim_signal(int number, unsigned who, int64_t now_ns) {
  std::atomic<uint64_t>& claim = memory_->claims[static_cast<size_t>(number)];
  uint64_t last = claim.load();
  const uint64_t own = (static_cast<uint64_t>(now_ns) & ~uint64_t{0xff}) | who;
  do {
    const bool fresh = last != 0 && now_ns - static_cast<int64_t>(last) < kOneSignalNs;
    if (fresh && (last & 0xff) != who) {
      return false;
    }
  } while (!claim.compare_exchange_weak(last, own));
  return true;
}

}  // namespace ftrun
