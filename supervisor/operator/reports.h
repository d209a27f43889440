// SPDX-License-Identifier: Apache-2.0
// Reports of divergence and other failures of an application, kept in the unit's run directory as
// report.<epoch>.<replica>: the epoch in which it happened, the replica that wrote it. Text, mode
// 0600, bounded in size and number. Written by supervisors, read by ftctl.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.h"

namespace ftrun::reports {

inline constexpr size_t kReportBytesMax = 64 * 1024;
inline constexpr size_t kReportsKept = 16;  // in a run directory; older ones go

struct ReportFile {
  uint64_t epoch = 0;
  std::string replica;
  std::string path;
};

std::string path_of(const std::string& run_dir, uint64_t epoch, const std::string& replica);
// By epoch, then by replica. A directory that cannot be read has none.
std::vector<ReportFile> list(const std::string& run_dir);
// Writes one and removes the oldest beyond kReportsKept. Returns its path.
Result<std::string> write(const std::string& run_dir, uint64_t epoch, const std::string& replica,
                          std::string_view text);

}  // namespace ftrun::reports
