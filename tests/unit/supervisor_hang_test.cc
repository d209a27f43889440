// SPDX-License-Identifier: Apache-2.0
// Whole supervisors around ring_echo, hanging: applications that do nothing although they could,
// and supervisors that are stopped in the middle of a change of view and woken later.
#include <sys/ptrace.h>

#include <algorithm>
#include <functional>
#include <random>
#include <thread>

#include "supervisor_fixture.h"

namespace ftrun {
namespace {

constexpr int kTimeOutMs = 150;

class HangTest : public SupervisorTest {
 protected:
  std::vector<LineClient> connect_clients(int count) {
    std::vector<LineClient> clients;
    for (int i = 0; i < count; ++i) {
      clients.emplace_back(port_);
    }
    return clients;
  }
  std::string protection(const std::string& replica) {
    const nlohmann::json status = ask(replica, R"({"cmd":"status"})");
    return status.is_object() ? status["protection"].get<std::string>() : "";
  }
  // Every number from 1 on was given to one request.
  void expect_exactly_once() {
    EXPECT_EQ(*numbers_.begin(), 1u);
    EXPECT_EQ(*numbers_.rbegin(), numbers_.size()) << events();
  }
};

// It never says anything to its init: only that it does not get on can be seen.
TEST_F(HangTest, ApplicationThatWaitsForEverIsReplaced) {
  start(2);
  std::vector<LineClient> clients = connect_clients(5);
  LineClient saboteur(port_);
  drive(&clients, 500, [&] { saboteur.tell("hang\n"); });
  wait_for([this] { return protection("b") == "unprotected"; });
  EXPECT_NE(events().find("has work, but neither"), std::string::npos) << events();
  drive(&clients, 1000, [] {});
}

TEST_F(HangTest, ApplicationThatADebuggerHoldsIsReplaced) {
  for (const char* replica : {"a", "b"}) {
    if (std::string(replica) == "b") {
      TearDown();
      children_.clear();
      SetUp();
      numbers_.clear();
    }
    start(2);
    const pid_t application = pid_of(replica, "application");
    std::thread debugger;
    std::vector<LineClient> clients = connect_clients(5);
    drive(&clients, 1000, [&] {
      ASSERT_EQ(ptrace(PTRACE_SEIZE, application, nullptr, nullptr), 0) << strerror(errno);
      ASSERT_EQ(ptrace(PTRACE_INTERRUPT, application, nullptr, nullptr), 0);
      // As a debugger does: without a tracer that waits, a killed process is not gone.
      debugger = std::thread([application] {
        while (waitpid(application, nullptr, __WALL) == application) {
        }
      });
    });
    EXPECT_EQ(protection(replica[0] == 'a' ? "b" : "a"), "unprotected") << events();
    expect_exactly_once();
    debugger.join();
  }
}

TEST_F(HangTest, LongComputationIsNoHang) {
  start(2);
  std::vector<LineClient> clients = connect_clients(5);
  LineClient thinker(port_);
  drive(&clients, 500, [&] { thinker.tell("compute\n"); });
  drive(&clients, 1000, [] {});
  EXPECT_EQ(protection("a"), "protected") << events();
  EXPECT_EQ(protection("b"), "protected") << events();
}

// A stop that is over at once, or that hit the supervisor as well, is none.
TEST_F(HangTest, UnitThatWasStoppedAsAWholeStaysProtected) {
  start(2);
  std::vector<pid_t> all;
  for (const char* replica : {"a", "b"}) {
    for (const char* process : {"application", "init", "supervisor", "keeper"}) {
      all.push_back(pid_of(replica, process));
    }
  }
  std::vector<LineClient> clients = connect_clients(5);
  for (int round = 0; round < 2; ++round) {  // applications stopped and woken first, then last
    std::reverse(all.begin(), all.end());
    drive(&clients, 200 * (round + 1), [&] {
      for (const int signal : {SIGSTOP, SIGCONT}) {
        for (const pid_t pid : all) {
          kill(pid, signal);
        }
        poll(nullptr, 0, signal == SIGSTOP ? 1000 : 0);
      }
    });
    poll(nullptr, 0, 2 * kTimeOutMs);
    EXPECT_EQ(protection("a"), "protected") << events();
    EXPECT_EQ(protection("b"), "protected") << events();
  }
  expect_exactly_once();
}

// What a sweep does: something fails in one replica, and the supervisor of the other is stopped at
// a random moment of the view change that follows. No seam in the supervisor: the moments are
// spread over the whole change by microseconds, and the seed is printed. Repeat with
// --gtest_repeat.
class SweepTest : public HangTest {
 protected:
  void run(const std::function<void(const std::string&, const std::string&)>& fail) {
    const unsigned seed = std::random_device{}();
    random_.seed(seed);
    SCOPED_TRACE("seed " + std::to_string(seed));
    for (const char* failing : {"a", "b"}) {
      for (int i = 0; i < kSweepRounds; ++i) {
        const std::string survivor = failing[0] == 'a' ? "b" : "a";
        start(2);
        std::vector<LineClient> clients = connect_clients(5);
        std::thread failure;
        drive(&clients, 2000, [&] { failure = std::thread(fail, failing, survivor); });
        if (failure.joinable()) {
          failure.join();
        }
        expect_exactly_once();
        if (HasFailure()) {
          return;
        }
        std::vector<LineClient> late = connect_clients(1);
        drive(&late, 10, [] {});
        EXPECT_TRUE(settled()) << events();
        TearDown();
        children_.clear();
        numbers_.clear();
        SetUp();
      }
    }
  }
  static void nap_us(int64_t us) {
    const int64_t end = link::monotonic_ns() + us * 1000;
    while (link::monotonic_ns() < end) {
    }
  }
  int64_t pick(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random_);
  }
  // One supervisor is left, or (on a machine so busy that nobody was suspected) the unit is whole.
  bool settled() {
    for (const int64_t deadline = link::monotonic_ns() + kDeadlineNs;
         link::monotonic_ns() < deadline; poll(nullptr, 0, 2)) {
      int running = 0;
      for (const pid_t child : children_) {
        siginfo_t info{};
        waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT);
        running += info.si_pid == 0 ? 1 : 0;
      }
      if (running < 2 || (protection("a") == "protected" && protection("b") == "protected")) {
        return running > 0;
      }
    }
    return false;
  }
  static constexpr int kSweepRounds = 10;
  std::mt19937 random_;
};

// The survivor sleeps in the middle of: seeing the death, publishing, killing, taking the sockets,
// promotion.
TEST_F(SweepTest, SurvivorIsStoppedWhileItTakesOver) {
  run([this](const std::string& failing, const std::string& survivor) {
    const pid_t sleeper = pid_of(survivor, "supervisor");
    kill(pid_of(failing, "supervisor"), SIGKILL);
    nap_us(pick(0, 3000));
    kill(sleeper, SIGSTOP);
    poll(nullptr, 0, static_cast<int>(pick(1, 2 * kTimeOutMs)));
    kill(sleeper, SIGCONT);
  });
}

// Each in turn believes the other hung: the one that was stopped first wakes when the other is
// stopped somewhere in its view change. Both go on in the end; one of them wins.
TEST_F(SweepTest, BothSuspectEachOther) {
  run([this](const std::string& failing, const std::string& survivor) {
    const pid_t first = pid_of(failing, "supervisor");
    const pid_t second = pid_of(survivor, "supervisor");
    kill(first, SIGSTOP);
    poll(nullptr, 0, kTimeOutMs - 5);
    nap_us(pick(0, 12'000));
    kill(second, SIGSTOP);
    kill(first, SIGCONT);
    poll(nullptr, 0, static_cast<int>(pick(kTimeOutMs + 50, 2 * kTimeOutMs)));
    kill(second, SIGCONT);
  });
}

}  // namespace
}  // namespace ftrun
