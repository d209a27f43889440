// SPDX-License-Identifier: Apache-2.0
// The marker file beside a replica's copy of a state directory: one JSON object, replaced
// atomically. Runs in ftrun and in the supervisors. Version rule: another "version" is refused.
#pragma once

#include <string>
#include <string_view>

#include "supervisor/process/state_dirs.h"

namespace ftrun::process {

inline constexpr std::string_view kMarkerSuffix = ".marker";
inline constexpr int kMarkerVersion = 1;

inline std::string marker_path(const std::string& copy) {
  return copy + std::string(kMarkerSuffix);
}

// The file's text and back. An Error says what is wrong with the file, to stand behind its name.
std::string encode_marker(const StateMarker& marker);
Result<StateMarker> decode_marker(std::string_view text);

Result<StateMarker> read_marker(const std::string& path);
// Atomic, but not synced to disk.
Result<void> replace_marker(const std::string& path, const StateMarker& marker);
// And durable when it returns: the file and its name.
Result<void> write_marker(const std::string& path, const StateMarker& marker);

}  // namespace ftrun::process
