// SPDX-License-Identifier: Apache-2.0
// The real ftrun and ftctl, copied to a directory where a fake stands beside them as
// ftrun-supervisor (cli_fake_supervisor.cc describes its script).
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>

#include "cli/unit_dir.h"
#include "supervisor/process/launch.h"

namespace ftrun::cli {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr auto kDeadline = std::chrono::seconds(10);

std::string read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Tools : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/ftrun_tools_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = fs::canonical(name);
    setenv("XDG_RUNTIME_DIR", root_.c_str(), 1);
    fs::create_directory(root_ + "/bin");
    fs::copy(FTRUN, root_ + "/bin/ftrun");
    fs::copy(FTCTL, root_ + "/bin/ftctl");
    fs::copy(FAKE_SUPERVISOR, root_ + "/bin/ftrun-supervisor");
    fs::copy(STUB_PRELOAD, root_ + "/bin/libftpreload.so");
  }
  void TearDown() override {
    if (ftrun_ > 0) {
      kill(ftrun_, SIGKILL);
      waitpid(ftrun_, nullptr, 0);
    }
    for (const std::string unit : {"u", "v"}) {
      const auto replicas = read_replica_files(run_dir(unit));
      for (const ReplicaFile& replica : replicas.ok() ? *replicas : std::vector<ReplicaFile>()) {
        if (belongs_to(replica.supervisor, run_dir(unit))) {
          kill(replica.supervisor, SIGKILL);
        }
      }
    }
    fs::remove_all(root_);
  }
  std::string run_dir(const std::string& unit = "u") const { return root_ + "/ftrun/" + unit; }

  pid_t start(const std::string& tool, const Words& words, const std::string& output) const {
    const pid_t pid = fork();
    if (pid == 0) {
      std::vector<char*> pointers = {const_cast<char*>(tool.c_str())};
      for (const std::string& word : words) {
        pointers.push_back(const_cast<char*>(word.c_str()));
      }
      pointers.push_back(nullptr);
      if (freopen((output + ".out").c_str(), "w", stdout) == nullptr ||
          freopen((output + ".err").c_str(), "w", stderr) == nullptr) {
        _exit(127);
      }
      execv((root_ + "/bin/" + tool).c_str(), pointers.data());
      _exit(127);
    }
    return pid;
  }
  // ftrun under a shell that redirects its output.
  pid_t run_redirected(const std::string& redirection, const Words& script) const {
    std::string line = "exec '" + root_ + "/bin/ftrun' --unit u -- '" PROBE "'";
    for (const std::string& word : script) {
      line += " '" + word + "'";
    }
    line += " >" + root_ + "/run.out 2>" + root_ + "/run.err " + redirection;
    const pid_t pid = fork();
    if (pid == 0) {
      execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      _exit(127);
    }
    return pid;
  }
  static int wait_exit(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return process::exit_status_of(status);
  }
  // ftrun with a script for the fakes, in the background.
  void run(const Words& options, const Words& script) {
    Words words = {"--unit", "u"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", PROBE});
    words.insert(words.end(), script.begin(), script.end());
    ftrun_ = start("ftrun", words, root_ + "/run");
  }
  int finish() {
    const int status = wait_exit(ftrun_);
    ftrun_ = 0;
    return status;
  }
  std::string out() const { return read(root_ + "/run.out"); }
  std::string err() const { return read(root_ + "/run.err"); }
  int ctl(const Words& words) { return wait_exit(start("ftctl", words, root_ + "/ctl")); }
  std::string ctl_out() const { return read(root_ + "/ctl.out"); }
  std::string ctl_err() const { return read(root_ + "/ctl.err"); }
  static void wait_until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      poll(nullptr, 0, 2);
    }
  }
  std::string root_;
  pid_t ftrun_ = 0;
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST_F(Tools, TheConsoleAndTheStatusAreTheServers) {
  run({}, {"out:one", "err:two", "out:three", "exit:7"});
  EXPECT_EQ(finish(), 7);
  EXPECT_EQ(out(), "one\nthree\n");
  EXPECT_EQ(err(), "two\n");
}

TEST_F(Tools, OneReplicaWorks) {
  run({"--replicas", "1"}, {"out:alone", "exit:0"});
  EXPECT_EQ(finish(), 0);
  EXPECT_EQ(out(), "alone\n");
}

TEST_F(Tools, SignalsArePassedOnInOrder) {
  run({}, {"out:ready", "wait", "wait", "exit:0"});
  wait_until([this] { return out() == "ready\n"; });
  kill(ftrun_, SIGHUP);
  wait_until([this] { return out() == "ready\nsignal 1 sequence 1\n"; });
  EXPECT_EQ(ctl({"stop", "--wait-ms", "10000"}), 0) << ctl_err();
  EXPECT_EQ(finish(), 0);
  EXPECT_EQ(out(), "ready\nsignal 1 sequence 1\nsignal 15 sequence 2\n");
}

TEST_F(Tools, TheConsoleGoesOnAtAChangeOfSenderAndTheLossIsLoud) {
  run({}, {"out:one", "out:two", "die-if:b", "outlive:b", "out:three", "exit:3"});
  EXPECT_EQ(finish(), 3);
  EXPECT_EQ(out(), "one\ntwo\nthree\n");
  expect_contains(err(),
                  "WARNING: unit u is UNPROTECTED: replica b failed (its "
                  "supervisor died); replica a serves on (view 2)");
}

TEST_F(Tools, OutputThatCannotBeWrittenCostsTheOutputOnly) {
  const Words script = {"out:one", "err:uno", "die-if:b", "outlive:b",
                        "out:two", "err:due", "exit:3"};
  for (const std::string how : {"2>/dev/full", "2>&-", "2>&1 | true", ">/dev/full 2>&1", ">&- 2>&-",
                                ">/dev/full", ">&-", "0>&- >&- 2>&-"}) {
    const bool pipes = how.ends_with("true");
    EXPECT_EQ(wait_exit(run_redirected(how, script)), pipes ? 0 : 3) << how;
    wait_until([this] { return read_exit_status(run_dir()) == 3; });
    if (how.starts_with("2>/") || how.starts_with("2>&-")) {
      EXPECT_EQ(out(), "one\ntwo\n") << how;
    } else if (how == ">/dev/full" || how == ">&-") {
      expect_contains(err(), "uno\n");
      expect_contains(err(), "due\n");
      expect_contains(err(), "is UNPROTECTED");
    }
    if (how == ">/dev/full") {
      expect_contains(err(), "standard output cannot be written (No space left on device)");
    }
  }
}

TEST_F(Tools, WhoDoesNotReadTakesNeitherSignalsNorWarningsAway) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string full = ">&" + std::to_string(ends[1]);
  const pid_t pid =
      run_redirected(full, {"flood:300", "wait", "die-if:b", "outlive:b", "flood:10", "exit:0"});
  wait_until([this] { return fs::exists(run_dir() + "/sup.b.json"); });
  const auto begin = std::chrono::steady_clock::now();
  kill(pid, SIGTERM);
  wait_until([this] { return err().find("UNPROTECTED") != std::string::npos; });
  EXPECT_EQ(wait_exit(pid), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(Tools, ASlowReaderGetsEverything) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t pid = run_redirected(">&" + std::to_string(ends[1]), {"flood:400", "exit:5"});
  close(ends[1]);
  size_t total = 0;
  char buffer[16384];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    total += static_cast<size_t>(got);
    poll(nullptr, 0, 20);
  }
  close(ends[0]);
  EXPECT_EQ(total, 400'000u);
  EXPECT_EQ(wait_exit(pid), 5);
}

TEST_F(Tools, AStartThatDoesNotComeToAnEndCanBeEnded) {
  run({}, {"stall"});
  wait_until([this] { return fs::exists(run_dir() + "/sup.b.log"); });
  kill(ftrun_, SIGTERM);
  EXPECT_EQ(finish(), 128 + SIGTERM);
  expect_contains(err(), "unit u did not start before it was asked to end");
}

TEST_F(Tools, AnAnswerThatCannotBeWrittenIsNoAnswer) {
  run({}, {"out:ready", "wait", "exit:0"});
  wait_until([this] { return out() == "ready\n"; });
  const auto ask = [this](const std::string& words) {
    const int status =
        std::system(("'" + root_ + "/bin/ftctl' " + words + " 2>" + root_ + "/ctl.err").c_str());
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(ask("status >/dev/full"), 4);
  expect_contains(ctl_err(), "ftctl: standard output could not be written");
  EXPECT_EQ(ask("logs >/dev/full"), 4);
  EXPECT_EQ(ask("events --follow >/dev/full"), 3);  // there are none yet
  EXPECT_EQ(ask("--unit none status 2>/dev/full"), 3);
  EXPECT_EQ(ask("stop --wait-ms 10000 >&- 2>&-"), 0);
  EXPECT_EQ(finish(), 0);
}

TEST_F(Tools, TheUnitSurvivesFtrun) {
  run({}, {"out:ready", "wait", "exit:0"});
  wait_until([this] { return out() == "ready\n"; });
  kill(ftrun_, SIGKILL);
  EXPECT_EQ(finish(), 128 + SIGKILL);
  // Replica b alone has said that it is ready; a may still be on its way.
  wait_until([this] { return ctl({"status"}) == 0; });
  EXPECT_EQ(ctl({"logs"}), 0);
  EXPECT_EQ(ctl_out(), "ready\n");
  EXPECT_EQ(ctl({"stop", "--wait-ms", "10000"}), 0) << ctl_err();
  EXPECT_EQ(ctl({"status"}), 3);
  EXPECT_EQ(read_exit_status(run_dir()), 0);
}

TEST_F(Tools, AStartThatFailsSaysWhyAndLeavesNothingRunning) {
  run({}, {"fail:the disk is full"});
  EXPECT_EQ(finish(), 126);
  expect_contains(err(), "unit u did not start: supervisor ");
  expect_contains(err(), "ftrun-supervisor: the disk is full");
  EXPECT_EQ(ctl({"--unit", "u", "status"}), 3);
}

TEST_F(Tools, ALostUnitIsReported) {
  run({}, {"out:ready", "wait", "die-if:a", "die-if:b"});
  wait_until([this] { return out() == "ready\n"; });
  ctl({"stop"});
  EXPECT_EQ(finish(), 125);
  expect_contains(err(), "unit u is lost: all its supervisors are gone");
}

TEST_F(Tools, ANameInUseIsRefusedWithThePid) {
  run({}, {"out:ready", "wait", "exit:0"});
  wait_until([this] { return out() == "ready\n"; });
  const pid_t second = start("ftrun", {"--unit", "u", PROBE}, root_ + "/second");
  EXPECT_EQ(wait_exit(second), 125);
  expect_contains(read(root_ + "/second.err"), "unit u is running already (supervisor a, pid ");
  ctl({"stop", "--wait-ms", "10000"});
  EXPECT_EQ(finish(), 0);
  run({}, {"exit:4"});
  EXPECT_EQ(finish(), 4) << "a dead unit's directory gives way";
}

TEST_F(Tools, StatusCodesAndWords) {
  EXPECT_EQ(ctl({"status"}), 3);
  expect_contains(ctl_err(), "no unit is running");
  EXPECT_EQ(ctl({"--unit", "u", "status"}), 3);
  expect_contains(ctl_err(), "there is no unit u");
  EXPECT_EQ(ctl({"frob"}), 2);
  EXPECT_EQ(ctl({}), 2);
  run({"--replicas", "1"}, {"out:ready", "wait", "exit:0"});
  wait_until([this] { return out() == "ready\n"; });
  EXPECT_EQ(ctl({"status"}), 1);
  expect_contains(ctl_out(), "unprotected: unit u, view 1\n");
  EXPECT_EQ(ctl({"--unit", "u", "status", "--json"}), 1);
  expect_contains(ctl_out(), R"({"unit":"u","epoch":1,"protection":"unprotected",)");
  expect_contains(ctl_out(),
                  R"("replicas":[{"id":"a","role":"primary","sender":true,"state":"live")");
  const pid_t second =
      start("ftrun", {"--unit", "v", "--", PROBE, "wait", "exit:0"}, root_ + "/second");
  // Not protected before both supervisors answer.
  wait_until([this] { return ctl({"--unit", "v", "status"}) == 0; });
  EXPECT_EQ(ctl({"status"}), 3);
  expect_contains(ctl_err(), "several units are running, say which with --unit: u, v");
  EXPECT_EQ(ctl({"--unit", "v", "stop"}), 0);
  EXPECT_EQ(ctl({"--unit", "u", "stop"}), 0);
  EXPECT_EQ(finish(), 0);
  EXPECT_EQ(wait_exit(second), 0);
}

TEST_F(Tools, TheDoctorNamesWhatUnitsNeed) {
  EXPECT_EQ(wait_exit(start("ftrun", {"doctor"}, root_ + "/doctor")), 0);
  const std::string said = read(root_ + "/doctor.out");
  for (const char* feature :
       {"system call dispatch", "TSC trap", "pidfd_getfd", "SO_PEEK_OFF for TCP", "namespaces",
        "processor cores", "RDRAND and RDSEED"}) {
    expect_contains(said, feature);
  }
  expect_contains(said, "Units can run here.");
  EXPECT_EQ(said.find("missing"), std::string::npos) << said;
}

TEST_F(Tools, AStoppedSupervisorDoesNotStopTheTools) {
  run({}, {"out:ready", "only:a", "hang", "wait", "exit:0"});
  wait_until([this] { return out() == "ready\n" && fs::exists(run_dir() + "/sup.a.sock"); });
  EXPECT_EQ(ctl({"status", "--json"}), 1);
  expect_contains(ctl_out(), R"("id":"a","role":"primary","sender":false,"state":"failed")");
}

TEST_F(Tools, AChosenRunDirectoryIsUsed) {
  const std::string chosen = root_ + "/chosen";
  run({"--run-dir", chosen}, {"out:ready", "wait", "exit:0"});
  wait_until([this] { return out() == "ready\n"; });
  EXPECT_TRUE(fs::exists(chosen + "/view.1"));
  // Replica b alone has said that it is ready; a may still be on its way.
  wait_until([this] { return ctl({"--unit", "u", "status"}) == 0; });
  EXPECT_EQ(ctl({"--run-dir", chosen, "stop"}), 0);
  EXPECT_EQ(finish(), 0);
}

TEST_F(Tools, EventsAreShownAndFollowedToTheEnd) {
  run({}, {"out:ready", "wait", "die-if:b", "outlive:b", "exit:0"});
  wait_until([this] { return out() == "ready\n"; });
  const pid_t follower = start("ftctl", {"events", "--follow"}, root_ + "/follow");
  EXPECT_EQ(ctl({"stop"}), 0);
  EXPECT_EQ(finish(), 0);
  // There is no events file before the first event: then the follower has ended with an error.
  const int status = wait_exit(follower);
  EXPECT_TRUE(status == 0 || status == 3);
  EXPECT_EQ(ctl({"--unit", "u", "events"}), 0);
  expect_contains(ctl_out(), "\"kind\":\"suspected\"");
}

TEST_F(Tools, ProgramsThatCannotRunAreRefusedBeforeAnythingStarts) {
  const auto refusal = [this](const Words& words) {
    return wait_exit(start("ftrun", words, root_ + "/run"));
  };
  EXPECT_EQ(refusal({"no-such-program"}), 127);
  expect_contains(err(), "no-such-program: not found in PATH");
  EXPECT_EQ(refusal({PROBE_STATIC}), 126);
  expect_contains(err(), "is statically linked");
  EXPECT_EQ(refusal({"--state-dir", root_ + "/none", PROBE}), 125);
  expect_contains(err(), "/none: No such file");
  fs::remove(root_ + "/bin/libftpreload.so");
  EXPECT_EQ(refusal({PROBE}), 125);
  expect_contains(err(), "libftpreload.so is missing");
}

}  // namespace
}  // namespace ftrun::cli
