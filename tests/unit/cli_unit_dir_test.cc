// SPDX-License-Identifier: Apache-2.0
// Run directories: whose they are, whether their unit lives, and how one is claimed.
#include "cli/unit_dir.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fmt/format.h"

namespace ftrun::cli {
namespace {

namespace fs = std::filesystem;

class UnitDir : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/ftrun_units_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = fs::canonical(name);
    setenv("XDG_RUNTIME_DIR", root_.c_str(), 1);
    run_dir_ = units_directory() + "/u";
    ASSERT_TRUE(make_private_directory(units_directory()).ok());
  }
  void TearDown() override {
    if (process_ > 0) {
      kill(process_, SIGKILL);
      waitpid(process_, nullptr, 0);
    }
    fs::remove_all(root_);
  }
  // A process whose command line names the run directory, as a supervisor's does.
  void start_process(const std::string& run_dir) {
    process_ = fork();
    if (process_ == 0) {
      execl(PROBE, PROBE, "wait", "--run-dir", run_dir.c_str(), nullptr);
      _exit(127);
    }
    while (!belongs_to(process_, run_dir)) {  // until it has become the program
      ASSERT_EQ(kill(process_, 0), 0);
    }
  }
  static void write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }
  static std::string refusal(const Result<void>& result) {
    return result.ok() ? "(accepted)" : result.error().message;
  }
  std::string root_;
  std::string run_dir_;
  std::vector<std::string> notes_;
  pid_t process_ = 0;
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST_F(UnitDir, ANewOneIsMadePrivate) {
  ASSERT_TRUE(claim_run_directory(run_dir_, "u", &notes_).ok());
  struct stat info {};
  ASSERT_EQ(stat(run_dir_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(UnitDir, WhatIsNotPrivateIsRefused) {
  fs::create_directory(root_ + "/open");
  chmod((root_ + "/open").c_str(), 0755);
  expect_contains(refusal(make_private_directory(root_ + "/open")), "has mode 755");
  fs::create_directory(root_ + "/mine");
  chmod((root_ + "/mine").c_str(), 0700);
  fs::create_symlink(root_ + "/mine", root_ + "/link");
  expect_contains(refusal(make_private_directory(root_ + "/link")), "is not a directory");
  if (geteuid() == 0) {
    ASSERT_EQ(chown((root_ + "/mine").c_str(), 65534, 65534), 0);
    expect_contains(refusal(make_private_directory(root_ + "/mine")),
                    "belongs to user 65534, not to 0");
  }
}

TEST_F(UnitDir, ALivingUnitIsRefusedWithItsPid) {
  ASSERT_TRUE(claim_run_directory(run_dir_, "u", &notes_).ok());
  ASSERT_TRUE(write_unit_file(run_dir_, {"u", 2, "server", 1}).ok());
  start_process(run_dir_);
  write(run_dir_ + "/sup.b.json", fmt::format("{{\"supervisor\":{}}}", process_));
  expect_contains(refusal(claim_run_directory(run_dir_, "u", &notes_)),
                  fmt::format("unit u is running already (supervisor b, pid {})", process_));
  const auto units = find_running_units();
  ASSERT_TRUE(units.ok());
  ASSERT_EQ(units->size(), 1u);
  EXPECT_EQ(units->front().unit, "u");
  EXPECT_EQ(units->front().run_dir, run_dir_);
}

TEST_F(UnitDir, ADeadUnitIsReplacedAndItsKeeperKilled) {
  ASSERT_TRUE(claim_run_directory(run_dir_, "u", &notes_).ok());
  ASSERT_TRUE(write_unit_file(run_dir_, {"u", 2, "server", 1}).ok());
  start_process(run_dir_);
  // The supervisor's pid was given to a process that has nothing to do with the unit: us.
  write(run_dir_ + "/sup.a.json",
        fmt::format("{{\"supervisor\":{},\"keeper\":{}}}", getpid(), process_));
  EXPECT_EQ(refusal(claim_run_directory(run_dir_, "u", &notes_)), "(accepted)");
  EXPECT_TRUE(fs::is_empty(run_dir_));
  int status = 0;
  EXPECT_EQ(waitpid(process_, &status, 0), process_);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  process_ = 0;
}

TEST_F(UnitDir, AForeignDirectoryIsNotEmptied) {
  fs::create_directory(root_ + "/precious");
  chmod((root_ + "/precious").c_str(), 0700);
  write(root_ + "/precious/file", "text");
  expect_contains(refusal(claim_run_directory(root_ + "/precious", "u", &notes_)),
                  "neither empty nor the run directory of a unit");
  EXPECT_TRUE(fs::exists(root_ + "/precious/file"));
}

// What a dead unit left is no reason not to start, whatever a power failure made of it.
TEST_F(UnitDir, DamagedFilesOfADeadUnitAreRemovedWithANote) {
  const std::vector<std::string> names = {
      "unit.json",   "sup.a.json", "sup.b.json",   "view.1",     "view.2",   "events.jsonl",
      "exit_status", "console.a",  "last_words.a", "report.1.a", "sup.a.log"};
  for (const std::string text : {"", "[", "{\"supervisor\":\"x\"}", "\xff\xfe"}) {
    for (const std::string& name : names) {
      ASSERT_EQ(refusal(claim_run_directory(run_dir_, "u", &notes_)), "(accepted)");
      ASSERT_TRUE(write_unit_file(run_dir_, {"u", 2, "server", 1}).ok());
      write(run_dir_ + "/" + name, text);
      notes_.clear();
      EXPECT_EQ(refusal(claim_run_directory(run_dir_, "u", &notes_)), "(accepted)") << name;
      EXPECT_TRUE(fs::is_empty(run_dir_)) << name;
      if (name == "sup.a.json") {
        ASSERT_EQ(notes_.size(), 1u);
        expect_contains(notes_[0], "sup.a.json is damaged");
      }
    }
  }
}

TEST_F(UnitDir, WhatIsNoFileAtAllIsRemovedAsWell) {
  for (const std::string name : {"unit.json", "sup.a.json", "exit_status", "sup.a.sock"}) {
    ASSERT_EQ(refusal(claim_run_directory(run_dir_, "u", &notes_)), "(accepted)");
    write(run_dir_ + "/sup.b.json", "{}");
    ASSERT_EQ(mkfifo((run_dir_ + "/" + name).c_str(), 0600), 0);
    EXPECT_EQ(refusal(claim_run_directory(run_dir_, "u", &notes_)), "(accepted)") << name;
    fs::create_directory(run_dir_ + "/" + name);
    EXPECT_EQ(refusal(claim_run_directory(run_dir_, "u", &notes_)), "(accepted)") << name;
    fs::create_symlink("nowhere", run_dir_ + "/" + name);
    EXPECT_EQ(refusal(claim_run_directory(run_dir_, "u", &notes_)), "(accepted)") << name;
  }
}

TEST_F(UnitDir, ANameTooLongForSocketsIsRefused) {
  expect_contains(refusal(claim_run_directory(root_ + "/" + std::string(90, 'x'), "u", &notes_)),
                  "too long for the sockets");
}

TEST_F(UnitDir, AChosenDirectoryIsFoundByItsName) {
  const std::string chosen = root_ + "/chosen";
  ASSERT_TRUE(claim_run_directory(chosen, "u", &notes_).ok());
  ASSERT_TRUE(write_unit_file(chosen, {"u", 2, "server", 1}).ok());
  ASSERT_TRUE(*publish_name(chosen, "u"));
  EXPECT_EQ(fs::canonical(run_dir_), chosen);
  start_process(chosen);
  write(chosen + "/sup.a.json", fmt::format("{{\"supervisor\":{}}}", process_));
  ASSERT_EQ(find_running_units()->size(), 1u);
  // Another of the same name elsewhere does not take it away; by default it is refused.
  const std::string second = root_ + "/second";
  ASSERT_TRUE(claim_run_directory(second, "u", &notes_).ok());
  EXPECT_FALSE(*publish_name(second, "u"));
  expect_contains(refusal(claim_run_directory(run_dir_, "u", &notes_)), "is running already");
}

TEST_F(UnitDir, ALinkToADeadUnitGivesWay) {
  const std::string chosen = root_ + "/chosen";
  ASSERT_TRUE(claim_run_directory(chosen, "u", &notes_).ok());
  ASSERT_TRUE(*publish_name(chosen, "u"));
  EXPECT_EQ(refusal(claim_run_directory(run_dir_, "u", &notes_)), "(accepted)");
  EXPECT_FALSE(fs::is_symlink(run_dir_));
  EXPECT_TRUE(fs::is_directory(chosen)) << "what the operator chose is the operator's";
}

}  // namespace
}  // namespace ftrun::cli
