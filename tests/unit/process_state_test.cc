// SPDX-License-Identifier: Apache-2.0
// State directories: faithful copies, the exchange at a clean stop, and what a start makes of
// copies that it finds.
#include "supervisor/process/state_dirs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "supervisor/process/proc_info.h"
#include "supervisor/process/state_marker.h"
#include "supervisor/process/tree_copy.h"

namespace ftrun::process {
namespace {

namespace fs = std::filesystem;

class State : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/ftrun_state_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = fs::canonical(name);
    data_ = root_ + "/data";
    fs::create_directory(data_);
    write(data_ + "/file", "original");
  }
  void TearDown() override { fs::remove_all(root_); }

  static void write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }
  static std::string read(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static struct stat info(const std::string& path) {
    struct stat result {};
    EXPECT_EQ(lstat(path.c_str(), &result), 0) << path;
    return result;
  }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(root_), {}));
  }
  // A replica's copy as a supervisor that died left it behind.
  void leave_copy(const std::string& replica, uint64_t epoch, uint64_t lsn, const std::string& text,
                  const std::string& unit = "u") {
    ASSERT_TRUE(make_copies({data_}, unit, replica, epoch).ok());
    const std::string path = copy_path(data_, unit, replica);
    write(path + "/file", text);
    ASSERT_TRUE(update_markers({data_}, unit, replica, epoch, lsn).ok());
    bury(path);
  }
  // Makes the marker's supervisor one that is gone.
  static void bury(const std::string& path) {
    auto marker = read_marker(marker_path(path));
    ASSERT_TRUE(marker.ok());
    marker->started += 1;
    ASSERT_TRUE(write_marker(marker_path(path), *marker).ok());
  }
  std::string settle(bool recover) {
    const auto result = settle_copies({data_}, recover, &report_);
    return result.ok() ? "" : result.error().message;
  }

  std::string root_;
  std::string data_;
  std::vector<std::string> report_;
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST_F(State, ACopyIsLikeTheOriginal) {
  const std::string deep = data_ + "/a/b";
  fs::create_directories(deep);
  write(deep + "/one", "1");
  ASSERT_EQ(link((deep + "/one").c_str(), (data_ + "/two").c_str()), 0);
  ASSERT_EQ(symlink("../nowhere", (data_ + "/soft").c_str()), 0);
  ASSERT_EQ(mkfifo((data_ + "/fifo").c_str(), 0620), 0);
  ASSERT_EQ(chmod((data_ + "/two").c_str(), 0741), 0);
  const bool attributes = setxattr(data_.c_str(), "user.note", "x", 1, 0) == 0;
  const timespec times[2] = {{1000, 5}, {2000, 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, (data_ + "/a").c_str(), times, 0), 0);
  ASSERT_EQ(chmod((data_ + "/a").c_str(), 0500), 0);
  if (geteuid() == 0) {
    ASSERT_EQ(lchown((data_ + "/soft").c_str(), 12, 34), 0);
  }

  const std::string copy = root_ + "/copy";
  const auto result = copy_tree(data_, copy);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(read(copy + "/a/b/one"), "1");
  EXPECT_EQ(info(copy + "/two").st_ino, info(copy + "/a/b/one").st_ino);
  EXPECT_NE(info(copy + "/two").st_ino, info(data_ + "/two").st_ino);
  EXPECT_EQ(info(copy + "/two").st_mode, info(data_ + "/two").st_mode);
  EXPECT_EQ(fs::read_symlink(copy + "/soft"), "../nowhere");
  EXPECT_EQ(info(copy + "/soft").st_uid, info(data_ + "/soft").st_uid);
  EXPECT_EQ(info(copy + "/fifo").st_mode, info(data_ + "/fifo").st_mode);
  EXPECT_EQ(info(copy + "/a").st_mode & 07777, 0500u);
  EXPECT_EQ(info(copy + "/a").st_mtim.tv_sec, 2000);
  EXPECT_EQ(info(copy + "/a").st_mtim.tv_nsec, 7);
  if (attributes) {
    char value = 0;
    EXPECT_EQ(getxattr(copy.c_str(), "user.note", &value, 1), 1);
    EXPECT_EQ(value, 'x');
  }
  EXPECT_TRUE(remove_tree(copy).ok());
  EXPECT_FALSE(fs::exists(copy));
  ASSERT_EQ(chmod((data_ + "/a").c_str(), 0700), 0);
}

TEST_F(State, HolesStayHoles) {
  const std::string sparse = data_ + "/sparse";
  const int fd = open(sparse.c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_EQ(pwrite(fd, "end", 3, 64 << 20), 3);
  close(fd);
  ASSERT_TRUE(copy_tree(data_, root_ + "/copy").ok());
  EXPECT_EQ(info(root_ + "/copy/sparse").st_size, (64 << 20) + 3);
  EXPECT_LT(info(root_ + "/copy/sparse").st_blocks * 512, 4 << 20);
  EXPECT_EQ(read(root_ + "/copy/sparse"), read(sparse));
}

TEST_F(State, WhatCannotBeAStateDirectoryIsNamed) {
  const auto refusal = [](const std::vector<std::string>& directories) {
    const auto result = check_state_dirs(directories);
    return result.ok() ? "(accepted)" : result.error().message;
  };
  EXPECT_EQ(refusal({data_}), "(accepted)");
  EXPECT_EQ((*check_state_dirs({root_ + "/./data/../data"}))[0], data_);
  expect_contains(refusal({root_ + "/none"}), "/none: No such file");
  expect_contains(refusal({data_ + "/file"}), "not a directory");
  expect_contains(refusal({"/"}), "/ cannot be");
  expect_contains(refusal({"/proc"}), "is a mount point");
  expect_contains(refusal({data_, root_}), "overlap");
  expect_contains(refusal({data_, data_ + "/"}), "overlap");
}

TEST_F(State, ACleanStopExchangesAndLeavesNothingBehind) {
  const auto mounts = make_copies({data_}, "u", "a", 1);
  ASSERT_TRUE(mounts.ok()) << mounts.error().message;
  ASSERT_TRUE(make_copies({data_}, "u", "b", 1).ok());
  ASSERT_EQ(mounts->size(), 1u);
  EXPECT_EQ((*mounts)[0].source, data_ + ".ftrun-u-a");
  EXPECT_EQ((*mounts)[0].target, data_);
  write((*mounts)[0].source + "/file", "written by a");
  EXPECT_EQ(read(data_ + "/file"), "original");
  const auto adopted = adopt_copies({data_}, "u", "a");
  ASSERT_TRUE(adopted.ok()) << adopted.error().message;
  EXPECT_EQ(read(data_ + "/file"), "written by a");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(State, CopiesOfARunningUnitAreRefusedAlsoWithRecover) {
  ASSERT_TRUE(make_copies({data_}, "u", "a", 1).ok());
  expect_contains(settle(false), "is in use by unit u (supervisor " + std::to_string(getpid()));
  expect_contains(settle(true), "is in use by unit u");
  const auto second = make_copies({data_}, "other", "a", 1);
  ASSERT_FALSE(second.ok());
  expect_contains(second.error().message, "is in use by unit u");
}

TEST_F(State, AnUncleanEndIsRefusedAndNamesTheNewest) {
  leave_copy("a", 1, 900, "a");
  leave_copy("b", 2, 500, "b");
  const std::string message = settle(false);
  expect_contains(message, data_ + ".ftrun-u-b (unit u, replica b, view 2, record 500)");
  expect_contains(message, "--recover");
  EXPECT_EQ(read(data_ + "/file"), "original");
  EXPECT_EQ(settle(true), "");
  EXPECT_EQ(read(data_ + "/file"), "b");
  EXPECT_EQ(entries(), 1u);
  EXPECT_EQ(report_.size(), 2u);
}

TEST_F(State, TheRecordDecidesWithinAView) {
  leave_copy("a", 3, 901, "a");
  leave_copy("b", 3, 900, "b");
  EXPECT_EQ(settle(true), "");
  EXPECT_EQ(read(data_ + "/file"), "a");
}

TEST_F(State, AStopInterruptedAfterTheExchangeIsFinishedNotUndone) {
  leave_copy("a", 1, 10, "a");
  leave_copy("b", 1, 99, "b");
  // The exchange with a's copy was the last thing that happened.
  ASSERT_EQ(renameat2(AT_FDCWD, data_.c_str(), AT_FDCWD, copy_path(data_, "u", "a").c_str(),
                      RENAME_EXCHANGE),
            0);
  EXPECT_EQ(settle(false), "");
  EXPECT_EQ(read(data_ + "/file"), "a");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(State, AnIncompleteCopyIsNeverUsed) {
  leave_copy("a", 1, 10, "a");
  fs::rename(copy_path(data_, "u", "a"), copy_path(data_, "u", "a") + ".new");
  EXPECT_EQ(settle(false), "");
  EXPECT_EQ(read(data_ + "/file"), "original");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(State, SeveralDirectoriesComeFromOneReplica) {
  const std::string more = root_ + "/more";
  fs::create_directory(more);
  const std::vector<std::string> both = {data_, more};
  ASSERT_TRUE(make_copies(both, "u", "a", 1).ok());
  ASSERT_TRUE(make_copies(both, "u", "b", 1).ok());
  for (const std::string& directory : both) {
    write(copy_path(directory, "u", "a") + "/who", "a");
    write(copy_path(directory, "u", "b") + "/who", "b");
  }
  ASSERT_TRUE(update_markers(both, "u", "b", 1, 7).ok());
  for (const char* replica : {"a", "b"}) {
    bury(copy_path(data_, "u", replica));
    bury(copy_path(more, "u", replica));
  }
  ASSERT_TRUE(settle_copies(both, true, &report_).ok());
  EXPECT_EQ(read(data_ + "/who") + read(more + "/who"), "bb");
}

TEST_F(State, DamagedMarkersAreNamedNotIgnored) {
  leave_copy("a", 1, 10, "a");
  write(marker_path(copy_path(data_, "u", "a")), "{\"version\": 2}");
  expect_contains(settle(true), "version 2");
  write(marker_path(copy_path(data_, "u", "a")), "nonsense");
  expect_contains(settle(true), "is damaged");
}

// Each says what it is, which copy it belongs to, and what to do; none is followed or waited for.
TEST_F(State, WhateverStandsInAMarkersPlaceIsNamed) {
  leave_copy("a", 1, 10, "a");
  const std::string copy = copy_path(data_, "u", "a");
  const std::string path = marker_path(copy);
  const std::string text = read(path);
  const auto refused = [&](const char* what) {
    const std::string why = settle(true);
    expect_contains(why, path + what);
    expect_contains(why, "what " + copy + " holds may be newer than " + data_);
    fs::remove_all(path);
  };
  write(path, "");
  refused(" is damaged: empty");
  fs::create_directory(path);
  refused(" is a directory, and no marker");
  write(root_ + "/elsewhere", text);
  fs::create_symlink(root_ + "/elsewhere", path);
  refused(" is a symbolic link, and no marker");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  refused(" is no file, and no marker");
  write(path, text);
  EXPECT_EQ(settle(true), "");
  EXPECT_EQ(read(data_ + "/file"), "a");
}

TEST_F(State, AMarkerThatSomebodyDamagesMeanwhileIsWrittenAgain) {
  ASSERT_TRUE(make_copies({data_}, "u", "a", 1).ok());
  const std::string path = marker_path(copy_path(data_, "u", "a"));
  ASSERT_TRUE(update_markers({data_}, "u", "a", 1, 7).ok());
  const StateMarker before = *read_marker(path);
  for (const char* damage : {"", "nonsense"}) {
    write(path, damage);
    ASSERT_TRUE(update_markers({data_}, "u", "a", 1, 7).ok());
    EXPECT_EQ(*read_marker(path), before);
  }
  fs::remove(path);
  fs::create_symlink(data_, path);
  ASSERT_TRUE(update_markers({data_}, "u", "a", 1, 7).ok());
  EXPECT_EQ(*read_marker(path), before);
  fs::remove(path);
  fs::create_directory(path);
  expect_contains(update_markers({data_}, "u", "a", 1, 7).error().message, path);
}

TEST_F(State, DroppedCopiesAreGone) {
  leave_copy("a", 1, 10, "a");
  ASSERT_TRUE(drop_copies({data_}, "u", "a").ok());
  EXPECT_EQ(entries(), 1u);
}

TEST(ProcInfo, APidWithItsStartNamesAProcess) {
  const auto started = process_start(getpid());
  ASSERT_TRUE(started.has_value());
  EXPECT_TRUE(process_runs(getpid(), *started));
  EXPECT_FALSE(process_runs(getpid(), *started + 1));
  const pid_t child = fork();
  if (child == 0) {
    _exit(0);
  }
  siginfo_t ended{};
  waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT);
  EXPECT_FALSE(process_runs(child, 0)) << "a zombie does not run";
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(process_start(child).has_value());
}

TEST(StateMarkers, WhatIsNoMarkerIsDamage) {
  const StateMarker marker{"u", "a", 3, 7, UINT64_MAX, 4711, 99};
  EXPECT_EQ(*decode_marker(encode_marker(marker)), marker);
  const std::string text = encode_marker(marker);
  for (size_t length = 0; length + 2 < text.size(); ++length) {
    EXPECT_FALSE(decode_marker(text.substr(0, length)).ok()) << length;
  }
  const auto with = [&text](const std::string& from, const std::string& to) {
    std::string changed = text;
    return decode_marker(changed.replace(changed.find(from), from.size(), to));
  };
  EXPECT_EQ(with(":1,", ":2,").error().message, "has version 2; this ftrun knows version 1");
  EXPECT_FALSE(with(":1,", ":true,").ok());
  EXPECT_FALSE(with(":1,", ":1.0,").ok());
  EXPECT_FALSE(with("\"a\"", "1").ok());
  EXPECT_FALSE(with(":3,", ":-3,").ok());
  EXPECT_FALSE(with(":7,", ":1e300,").ok());
  EXPECT_FALSE(with(":4711,", ":4294971999,").ok()) << "it would name another process";
}

}  // namespace
}  // namespace ftrun::process
