// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/state_dirs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <tuple>

#include "fmt/format.h"
#include "supervisor/process/proc_info.h"
#include "supervisor/process/state_marker.h"
#include "supervisor/process/tree_copy.h"

namespace ftrun::process {
namespace {

constexpr std::string_view kInfix = ".ftrun-";

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Makes renames and new names in `directory` durable.
Result<void> sync_directory(const std::string& directory) {
  const Descriptor fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0) {
    return system_error("syncing " + directory, errno);
  }
  return {};
}

Result<void> sync_file_system(const std::string& path) {
  const Descriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || syncfs(fd.get()) != 0) {
    return system_error("syncing the file system of " + path, errno);
  }
  return {};
}

Result<std::string> check_state_dir(const std::string& directory) {
  char* real = realpath(directory.c_str(), nullptr);
  if (real == nullptr) {
    return system_error("state directory " + directory, errno);
  }
  const std::string path = real;
  free(real);
  struct stat info {};
  struct stat parent {};
  if (path == "/") {
    return Error{"/ cannot be a state directory"};
  }
  if (stat(path.c_str(), &info) != 0 || stat(parent_of(path).c_str(), &parent) != 0) {
    return system_error("state directory " + path, errno);
  }
  if (!S_ISDIR(info.st_mode)) {
    return Error{fmt::format("state directory {}: not a directory", path), ENOTDIR};
  }
  if (info.st_dev != parent.st_dev) {
    return Error{fmt::format(
        "state directory {} is a mount point: its copies could not change places with it (name a "
        "directory inside it)",
        path)};
  }
  if (faccessat(AT_FDCWD, parent_of(path).c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    return system_error(fmt::format("state directory {}: the replicas' copies would lie beside it, "
                                    "but {} is not writable",
                                    path, parent_of(path)),
                        errno);
  }
  return path;
}

Result<void> remove_copy(const std::string& path) {
  FTRUN_TRY(remove_tree(path));
  FTRUN_TRY(remove_tree(path + ".new"));
  // ORDER: the marker last: a copy without a marker would never be found again.
  return remove_tree(marker_path(path));
}

// Exchanges original and copy unless that has happened; the old content stays in `copy.path`.
Result<void> exchange(const StateCopy& copy) {
  if (copy.exchanged) {
    return {};
  }
  FTRUN_TRY(sync_file_system(copy.path));
  if (renameat2(AT_FDCWD, copy.path.c_str(), AT_FDCWD, copy.directory.c_str(), RENAME_EXCHANGE) !=
      0) {
    return system_error(fmt::format("exchanging {} and {}", copy.path, copy.directory), errno);
  }
  return sync_directory(parent_of(copy.directory));
}

std::string copy_of(const std::string& marker) {
  return marker.substr(0, marker.size() - kMarkerSuffix.size());
}

std::string describe(const StateCopy& copy) {
  return fmt::format("{} (unit {}, replica {}, view {}, record {})", copy.path, copy.marker.unit,
                     copy.marker.replica, copy.marker.epoch, copy.marker.lsn);
}

bool is_complete(const StateCopy& copy) {
  return copy.complete;
}

// An incomplete copy is older than any complete one.
bool older(const StateCopy& left, const StateCopy& right) {
  return std::tie(left.complete, left.marker.epoch, left.marker.lsn) <
         std::tie(right.complete, right.marker.epoch, right.marker.lsn);
}

// Whether some copy has become the original already: then that replica's are the ones to keep.
const StateCopy* newest_of(const std::vector<StateCopy>& copies) {
  const auto exchanged = std::find_if(copies.begin(), copies.end(),
                                      [](const StateCopy& copy) { return copy.exchanged; });
  if (exchanged != copies.end()) {
    return &*exchanged;
  }
  const auto newest = std::max_element(copies.begin(), copies.end(), older);
  return newest == copies.end() ? nullptr : &*newest;
}

// `unit` is the one that may run (empty: none).
Result<void> refuse_running(const std::vector<StateCopy>& copies, const std::string& unit) {
  for (const StateCopy& copy : copies) {
    if (copy.marker.unit != unit &&
        process_runs(static_cast<pid_t>(copy.marker.supervisor), copy.marker.started)) {
      return Error{fmt::format("state directory {} is in use by unit {} (supervisor {})",
                               copy.directory, copy.marker.unit, copy.marker.supervisor),
                   EBUSY};
    }
  }
  return {};
}

// Of the chosen replica, in every directory; the others go.
Result<void> keep_replica(const std::vector<std::vector<StateCopy>>& by_directory,
                          const std::vector<std::string>& directories, const StateMarker& chosen,
                          std::vector<std::string>* report) {
  const auto is_chosen = [&chosen](const StateCopy& copy) {
    return copy.complete && copy.marker.unit == chosen.unit &&
           copy.marker.replica == chosen.replica;
  };
  for (size_t i = 0; i < directories.size(); ++i) {
    const auto& copies = by_directory[i];
    if (std::any_of(copies.begin(), copies.end(), is_complete) &&
        std::none_of(copies.begin(), copies.end(), is_chosen)) {
      return Error{
          fmt::format("state directory {} has copies, but none of unit {}'s replica {}, "
                      "which is the newest elsewhere: settle it by hand",
                      directories[i], chosen.unit, chosen.replica)};
    }
  }
  std::vector<StateCopy> chosen_copies;
  std::vector<StateCopy> others;
  for (const auto& copies : by_directory) {
    for (const StateCopy& copy : copies) {
      (is_chosen(copy) ? chosen_copies : others).push_back(copy);
    }
  }
  // ORDER: first every directory gets its new content, then the other replicas' copies go, and last
  // the old content with the markers whose inodes say that the exchange has happened. Whatever
  // interrupts this, the next start finishes it instead of taking an older copy for the newest.
  for (const StateCopy& copy : chosen_copies) {
    FTRUN_TRY(exchange(copy));
    report->push_back(fmt::format("{} is now what was in {}", copy.directory, describe(copy)));
  }
  for (const StateCopy& copy : others) {
    FTRUN_TRY(remove_copy(copy.path));
    report->push_back("removed " + describe(copy));
  }
  for (const StateCopy& copy : chosen_copies) {
    FTRUN_TRY(remove_copy(copy.path));
  }
  return {};
}

StateMarker own_marker(const std::string& unit, const std::string& replica, uint64_t epoch) {
  StateMarker marker;
  marker.unit = unit;
  marker.replica = replica;
  marker.epoch = epoch;
  marker.supervisor = getpid();
  marker.started = process_start(getpid()).value_or(0);
  return marker;
}

Result<void> make_copy(const std::string& directory, StateMarker marker) {
  const std::string path = copy_path(directory, marker.unit, marker.replica);
  if (access(path.c_str(), F_OK) == 0) {
    return Error{path + " exists already", EEXIST};
  }
  // ORDER: say that we are here, then look for others: of two units that start at once at least one
  // sees the other.
  FTRUN_TRY(write_marker(marker_path(path), marker));
  auto copies = find_copies(directory);
  FTRUN_TRY(copies);
  FTRUN_TRY(refuse_running(*copies, marker.unit));
  // ORDER: complete and on disk, then the marker with its inode, then the name: what is named is
  // whole.
  FTRUN_TRY(remove_tree(path + ".new"));
  FTRUN_TRY(copy_tree(directory, path + ".new"));
  FTRUN_TRY(sync_file_system(path + ".new"));
  struct stat info {};
  if (stat((path + ".new").c_str(), &info) != 0) {
    return system_error(path + ".new", errno);
  }
  marker.inode = info.st_ino;
  FTRUN_TRY(write_marker(marker_path(path), marker));
  if (rename((path + ".new").c_str(), path.c_str()) != 0) {
    return system_error(path, errno);
  }
  return sync_directory(parent_of(directory));
}

}  // namespace

std::string copy_path(const std::string& directory, const std::string& unit,
                      const std::string& replica) {
  return fmt::format("{}{}{}-{}", directory, kInfix, unit, replica);
}

Result<std::vector<std::string>> check_state_dirs(const std::vector<std::string>& directories) {
  std::vector<std::string> paths;
  for (const std::string& directory : directories) {
    auto path = check_state_dir(directory);
    FTRUN_TRY(path);
    for (const std::string& other : paths) {
      if (*path == other || path->starts_with(other + "/") || other.starts_with(*path + "/")) {
        return Error{fmt::format("state directories {} and {} overlap", other, *path)};
      }
    }
    paths.push_back(*path);
  }
  return paths;
}

Result<std::vector<StateCopy>> find_copies(const std::string& directory) {
  std::vector<StateCopy> copies;
  struct stat original {};
  if (stat(directory.c_str(), &original) != 0) {
    return system_error("state directory " + directory, errno);
  }
  const std::string prefix = directory.substr(directory.rfind('/') + 1) + std::string(kInfix);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parent_of(directory), error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(prefix) || !name.ends_with(kMarkerSuffix)) {
      continue;
    }
    auto marker = read_marker(entry.path());
    if (!marker.ok()) {
      return Error{
          fmt::format("{}: what {} holds may be newer than {}, and nothing says so any more; "
                      "compare them, put the one to go on with in the place of {}, and remove the "
                      "other, and the marker",
                      marker.error().message, copy_of(entry.path()), directory, directory)};
    }
    StateCopy copy{directory, copy_path(directory, marker->unit, marker->replica), *marker};
    if (marker_path(copy.path) != entry.path()) {
      return Error{fmt::format("{} names unit {} and replica {}: it is not where it belongs",
                               entry.path().string(), marker->unit, marker->replica)};
    }
    copy.exchanged = marker->inode == original.st_ino;
    copy.complete = copy.exchanged || access(copy.path.c_str(), F_OK) == 0;
    copies.push_back(std::move(copy));
  }
  if (error) {
    return system_error(parent_of(directory), error.value());
  }
  std::sort(copies.begin(), copies.end(),
            [](const StateCopy& left, const StateCopy& right) { return left.path < right.path; });
  return copies;
}

Result<void> settle_copies(const std::vector<std::string>& directories, bool recover,
                           std::vector<std::string>* report) {
  std::vector<std::vector<StateCopy>> by_directory;
  std::vector<StateCopy> all;
  for (const std::string& directory : directories) {
    auto copies = find_copies(directory);
    FTRUN_TRY(copies);
    FTRUN_TRY(refuse_running(*copies, ""));
    all.insert(all.end(), copies->begin(), copies->end());
    by_directory.push_back(std::move(*copies));
  }
  const StateCopy* newest = newest_of(all);
  if (newest == nullptr) {
    return {};
  }
  if (!newest->complete) {
    for (const StateCopy& copy : all) {
      FTRUN_TRY(remove_copy(copy.path));
      report->push_back("removed the incomplete " + describe(copy));
    }
    return {};
  }
  // A clean stop was under way: its outcome is decided, only the work is not finished.
  if (!newest->exchanged && !recover) {
    return Error{
        fmt::format("unit {} ended uncleanly: the newest state is {}, the original {} is "
                    "older; --recover continues with the newest and removes the rest",
                    newest->marker.unit, describe(*newest), newest->directory)};
  }
  const StateMarker chosen = newest->marker;
  return keep_replica(by_directory, directories, chosen, report);
}

Result<std::vector<Mount>> make_copies(const std::vector<std::string>& directories,
                                       const std::string& unit, const std::string& replica,
                                       uint64_t epoch) {
  std::vector<Mount> mounts;
  for (const std::string& directory : directories) {
    FTRUN_TRY(make_copy(directory, own_marker(unit, replica, epoch)));
    mounts.push_back({copy_path(directory, unit, replica), directory});
  }
  return mounts;
}

Result<void> announce(const std::vector<std::string>& directories, Control* control) {
  std::string text;
  for (const std::string& directory : directories) {
    if (directory.find('\n') != std::string::npos) {
      return Error{"a state directory's name contains a newline"};
    }
    text += directory + "\n";
  }
  if (text.size() >= sizeof control->state_directories) {
    return Error{
        fmt::format("the names of the state directories are too long: {} bytes, at most {}",
                    text.size(), sizeof control->state_directories - 1)};
  }
  std::memcpy(control->state_directories, text.c_str(), text.size() + 1);
  return {};
}

Result<void> update_markers(const std::vector<std::string>& directories, const std::string& unit,
                            const std::string& replica, uint64_t epoch, uint64_t lsn) {
  for (const std::string& directory : directories) {
    const std::string path = marker_path(copy_path(directory, unit, replica));
    Result<StateMarker> marker = read_marker(path);
    if (!marker.ok()) {
      // Somebody has damaged it: it is ours, and we know what it says.
      struct stat copy {};
      if (stat(copy_path(directory, unit, replica).c_str(), &copy) != 0) {
        return marker.error();
      }
      marker = own_marker(unit, replica, epoch);
      marker->inode = copy.st_ino;
    }
    marker->epoch = epoch;
    marker->lsn = lsn;
    FTRUN_TRY(replace_marker(path, *marker));
  }
  return {};
}

Result<void> adopt_copies(const std::vector<std::string>& directories, const std::string& unit,
                          const std::string& replica) {
  std::vector<std::vector<StateCopy>> by_directory;
  StateMarker chosen;
  chosen.unit = unit;
  chosen.replica = replica;
  for (const std::string& directory : directories) {
    auto copies = find_copies(directory);
    FTRUN_TRY(copies);
    std::erase_if(*copies, [&unit](const StateCopy& copy) { return copy.marker.unit != unit; });
    by_directory.push_back(std::move(*copies));
  }
  std::vector<std::string> report;
  return keep_replica(by_directory, directories, chosen, &report);
}

Result<void> drop_copies(const std::vector<std::string>& directories, const std::string& unit,
                         const std::string& replica) {
  for (const std::string& directory : directories) {
    FTRUN_TRY(remove_copy(copy_path(directory, unit, replica)));
  }
  return {};
}

}  // namespace ftrun::process
