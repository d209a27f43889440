// SPDX-License-Identifier: Apache-2.0
// Units with one hostile application (hostile_app.cc): whatever it does to the memory that it
// shares with its supervisor, no supervisor crashes or hangs, and the honest replica serves on.
//
//   hostile_tests [--seconds N] [--seed N]   for so long, from this seed on (default: 14 s in all)
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "tests/unit/supervisor_fixture.h"

namespace ftrun {

const char* const kSupervisorProgram = SUPERVISOR;
const char* const kRingEchoProgram = RING_ECHO;
const char* const kStubPreload = STUB_PRELOAD;

namespace {

int64_t seconds_each = 7;
uint64_t first_seed = 1;

constexpr uintmax_t kEventsBytesMax = 1 << 20;
constexpr uint64_t kResidentKbMax = 512 * 1024;

class HostileTest : public SupervisorTest {
 protected:
  std::string program_of(const std::string& replica) const override {
    return replica == hostile_ ? HOSTILE_APP : kRingEchoProgram;
  }

  // One unit, one attack. Returns whether the honest replica was still there afterwards.
  void attack(const std::string& hostile, uint64_t seed) {
    SCOPED_TRACE("hostile " + hostile + ", seed " + std::to_string(seed));
    hostile_ = hostile;
    honest_ = hostile == "a" ? "b" : "a";
    start(2);
    if (HasFatalFailure()) {
      return;
    }
    {
      LineClient client(port_);
      client.tell("attack " + std::to_string(seed) + "\n");
      wait_for([this] { return ended(index_of(hostile_)) || ended(index_of(honest_)); });
    }
    check_ends();
    wait_for([this] { return ended(index_of(honest_)) || alone(); });
    if (!ended(index_of(honest_))) {
      check_service();
      ++survived_;
    } else {
      // Two replicas differ, and neither is known to be wrong: a primary's word counts.
      EXPECT_EQ(hostile_, "a") << events();
    }
    ++attacks_;
    EXPECT_LT(std::filesystem::file_size(run_dir_ + "/events.jsonl"), kEventsBytesMax);
  }

  size_t index_of(const std::string& replica) const { return replica == "a" ? 0 : 1; }

  // A supervisor may end by itself, or be killed by the one that excluded it, and in no other way.
  bool ended(size_t index) {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(children_[index]), &info, WEXITED | WNOHANG | WNOWAIT) ==
               0 &&
           info.si_pid != 0;
  }
  void check_ends() {
    for (size_t i = 0; i < children_.size(); ++i) {
      siginfo_t info{};
      if (waitid(P_PID, static_cast<id_t>(children_[i]), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
          info.si_pid != 0 && info.si_code != CLD_EXITED) {
        EXPECT_EQ(info.si_status, SIGKILL) << "the supervisor of "
                                           << "ab"[i] << " crashed\n"
                                           << events();
      }
    }
  }

  bool alone() const {
    const nlohmann::json status = ask(honest_, R"({"cmd":"status"})");
    return status.is_object() && status.value("protection", "") == "unprotected" &&
           status.value("state", "") == "live";
  }

  void check_service() {
    LineClient client(port_);
    ASSERT_TRUE(client.connected()) << events();
    std::set<uint64_t> numbers;
    wait_for([&] {
      EXPECT_EQ(client.step(1, &numbers), "") << events();
      return client.answered() > 3 || HasFailure();
    });
    std::ifstream status("/proc/" + std::to_string(children_[index_of(honest_)]) + "/status");
    for (std::string word; status >> word;) {
      uint64_t resident = 0;
      if (word == "VmRSS:" && status >> resident) {
        EXPECT_LT(resident, kResidentKbMax);
      }
    }
  }

  void attack_for_a_while(const std::string& hostile) {
    const int64_t end = link::monotonic_ns() + seconds_each * 1'000'000'000;
    for (uint64_t seed = first_seed; link::monotonic_ns() < end && !HasFailure(); ++seed) {
      attack(hostile, seed);
      TearDown();
      children_.clear();
      SetUp();
    }
    std::cout << attacks_ << " attacks from seed " << first_seed
              << ", the honest replica served on "
              << "after " << survived_ << "\n";
    EXPECT_GT(survived_, 0);
  }

  std::string hostile_, honest_;
  int attacks_ = 0;
  int survived_ = 0;
};

TEST_F(HostileTest, SecondaryThatIsHostileIsExcluded) {
  attack_for_a_while("b");
}

TEST_F(HostileTest, PrimaryThatIsHostileCrashesNoSupervisor) {
  attack_for_a_while("a");
}

}  // namespace
}  // namespace ftrun

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--seconds") {
      ftrun::seconds_each = std::max(1, std::atoi(argv[i + 1]) / 2);
    } else if (option == "--seed") {
      ftrun::first_seed = std::strtoull(argv[i + 1], nullptr, 10);
    }
  }
  return RUN_ALL_TESTS();
}
