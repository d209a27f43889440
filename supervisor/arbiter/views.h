// SPDX-License-Identifier: Apache-2.0
// Who is in the unit, as ftctl reads it: immutable files view.<epoch> in the run directory, for
// what was decided in the unit's memory (unit_memory.h). A file is complete before link(2) makes it
// visible under its name. Written by supervisors, which try again while there is no room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "supervisor/base/result.h"
#include "supervisor/unit/core.h"

namespace ftrun::arbiter {

class Views {
 public:
  explicit Views(std::string directory) : directory_(std::move(directory)) {}

  // Publishes `view` unless its epoch has a file that is a view. Returns the newest view that has a
  // file.
  Result<unit::View> publish(const unit::View& view) const;
  // The view with the highest epoch, or nothing when none was published yet.
  Result<std::optional<unit::View>> current() const;

 private:
  Result<unit::View> read(uint64_t epoch) const;
  std::string path(uint64_t epoch) const;
  std::string directory_;
};

// The view that a unit starts in: epoch 1, all replicas, the last one is the sender.
unit::View first_view(unsigned replicas);

// One line of text: `epoch 2 replicas b sender b`.
std::string encode_view(const unit::View& view);
// Accepts what encode_view() writes for a view of distinct replicas with the sender among them, and
// nothing else.
Result<unit::View> decode_view(std::string_view text);

// The name of an epoch's file, "view.2", and back; nothing for the name of any other file.
std::string file_of_epoch(uint64_t epoch);
std::optional<uint64_t> epoch_of_file(std::string_view name);

// Replica 0 is "a"; letters are what operators see.
std::string replica_name(unit::ReplicaId replica);
std::optional<unit::ReplicaId> replica_from_name(std::string_view name);

}  // namespace ftrun::arbiter
