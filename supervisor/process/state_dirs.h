// SPDX-License-Identifier: Apache-2.0
// State directories: the files that a server may write. Each replica has a copy of its own beside
// the original, mounted over the original's name inside the replica's mount namespace, so every
// replica writes really and none writes what another reads. Runs in ftrun (checks) and in the
// supervisors.
//
//   DIR                            the original; unchanged while the unit runs
//   DIR.ftrun-UNIT-REPLICA         a replica's copy
//   DIR.ftrun-UNIT-REPLICA.marker  JSON: whose copy, of which view and record, and its inode
//   DIR.ftrun-UNIT-REPLICA.new     a copy that is not complete yet: never used, removed when found
//
// At a clean stop the original and the last survivor's copy change names in one step; the old
// original and the other copies are removed after that. Copies that are found at a start mean that
// the unit ended uncleanly: nobody guesses which is right, the operator says so (--recover).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "supervisor/base/result.h"
#include "supervisor/process/launch.h"

namespace ftrun::process {

struct StateMarker {
  std::string unit;
  std::string replica;     // "a", "b", ...
  uint64_t epoch = 0;      // the last view that the replica was in
  uint64_t lsn = 0;        // the record up to which it had come when this was written
  uint64_t inode = 0;      // of the copy's root: tells whether the exchange has happened
  int64_t supervisor = 0;  // pid of the supervisor that uses the copy, and when it started
  uint64_t started = 0;    // (/proc/PID/stat, clock ticks since boot)
  bool operator==(const StateMarker&) const = default;
};

struct StateCopy {
  std::string directory;  // the original
  std::string path;
  StateMarker marker;
  bool exchanged = false;  // the original has this copy's content already; `path` is the old one
  bool complete = false;   // false: its making was interrupted, or goes on
};

// Canonical, absolute names. Refuses what is no directory, "/", mount points, directories inside
// one another, and parents in which no copy can be made.
Result<std::vector<std::string>> check_state_dirs(const std::vector<std::string>& directories);

std::string copy_path(const std::string& directory, const std::string& unit,
                      const std::string& replica);

// All copies of any unit beside `directory` that have a marker.
Result<std::vector<StateCopy>> find_copies(const std::string& directory);

// What ftrun does before it starts a unit. Without copies: nothing. With copies of units that still
// run: refuses. Else, without `recover`: refuses, naming the newest copy; with it: makes the newest
// one the original (of all directories the same replica's) and removes the others. Copies that only
// wait for their removal are removed in any case. `report` gets a line for each thing done.
Result<void> settle_copies(const std::vector<std::string>& directories, bool recover,
                           std::vector<std::string>* report);

// Makes this replica's copies, in the supervisor, before its application starts; their mounts.
// REQUIRES: check_state_dirs and settle_copies passed.
Result<std::vector<Mount>> make_copies(const std::vector<std::string>& directories,
                                       const std::string& unit, const std::string& replica,
                                       uint64_t epoch);

// Tells the shim which directories are state directories.
Result<void> announce(const std::vector<std::string>& directories, Control* control);

// Writes epoch and record down: at every change of view, and now and then. Not synced to disk (it
// is called from the event loop): after a power cut the markers may be some seconds behind.
Result<void> update_markers(const std::vector<std::string>& directories, const std::string& unit,
                            const std::string& replica, uint64_t epoch, uint64_t lsn);

// The clean end, by the last survivor (`replica`) once its application has ended: its copies become
// the originals, everything else of the unit is removed. May be repeated after a crash in between.
Result<void> adopt_copies(const std::vector<std::string>& directories, const std::string& unit,
                          const std::string& replica);

// Removes a replica's copies (it was excluded, or another one is the survivor).
Result<void> drop_copies(const std::vector<std::string>& directories, const std::string& unit,
                         const std::string& replica);

}  // namespace ftrun::process
