// SPDX-License-Identifier: Apache-2.0
// See reports.h. Runs in the supervisor and in ftctl.
#include "supervisor/operator/reports.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <tuple>

#include "supervisor/operator/run_dir.h"

namespace ftrun::reports {

namespace {

constexpr std::string_view kPrefix = "report.";

// Whether `name` is exactly report.<number>.<letter>.
bool parse(std::string_view name, ReportFile* report) {
  if (!name.starts_with(kPrefix)) {
    return false;
  }
  name.remove_prefix(kPrefix.size());
  const char* const end = name.data() + name.size();
  const auto [after, error] = std::from_chars(name.data(), end, report->epoch);
  if (error != std::errc() || end - after != 2 || after[0] != '.' || after[1] < 'a' ||
      after[1] > 'z') {
    return false;
  }
  report->replica = after[1];
  return true;
}

}  // namespace

std::string path_of(const std::string& run_dir, uint64_t epoch, const std::string& replica) {
  return fmt::format("{}/{}{}.{}", run_dir, kPrefix, epoch, replica);
}

std::vector<ReportFile> list(const std::string& run_dir) {
  std::vector<ReportFile> found;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(run_dir, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    ReportFile report;
    if (parse(entry->path().filename().string(), &report)) {
      report.path = entry->path().string();
      found.push_back(std::move(report));
    }
  }
  std::sort(found.begin(), found.end(), [](const ReportFile& x, const ReportFile& y) {
    return std::tie(x.epoch, x.replica) < std::tie(y.epoch, y.replica);
  });
  return found;
}

Result<std::string> write(const std::string& run_dir, uint64_t epoch, const std::string& replica,
                          std::string_view text) {
  const std::string path = path_of(run_dir, epoch, replica);
  FTRUN_TRY(RunDir(run_dir, replica).write(path, text.substr(0, kReportBytesMax)));
  const std::vector<ReportFile> all = list(run_dir);
  for (size_t i = 0; i + kReportsKept < all.size(); ++i) {
    unlink(all[i].path.c_str());
  }
  return path;
}

}  // namespace ftrun::reports
