// SPDX-License-Identifier: Apache-2.0
// Views as immutable files: see views.h. Runs in the supervisor.
#include "supervisor/arbiter/views.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <sstream>

namespace ftrun::arbiter {

namespace {

constexpr unsigned kReplicasMax = 26;
constexpr size_t kViewBytesMax = 512;
constexpr std::string_view kFilePrefix = "view.";

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

bool is_member(const unit::View& view, unit::ReplicaId replica) {
  return std::find(view.replicas.begin(), view.replicas.end(), replica) != view.replicas.end();
}

Result<void> write_file(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    return system_error(path, errno);
  }
  const ssize_t written = write(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (written != static_cast<ssize_t>(text.size())) {
    return system_error(path, written < 0 ? error : ENOSPC);
  }
  return {};
}

}  // namespace

std::string replica_name(unit::ReplicaId replica) {
  return replica < kReplicasMax ? std::string(1, static_cast<char>('a' + replica)) : "?";
}

std::optional<unit::ReplicaId> replica_from_name(std::string_view name) {
  if (name.size() != 1 || name[0] < 'a' || name[0] > 'z') {
    return std::nullopt;
  }
  return static_cast<unit::ReplicaId>(name[0] - 'a');
}

unit::View first_view(unsigned replicas) {
  unit::View view;
  view.epoch = 1;
  for (unsigned i = 0; i < replicas; ++i) {
    view.replicas.push_back(static_cast<unit::ReplicaId>(i));
  }
  view.sender = view.replicas.back();
  return view;
}

std::string encode_view(const unit::View& view) {
  std::string replicas;
  for (const unit::ReplicaId replica : view.replicas) {
    replicas += (replicas.empty() ? "" : ",") + replica_name(replica);
  }
  return fmt::format("epoch {} replicas {} sender {}\n", view.epoch, replicas,
                     replica_name(view.sender));
}

Result<unit::View> decode_view(std::string_view text) {
  const Error bad{"not a view"};
  std::istringstream words{std::string(text)};
  std::string key[3];
  std::string epoch, replicas, sender, rest;
  if (!(words >> key[0] >> epoch >> key[1] >> replicas >> key[2] >> sender) || (words >> rest) ||
      key[0] != "epoch" || key[1] != "replicas" || key[2] != "sender") {
    return bad;
  }
  unit::View view;
  const std::optional<uint64_t> number = parse_number(epoch);
  const std::optional<unit::ReplicaId> last = replica_from_name(sender);
  if (!number || !last) {
    return bad;
  }
  view.epoch = *number;
  view.sender = *last;
  std::istringstream names{replicas};
  for (std::string name; std::getline(names, name, ',');) {
    const std::optional<unit::ReplicaId> replica = replica_from_name(name);
    if (!replica || is_member(view, *replica)) {
      return bad;
    }
    view.replicas.push_back(*replica);
  }
  // Only encode_view() writes views: what reads otherwise, or was cut off, is not one.
  if (!is_member(view, view.sender) || encode_view(view) != text) {
    return bad;
  }
  return view;
}

std::string file_of_epoch(uint64_t epoch) {
  return fmt::format("{}{}", kFilePrefix, epoch);
}

std::optional<uint64_t> epoch_of_file(std::string_view name) {
  if (!name.starts_with(kFilePrefix)) {
    return std::nullopt;
  }
  const std::optional<uint64_t> epoch = parse_number(name.substr(kFilePrefix.size()));
  // With zeros in front it would be the name of a file that nobody wrote.
  return epoch && file_of_epoch(*epoch) == name ? epoch : std::nullopt;
}

std::string Views::path(uint64_t epoch) const {
  return directory_ + "/" + file_of_epoch(epoch);
}

Result<unit::View> Views::publish(const unit::View& view) const {
  const std::string target = path(view.epoch);
  const std::string temporary =
      fmt::format("{}/.{}{}.{}", directory_, kFilePrefix, view.epoch, getpid());
  FTRUN_TRY(write_file(temporary, encode_view(view)));
  // ORDER: the file is complete before link(2) makes it visible under its name; it never changes
  // afterwards, so a reader sees all of it or nothing.
  int linked = link(temporary.c_str(), target.c_str());
  int error = errno;
  if (linked != 0 && error == EEXIST && !read(view.epoch).ok()) {
    linked = rename(temporary.c_str(), target.c_str());  // somebody has damaged it
    error = errno;
  }
  unlink(temporary.c_str());
  if (linked != 0 && error != EEXIST) {
    return system_error(target, error);
  }
  Result<std::optional<unit::View>> newest = current();
  if (!newest.ok()) {
    return newest.error();
  }
  if (!newest->has_value()) {
    return Error{target + ": vanished after it was published"};
  }
  return **newest;
}

Result<unit::View> Views::read(uint64_t epoch) const {
  const std::string name = path(epoch);
  const int fd = open(name.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    return system_error(name, errno);
  }
  char buffer[kViewBytesMax];
  const ssize_t got = ::read(fd, buffer, sizeof(buffer));
  const int error = errno;
  close(fd);
  if (got < 0) {
    return system_error(name, error);
  }
  Result<unit::View> view = decode_view({buffer, static_cast<size_t>(got)});
  if (!view.ok()) {
    return Error{name + ": " + view.error().message};
  }
  if (view->epoch != epoch) {
    return Error{fmt::format("{}: holds the view of epoch {}", name, view->epoch)};
  }
  return view;
}

Result<std::optional<unit::View>> Views::current() const {
  DIR* directory = opendir(directory_.c_str());
  if (directory == nullptr) {
    return system_error(directory_, errno);
  }
  std::optional<uint64_t> newest;
  while (const dirent* entry = readdir(directory)) {
    const std::optional<uint64_t> epoch = epoch_of_file(entry->d_name);
    if (epoch && (!newest || *epoch > *newest)) {
      newest = epoch;
    }
  }
  closedir(directory);
  if (!newest) {
    return std::optional<unit::View>();
  }
  Result<unit::View> view = read(*newest);
  if (!view.ok()) {
    return view.error();
  }
  return std::optional<unit::View>(*view);
}

}  // namespace ftrun::arbiter
