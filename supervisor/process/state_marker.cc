// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/state_marker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fmt/format.h"
#include "supervisor/base/json_fields.h"

namespace ftrun::process {

namespace {

constexpr size_t kMarkerBytesMax = 4096;

template <typename T>
bool has(const nlohmann::json& json, const char* name, T* into) {
  return take_field(json, name, into) == Field::kTaken;
}

}  // namespace

Result<StateMarker> decode_marker(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  int version = 0;
  if (text.empty()) {
    return Error{"is damaged: empty"};
  }
  if (!json.is_object() || !has(json, "version", &version)) {
    return Error{"is damaged: no JSON object with a version"};
  }
  if (version != kMarkerVersion) {
    return Error{
        fmt::format("has version {}; this ftrun knows version {}", version, kMarkerVersion)};
  }
  StateMarker marker;
  pid_t supervisor = 0;
  if (!has(json, "unit", &marker.unit) || !has(json, "replica", &marker.replica) ||
      !has(json, "epoch", &marker.epoch) || !has(json, "lsn", &marker.lsn) ||
      !has(json, "inode", &marker.inode) || !has(json, "supervisor", &supervisor) ||
      !has(json, "started", &marker.started)) {
    return Error{"is damaged: a field is missing or no field of a marker"};
  }
  marker.supervisor = supervisor;
  return marker;
}

std::string encode_marker(const StateMarker& marker) {
  const nlohmann::ordered_json json = {
      {"version", kMarkerVersion},       {"unit", marker.unit},      {"replica", marker.replica},
      {"epoch", marker.epoch},           {"lsn", marker.lsn},        {"inode", marker.inode},
      {"supervisor", marker.supervisor}, {"started", marker.started}};
  return dump_json(json) + "\n";
}

Result<StateMarker> read_marker(const std::string& path) {
  // Whatever stands there, it is neither followed nor waited for.
  const Descriptor fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() && errno == ELOOP) {
    return Error{path + " is a symbolic link, and no marker"};
  }
  if (!fd.valid() || fstat(fd.get(), &info) != 0) {
    return system_error(path, errno);
  }
  if (!S_ISREG(info.st_mode)) {
    return Error{path + (S_ISDIR(info.st_mode) ? " is a directory" : " is no file") +
                 ", and no marker"};
  }
  std::string text(kMarkerBytesMax, '\0');
  const ssize_t got = read(fd.get(), text.data(), text.size());
  if (got < 0) {
    return system_error(path, errno);
  }
  text.resize(static_cast<size_t>(got));
  Result<StateMarker> marker = decode_marker(text);
  return marker.ok() ? marker : Error{path + " " + marker.error().message};
}

namespace {

Result<void> replace_file(const std::string& path, const StateMarker& marker, bool durable) {
  const std::string text = encode_marker(marker);
  const std::string temporary = path + ".tmp";
  const Descriptor fd(
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
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
