// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/tree_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>
#include <vector>

#include "supervisor/process/launch.h"

namespace ftrun::process {
namespace {

constexpr size_t kCopyChunkBytes = 1 << 20;

class TreeCopy {
 public:
  explicit TreeCopy(dev_t device) : device_(device) {}
  Result<void> entry(const std::string& source, const std::string& target);

 private:
  Result<void> directory(const std::string& source, const std::string& target);
  Result<void> file(const std::string& source, const std::string& target);
  Result<void> link(const std::string& source, const std::string& target);
  Result<void> attributes(const std::string& source, const std::string& target,
                          const struct stat& info);

  dev_t device_;
  std::map<ino_t, std::string> linked_;  // files with several names: the first one's copy
};

Result<void> extended_attributes(const std::string& source, const std::string& target) {
  const ssize_t size = llistxattr(source.c_str(), nullptr, 0);
  if (size <= 0) {
    return size == 0 || errno == ENOTSUP ? Result<void>() : system_error(source, errno);
  }
  std::vector<char> names(static_cast<size_t>(size));
  const ssize_t listed = llistxattr(source.c_str(), names.data(), names.size());
  if (listed < 0) {
    return system_error("extended attributes of " + source, errno);
  }
  for (const char* name = names.data(); name < names.data() + listed; name += strlen(name) + 1) {
    const ssize_t length = lgetxattr(source.c_str(), name, nullptr, 0);
    std::vector<char> value(length > 0 ? static_cast<size_t>(length) : 0);
    if (length < 0 || lgetxattr(source.c_str(), name, value.data(), value.size()) != length ||
        lsetxattr(target.c_str(), name, value.data(), value.size(), 0) != 0) {
      return system_error("extended attribute " + std::string(name) + " of " + source, errno);
    }
  }
  return {};
}

// ORDER: owner before mode (chown clears setuid bits), times last (everything else changes them).
Result<void> TreeCopy::attributes(const std::string& source, const std::string& target,
                                  const struct stat& info) {
  if (lchown(target.c_str(), info.st_uid, info.st_gid) != 0) {
    return system_error("giving the copy of " + source + " its owner", errno);
  }
  FTRUN_TRY(extended_attributes(source, target));
  if (!S_ISLNK(info.st_mode) && chmod(target.c_str(), info.st_mode & 07777) != 0) {
    return system_error("giving the copy of " + source + " its mode", errno);
  }
  const timespec times[2] = {info.st_atim, info.st_mtim};
  if (utimensat(AT_FDCWD, target.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return system_error("giving the copy of " + source + " its times", errno);
  }
  return {};
}

// Copies [from, to), which holds data.
Result<void> copy_range(const std::string& source, int in, int out, off_t from, off_t to) {
  std::vector<char> buffer(kCopyChunkBytes);
  while (from < to) {
    const size_t wanted = static_cast<size_t>(std::min<off_t>(to - from, kCopyChunkBytes));
    const ssize_t got = pread(in, buffer.data(), wanted, from);
    if (got <= 0) {
      return system_error("reading " + source, got == 0 ? EIO : errno);
    }
    for (ssize_t done = 0; done < got;) {
      const ssize_t put =
          pwrite(out, buffer.data() + done, static_cast<size_t>(got - done), from + done);
      if (put < 0) {
        return system_error("writing the copy of " + source, errno);
      }
      done += put;
    }
    from += got;
  }
  return {};
}

Result<void> copy_data(const std::string& source, int in, int out, off_t size) {
  if (ftruncate(out, size) != 0) {
    return system_error("writing the copy of " + source, errno);
  }
  for (off_t at = 0; at < size;) {
    const off_t data = lseek(in, at, SEEK_DATA);
    if (data < 0) {
      return errno == ENXIO ? Result<void>() : system_error("reading " + source, errno);
    }
    const off_t hole = lseek(in, data, SEEK_HOLE);
    const off_t end = hole < 0 ? size : std::min(hole, size);
    FTRUN_TRY(copy_range(source, in, out, data, end));
    at = end;
  }
  return {};
}

Result<void> TreeCopy::file(const std::string& source, const std::string& target) {
  const Descriptor in(open(source.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!in.valid()) {
    return system_error(source, errno);
  }
  const Descriptor out(open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out.valid()) {
    return system_error(target, errno);
  }
  struct stat info {};
  if (fstat(in.get(), &info) != 0) {
    return system_error(source, errno);
  }
  if (ioctl(out.get(), FICLONE, in.get()) == 0) {
    return {};
  }
  return copy_data(source, in.get(), out.get(), info.st_size);
}

Result<void> TreeCopy::link(const std::string& source, const std::string& target) {
  char content[PATH_MAX];
  const ssize_t length = readlink(source.c_str(), content, sizeof content);
  if (length < 0 || length == sizeof content) {
    return system_error(source, length < 0 ? errno : ENAMETOOLONG);
  }
  if (symlink(std::string(content, static_cast<size_t>(length)).c_str(), target.c_str()) != 0) {
    return system_error(target, errno);
  }
  return {};
}

Result<void> TreeCopy::directory(const std::string& source, const std::string& target) {
  if (mkdir(target.c_str(), 0700) != 0) {
    return system_error(target, errno);
  }
  DIR* stream = opendir(source.c_str());
  if (stream == nullptr) {
    return system_error(source, errno);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* item = readdir(stream)) {
    if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0) {
      names.emplace_back(item->d_name);
    }
  }
  const int number = errno;
  closedir(stream);
  if (number != 0) {
    return system_error(source, number);
  }
  for (const std::string& name : names) {
    FTRUN_TRY(entry(source + "/" + name, target + "/" + name));
  }
  return {};
}

Result<void> TreeCopy::entry(const std::string& source, const std::string& target) {
  struct stat info {};
  if (lstat(source.c_str(), &info) != 0) {
    return system_error(source, errno);
  }
  if (info.st_dev != device_) {
    return Error{source + " lies on another file system: a state directory must be on one", EXDEV};
  }
  if (!S_ISDIR(info.st_mode) && info.st_nlink > 1) {
    const auto [known, is_new] = linked_.try_emplace(info.st_ino, target);
    if (!is_new) {
      return ::link(known->second.c_str(), target.c_str()) == 0 ? Result<void>()
                                                                : system_error(target, errno);
    }
  }
  if (S_ISDIR(info.st_mode)) {
    FTRUN_TRY(directory(source, target));
  } else if (S_ISREG(info.st_mode)) {
    FTRUN_TRY(file(source, target));
  } else if (S_ISLNK(info.st_mode)) {
    FTRUN_TRY(link(source, target));
  } else if (mknod(target.c_str(), info.st_mode, info.st_rdev) != 0) {
    return system_error("copying the special file " + source, errno);
  }
  return attributes(source, target, info);
}

// Lets an ordinary owner remove what is in its read-only directories; what stays shut is reported
// by the removal.
void open_directories(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return;
  }
  chmod(path.c_str(), 0700);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    open_directories(entry.path());
  }
}

}  // namespace

Result<void> copy_tree(const std::string& source, const std::string& target) {
  struct stat info {};
  if (lstat(source.c_str(), &info) != 0) {
    return system_error(source, errno);
  }
  if (lstat(target.c_str(), &info) == 0) {
    return Error{target + " exists already", EEXIST};
  }
  if (lstat(source.c_str(), &info) != 0) {
    return system_error(source, errno);
  }
  TreeCopy copy(info.st_dev);
  const Result<void> outcome = copy.entry(source, target);
  if (!outcome.ok()) {
    const Result<void> removed = remove_tree(target);
    if (!removed.ok()) {
      return Error{outcome.error().message + "; and then: " + removed.error().message,
                   outcome.error().number};
    }
  }
  return outcome;
}

Result<void> remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error == std::errc::permission_denied) {
    open_directories(path);
    std::filesystem::remove_all(path, error);
  }
  return error ? system_error("removing " + path, error.value()) : Result<void>();
}

}  // namespace ftrun::process
