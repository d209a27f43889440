// SPDX-License-Identifier: Apache-2.0
// The launch of one application, seen from outside (status events, pidfds) and from inside
// (process_probe). A stub stands for the preload library.
#include "supervisor/process/launch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "fmt/format.h"
#include "supervisor/process/call_wall.h"

namespace ftrun::process {
namespace {

constexpr int kDeadlineMs = 10'000;

bool wait_readable(int fd) {
  pollfd readable{fd, POLLIN, 0};
  return poll(&readable, 1, kDeadlineMs) == 1;
}

class Launch : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/ftrun_launch_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    std::filesystem::permissions(directory_, std::filesystem::perms::all);
    region_ = Descriptor(memfd_create("region", MFD_CLOEXEC));
    ASSERT_EQ(ftruncate(region_.get(), kControlBytes), 0);
    control_ = static_cast<Control*>(
        mmap(nullptr, kControlBytes, PROT_READ | PROT_WRITE, MAP_SHARED, region_.get(), 0));
    doorbell_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    for (int i = 0; i < 16; ++i) {
      control_->at_random[i] = static_cast<uint8_t>(0xa0 + i);
    }
  }
  void TearDown() override {
    end(&application_);
    munmap(control_, kControlBytes);
    std::filesystem::remove_all(directory_);
  }
  LaunchPlan plan(const std::vector<std::string>& arguments) {
    LaunchPlan plan;
    plan.path = PROBE;
    plan.arguments = {"probe"};
    plan.arguments.insert(plan.arguments.end(), arguments.begin(), arguments.end());
    plan.preload_path = STUB_PRELOAD;
    plan.inheritance = *record_inheritance();
    plan.region_fd = region_.get();
    plan.doorbell_fd = doorbell_.get();
    plan.control = control_;
    return plan;
  }
  void start(const LaunchPlan& plan) {
    auto result = launch(plan);
    ASSERT_TRUE(result.ok()) << result.error().message;
    application_ = std::move(*result);
  }
  StatusEvent next_event() {
    EXPECT_TRUE(wait_readable(application_.status.get()));
    auto event = read_status(application_.status.get());
    EXPECT_TRUE(event.ok()) << event.error().message;
    EXPECT_TRUE(event->has_value());
    return **event;
  }
  std::string file() const { return directory_ + "/out"; }
  std::string content() const {
    std::ifstream in(file());
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  // Runs the probe's report and returns it.
  std::string report(LaunchPlan plan) {
    start(plan);
    const StatusEvent event = next_event();
    EXPECT_EQ(event.kind, StatusKind::kExited);
    EXPECT_EQ(describe_wait_status(event.value), "exit code 7");
    end(&application_);
    return content();
  }

  std::string directory_;
  Descriptor region_;
  Descriptor doorbell_;
  Control* control_ = nullptr;
  Application application_;
};

void expect_line(const std::string& report, const std::string& line) {
  EXPECT_NE(("\n" + report).find("\n" + line + "\n"), std::string::npos)
      << "missing: " << line << "\nin: " << report;
}

TEST_F(Launch, TheApplicationIsPid2UnderAnInit) {
  const std::string text = report(plan({"report", file()}));
  expect_line(text, "pid 2 ppid 1 sid 2");
  expect_line(text, "preloaded 1");
  EXPECT_GT(application_.application_pid, 2);
}

TEST_F(Launch, TheSecondWallAnswersAndKillsNobody) {
  start(plan({"walled", file()}));
  EXPECT_EQ(describe_wait_status(next_event().value), "exit code 0");
  std::istringstream lines(content());
  size_t walled = 0;
  for (std::string name, which, result; lines >> name;) {
    if (name == "walled") {
      lines >> which >> result;
      EXPECT_EQ(result, "EPERM") << "system call " << which;
      ++walled;
    }
  }
  EXPECT_EQ(walled, std::size(kWalledCalls));
  expect_line(content(), "ptrace EPERM");
  expect_line(content(), "user EPERM");
  expect_line(content(), "traceme done");
  EXPECT_EQ(content().find("readv EPERM"), std::string::npos);
}

TEST_F(Launch, TheSecondWallCanBeLeftOut) {
  for (const bool filter : {true, false}) {
    LaunchPlan walled = plan({"report", file()});
    walled.filter = filter;
    expect_line(report(walled), filter ? "seccomp 2" : "seccomp 0");
  }
}

TEST_F(Launch, DescriptorsAreExactlyTheSixOnes) {
  const Descriptor stray(open("/dev/null", O_RDONLY));  // without close-on-exec
  const std::string text = report(plan({"report", file()}));
  expect_line(text, fmt::format("descriptors 0 1 2 {} {} {}", kRegionFd, control_->doorbell_fd - 1,
                                control_->doorbell_fd));
}

TEST_F(Launch, TheDoorbellStandsAboveTheLimitWhateverItIs) {
  LaunchPlan small = plan({"report", file()});
  small.inheritance.limits[RLIMIT_NOFILE] = {300, 400};
  const std::string text = report(small);
  EXPECT_EQ(control_->doorbell_fd, 399);
  expect_line(text, fmt::format("descriptors 0 1 2 {} 398 399", kRegionFd));
  expect_line(text, "nofile 300 398");
}

TEST_F(Launch, RefusesALimitWithoutRoomForItsDescriptors) {
  LaunchPlan tiny = plan({"report", file()});
  tiny.inheritance.limits[RLIMIT_NOFILE] = {64, 64};
  const auto result = launch(tiny);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("limit of open files (ulimit -Hn) is 64"),
            std::string::npos);
}

TEST_F(Launch, SignalStateIsFresh) {
  signal(SIGUSR1, SIG_IGN);
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  sigprocmask(SIG_BLOCK, &blocked, &before);
  const std::string text = report(plan({"report", file()}));
  sigprocmask(SIG_SETMASK, &before, nullptr);
  signal(SIGUSR1, SIG_DFL);
  expect_line(text, "signals blocked 0 changed 0");
}

TEST_F(Launch, UmaskAndDirectoryAreTheRecordedOnes) {
  LaunchPlan there = plan({"report", file()});
  there.inheritance.directory = "/usr";
  there.inheritance.mask = 031;
  expect_line(report(there), "umask 31 cwd /usr");
}

TEST_F(Launch, TwoLaunchesAreAlikeToTheAddressAndTheGuard) {
  const std::string first = report(plan({"report", file()}));
  const std::string second = report(plan({"report", file()}));
  EXPECT_EQ(first, second);
  expect_line(first, "random a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
  expect_line(first, "guard a7a6a5a4a3a2a100");  // glibc zeroes the lowest byte
  control_->at_random[3] ^= 1;
  EXPECT_NE(report(plan({"report", file()})), first);
}

TEST_F(Launch, AScriptIsPatchedInItsInterpreter) {
  const std::string script = directory_ + "/script";
  std::ofstream(script) << "#!" << PROBE << " report\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  // The interpreter gets: report, the script's path. It would write over the script, which runs
  // only once; so the report is where the script was.
  LaunchPlan scripted = plan({});
  scripted.path = script;
  start(scripted);
  EXPECT_EQ(next_event().kind, StatusKind::kExited);
  std::ifstream in(script);
  std::stringstream text;
  text << in.rdbuf();
  expect_line(text.str(), "random a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
}

TEST_F(Launch, TheImageOfALaterExecIsPatchedToo) {
  const std::string again = report(plan({"again", file()}));
  expect_line(again, "pid 2 ppid 1 sid 2");
  expect_line(again, "random a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
  expect_line(again, "guard a7a6a5a4a3a2a100");
}

TEST_F(Launch, AnExecThatFailsLaterLeavesTheApplicationRunning) {
  start(plan({"execute", directory_ + "/nothing"}));
  const StatusEvent event = next_event();
  EXPECT_EQ(event.kind, StatusKind::kExited);
  EXPECT_EQ(describe_wait_status(event.value), "exit code 8");
}

TEST_F(Launch, AnExecOfAStaticProgramIsSeenAtItsStop) {
  start(plan({"execute", PROBE_STATIC}));
  EXPECT_TRUE(wait_readable(application_.status.get()));
  const auto event = read_status(application_.status.get());
  ASSERT_FALSE(event.ok());
  EXPECT_EQ(event.error().message,
            "the application executed a program without a loader that could preload the shim");
}

TEST_F(Launch, AbortIsSignalSix) {
  start(plan({"abort"}));
  const StatusEvent event = next_event();
  EXPECT_EQ(event.kind, StatusKind::kExited);
  EXPECT_EQ(WTERMSIG(event.value), SIGABRT);
  EXPECT_EQ(exit_status_of(event.value), 134);
}

TEST_F(Launch, ASignalToItselfWorks) {
  start(plan({"terminate"}));
  EXPECT_EQ(WTERMSIG(next_event().value), SIGTERM);
}

TEST_F(Launch, OrphansAreAdoptedAndReaped) {
  start(plan({"orphan", file()}));
  const StatusEvent event = next_event();
  EXPECT_EQ(exit_status_of(event.value), 3);
  EXPECT_EQ(content(), "orphan of 1\n");
}

TEST_F(Launch, StopsAndContinuesAreReported) {
  start(plan({"wait"}));
  kill(application_.application_pid, SIGSTOP);
  const StatusEvent stopped = next_event();
  EXPECT_EQ(stopped.kind, StatusKind::kStopped);
  EXPECT_EQ(stopped.value, SIGSTOP);
  kill(application_.application_pid, SIGCONT);
  EXPECT_EQ(next_event().kind, StatusKind::kContinued);
  kill(application_.application_pid, SIGKILL);
  const StatusEvent event = next_event();
  EXPECT_EQ(WTERMSIG(event.value), SIGKILL);
  EXPECT_TRUE(wait_readable(application_.application.get()));
  EXPECT_TRUE(wait_readable(application_.init.get()));
}

TEST_F(Launch, KillingTheInitEndsTheApplication) {
  start(plan({"wait"}));
  kill(application_.init_pid, SIGKILL);
  EXPECT_TRUE(wait_readable(application_.application.get()));
  EXPECT_TRUE(wait_readable(application_.status.get()));
  EXPECT_FALSE(read_status(application_.status.get()).ok());
}

TEST_F(Launch, AnExecThatFailsNamesProgramAndReason) {
  LaunchPlan missing = plan({});
  missing.path = directory_ + "/nothing";
  const auto result = launch(missing);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "executing " + missing.path + ": No such file or directory");
}

TEST_F(Launch, AMissingDirectoryIsNamed) {
  LaunchPlan missing = plan({});
  missing.inheritance.directory = directory_ + "/nowhere";
  const auto result = launch(missing);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("/nowhere: No such file"), std::string::npos);
}

TEST_F(Launch, MountsReplaceADirectoryForTheApplicationOnly) {
  std::filesystem::create_directories(directory_ + "/state");
  std::filesystem::create_directories(directory_ + "/copy");
  LaunchPlan mounted = plan({"append", directory_ + "/state/file", "text"});
  mounted.mounts = {{directory_ + "/copy", directory_ + "/state"}};
  start(mounted);
  EXPECT_EQ(exit_status_of(next_event().value), 0);
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/copy/file"));
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/state/file"));
}

TEST_F(Launch, NothingButStateDirectoriesCanBeWrittenThen) {
  std::filesystem::create_directories(directory_ + "/state");
  std::filesystem::create_directories(directory_ + "/copy");
  // A link inside the copy that leads out.
  std::filesystem::create_symlink(directory_ + "/outside", directory_ + "/copy/link");
  LaunchPlan mounted = plan({"append", directory_ + "/state/link", "text"});
  mounted.mounts = {{directory_ + "/copy", directory_ + "/state"}};
  start(mounted);
  EXPECT_EQ(exit_status_of(next_event().value), 1);
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/outside"));
}

TEST_F(Launch, AMountThatFailsIsNamed) {
  LaunchPlan mounted = plan({"wait"});
  mounted.mounts = {{directory_ + "/none", directory_}};
  const auto result = launch(mounted);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("/none over "), std::string::npos);
}

// Runs `body` in a child process; returns its wait status. The child may change its credentials.
template <typename Body>
int in_child(Body body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

TEST_F(Launch, AnOrdinaryUserIsMappedToItself) {
  if (geteuid() != 0) {
    return;  // then every other test here is this one
  }
  std::filesystem::create_directories(directory_ + "/state");
  std::filesystem::create_directories(directory_ + "/copy");
  LaunchPlan mounted = plan({"report", directory_ + "/state/out"});
  mounted.mounts = {{directory_ + "/copy", directory_ + "/state"}};
  for (const char* name : {"/state", "/copy"}) {
    ASSERT_EQ(chown((directory_ + name).c_str(), 65534, 65534), 0);
  }
  const int status = in_child([&] {
    if (setgid(65534) != 0 || setuid(65534) != 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) {
      _exit(2);
    }
    start(mounted);
    EXPECT_EQ(exit_status_of(next_event().value), 7);
    end(&application_);
  });
  EXPECT_EQ(status, 0);
  std::ifstream in(directory_ + "/copy/out");
  std::stringstream text;
  text << in.rdbuf();
  expect_line(text.str(), "uid 65534 65534 gid 65534 65534");
  expect_line(text.str(), "pid 2 ppid 1 sid 2");
}

TEST_F(Launch, TheApplicationDiesWithItsSupervisor) {
  int report[2];
  ASSERT_EQ(pipe2(report, O_CLOEXEC), 0);
  const pid_t supervisor = fork();
  if (supervisor == 0) {
    start(plan({"wait"}));
    const pid_t pids[2] = {application_.application_pid, application_.init_pid};
    if (write(report[1], pids, sizeof pids) != sizeof pids) {
      _exit(1);
    }
    for (;;) {
      pause();
    }
  }
  pid_t pids[2] = {};
  ASSERT_EQ(read(report[0], pids, sizeof pids), static_cast<ssize_t>(sizeof pids));
  const Descriptor application(static_cast<int>(syscall(SYS_pidfd_open, pids[0], 0)));
  ASSERT_TRUE(application.valid());
  pollfd gone{application.get(), POLLIN, 0};
  EXPECT_EQ(poll(&gone, 1, 0), 0);
  kill(supervisor, SIGKILL);
  waitpid(supervisor, nullptr, 0);
  EXPECT_TRUE(wait_readable(application.get()));
  close(report[0]);
  close(report[1]);
}

}  // namespace
}  // namespace ftrun::process
