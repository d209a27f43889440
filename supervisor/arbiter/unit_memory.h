// SPDX-License-Identifier: Apache-2.0
// What the processes of a unit on one host share, in a memfd that ftrun makes and its supervisors
// inherit: who is in the unit, decided once per epoch, and which signals it was given. It is the
// arbiter of the one host: nothing that a takeover must write needs a file, a name or room on a
// disk, so that a full, removed or read-only run directory costs nobody the unit.
//
// A view is one word, published by compare-and-swap from zero: one winner per epoch, and no lock
// that a frozen process could hold. Several hosts will use a consensus store behind publish() and
// current(). Runs in supervisors and ftrun. Any process may be killed at any instant.
//
// ORDER: publish first. Only the winner kills the excluded replica, waits until it is gone, and
// then touches client sockets or goes live. A loser that finds a view without itself kills nobody.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "supervisor/base/result.h"
#include "supervisor/unit/core.h"

namespace ftrun {

inline constexpr uint64_t kUnitMemoryMagic = 0x314d494e55544600;  // versioned: ..1
inline constexpr size_t kEpochsMax = 4096;                        // views of one unit
inline constexpr size_t kViewReplicasMax = unit::kMembersMax;
inline constexpr size_t kUnitRandomBytes = 16;
// A signal that reaches several processes of a unit within this time is one (claim_signal()).
inline constexpr int64_t kOneSignalNs = 1'000'000'000;

struct UnitMemoryLayout {
  uint64_t magic;
  std::array<uint8_t, kUnitRandomBytes> random;  // of this unit: AT_RANDOM of its applications
  std::atomic<uint32_t> last_signal;             // sequence number
  std::atomic<uint32_t> end;                     // of the program: 256 + exit status; 0: not yet
  std::array<std::atomic<uint64_t>, 65> claims;  // by signal number: ns, and whose in the last byte
  std::array<std::atomic<uint64_t>, kEpochsMax> views;  // of epoch 1 and up; 0: none yet
};
static_assert(sizeof(UnitMemoryLayout) == 32 + 8 * (65 + kEpochsMax));

class UnitMemory {
 public:
  static Result<UnitMemory> create();
  static Result<UnitMemory> attach(int fd);  // takes over `fd`, also on failure
  UnitMemory() = default;
  UnitMemory(UnitMemory&& other) noexcept;
  UnitMemory& operator=(UnitMemory&& other) noexcept;
  ~UnitMemory();

  int fd() const { return fd_; }
  const std::array<uint8_t, kUnitRandomBytes>& random() const { return memory_->random; }

  // Publishes `view` unless its epoch is taken. Returns the view that is now current: the own one
  // when this call won, else the newest that somebody published. REQUIRES: its epoch is 1 or
  // follows a published one. An Error: no such view can ever be published.
  Result<unit::View> publish(const unit::View& view);
  // The view with the highest epoch, or nothing when none was published yet.
  std::optional<unit::View> current() const;

  // The program's exit status, once it has ended by itself.
  void set_exit_status(int status) {
    memory_->end.store(256u | (static_cast<uint32_t>(status) & 255));
  }
  std::optional<int> exit_status() const {
    const uint32_t end = memory_ == nullptr ? 0 : memory_->end.load();
    return end == 0 ? std::nullopt : std::optional<int>(static_cast<int>(end & 255));
  }

  // The next sequence number of an operator's signal; from 1.
  uint32_t next_signal() { return memory_->last_signal.fetch_add(1) + 1; }
  // Who stops a whole service sends the signal to each of its processes; the unit is to have it
  // once. True for whoever asks first, and again for the same `who`; false for others within
  // kOneSignalNs. REQUIRES: number is 1 to 64, `who` at most 255.
  bool claim_signal(int number, unsigned who, int64_t now_ns);
  // Whoever has claimed it could not pass it on: others may.
  void disclaim_signal(int number) { memory_->claims[static_cast<size_t>(number)].store(0); }

 private:
  Result<void> map();
  int fd_ = -1;
  UnitMemoryLayout* memory_ = nullptr;
};

// One word that is not zero, or nothing for a view that does not fit; and back.
std::optional<uint64_t> pack_view(const unit::View& view);
std::optional<unit::View> unpack_view(uint64_t epoch, uint64_t word);

}  // namespace ftrun
