// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/state_marker.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace ftrun::process {

Result<StateMarker> read_marker(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return system_error(path, errno);
  }
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, false);
  try {
    if (json.at("version").get<int>() != kMarkerVersion) {
      return Error{fmt::format("{} has version {}; this ftrun knows version {}", path,
                               json.at("version").dump(), kMarkerVersion)};
    }
    StateMarker marker;
    marker.unit = json.at("unit").get<std::string>();
    marker.replica = json.at("replica").get<std::string>();
    marker.epoch = json.at("epoch").get<uint64_t>();
    marker.lsn = json.at("lsn").get<uint64_t>();
    marker.inode = json.at("inode").get<uint64_t>();
    marker.supervisor = json.at("supervisor").get<int64_t>();
    marker.started = json.at("started").get<uint64_t>();
    return marker;
  } catch (const nlohmann::json::exception& exception) {
    return Error{fmt::format("{} is damaged: {}", path, exception.what())};
  }
}

namespace {

Result<void> replace_file(const std::string& path, const StateMarker& marker, bool durable) {
  const nlohmann::ordered_json json = {
      {"version", kMarkerVersion},       {"unit", marker.unit},      {"replica", marker.replica},
      {"epoch", marker.epoch},           {"lsn", marker.lsn},        {"inode", marker.inode},
      {"supervisor", marker.supervisor}, {"started", marker.started}};
  const std::string text = json.dump() + "\n";
  const std::string temporary = path + ".tmp";
  const Descriptor fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid() || write(fd.get(), text.data(), text.size()) != ssize_t(text.size()) ||
      (durable && fsync(fd.get()) != 0)) {
    return system_error("writing " + temporary, errno);
  }
  return rename(temporary.c_str(), path.c_str()) == 0 ? Result<void>()
                                                      : system_error("writing " + path, errno);
}

}  // namespace

Result<void> replace_marker(const std::string& path, const StateMarker& marker) {
  return replace_file(path, marker, false);
}

Result<void> write_marker(const std::string& path, const StateMarker& marker) {
  FTRUN_TRY(replace_file(path, marker, true));
  const std::string parent = path.substr(0, path.rfind('/') + 1);
  const Descriptor directory(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || fsync(directory.get()) != 0) {
    return system_error("syncing " + parent, errno);
  }
  return {};
}

}  // namespace ftrun::process
