// SPDX-License-Identifier: Apache-2.0
// Whole supervisors around ring_echo: clients count every answer exactly once while one process of
// the unit is killed or stopped.
#include "supervisor_fixture.h"

namespace ftrun {

const char* const kSupervisorProgram = SUPERVISOR;
const char* const kRingEchoProgram = RING_ECHO;
const char* const kStubPreload = STUB_PRELOAD;

namespace {

TEST_F(SupervisorTest, OneReplicaServesAndExitsWithItsStatus) {
  start(1);
  std::vector<LineClient> clients;
  for (int i = 0; i < 5; ++i) {
    clients.emplace_back(port_);
  }
  drive(&clients, 500, [] {});
  EXPECT_EQ(ask("a", R"({"cmd":"status"})")["protection"], "unprotected");
  EXPECT_EQ(ask("a", "nonsense")["ok"], false);
  clients[0].tell("exit\n");
  int status = 0;
  ASSERT_EQ(waitpid(children_[0], &status, 0), children_[0]);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  children_.clear();
  EXPECT_EQ(read_json("exit_status"), 7);
}

// Whichever supervisor is told passes it on at once, and nobody may be there to answer then.
class SignalledSupervisorTest : public SupervisorTest {};

TEST_P(SignalledSupervisorTest, TheApplicationEndsByIt) {
  start(2);
  EXPECT_EQ(ask(GetParam(), R"({"cmd":"signal","number":15,"seq":1})")["ok"], true);
  for (const pid_t child : children_) {
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
  }
  children_.clear();
  EXPECT_EQ(read_json("exit_status"), 128 + 15);
}

TEST_P(SignalledSupervisorTest, WhatIsSentToTheSupervisorIsThePrograms) {
  start(2);
  EXPECT_EQ(kill(pid_of(GetParam(), "supervisor"), SIGTERM), 0);
  for (const pid_t child : children_) {
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
  }
  children_.clear();
  EXPECT_EQ(read_json("exit_status"), 128 + 15);
}

// The files are the operators' only.
TEST_P(SignalledSupervisorTest, ARunDirectoryThatWasRemovedIsMadeAnewAndMissedByNobody) {
  start(2);
  std::vector<LineClient> clients;
  for (int i = 0; i < 5; ++i) {
    clients.emplace_back(port_);
  }
  const pid_t victim = pid_of(GetParam(), "supervisor");
  // Supervisors write there meanwhile.
  for (std::error_code error{ENOTEMPTY, std::generic_category()}; error;) {
    std::filesystem::remove_all(run_dir_, error);
  }
  drive(&clients, 500, [&] { kill(victim, SIGKILL); });
  EXPECT_EQ(*numbers_.rbegin(), numbers_.size());
  const std::string survivor = GetParam() == std::string("a") ? "b" : "a";
  wait_for([&] { return ask(survivor, R"({"cmd":"status"})")["epoch"] == 2; });
  wait_for([this] { return events().find("made anew") != std::string::npos; });
}

class RenewedTest : public SupervisorTest {};

// The parameter: replica and process to be killed.
TEST_P(SupervisorTest, KilledProcessIsInvisibleToClients) {
  const std::string victim = GetParam();
  start(2);
  std::vector<LineClient> clients;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back(port_);
    ASSERT_TRUE(clients.back().connected());
  }
  drive(&clients, 1000, [&] {
    const pid_t pid = pid_of(victim.substr(0, 1), victim.substr(2));
    ASSERT_EQ(kill(pid, SIGKILL), 0);
  });
  const bool keeper = victim.substr(2) == "keeper";
  // The numbers: every one from 1 on, given exactly once.
  EXPECT_EQ(*numbers_.begin(), 1u);
  EXPECT_EQ(*numbers_.rbegin(), numbers_.size());
  const std::string survivor = victim[0] == 'a' ? "b" : "a";
  EXPECT_EQ(ask(survivor, R"({"cmd":"status"})")["protection"],
            keeper ? "protected" : "unprotected")
      << events();
  // New clients are served as well.
  std::vector<LineClient> late;
  late.emplace_back(port_);
  drive(&late, 10, [] {});
}

INSTANTIATE_TEST_SUITE_P(Told, SignalledSupervisorTest, ::testing::Values("a", "b"));
INSTANTIATE_TEST_SUITE_P(Victims, SupervisorTest,
                         ::testing::Values("a/supervisor", "a/application", "a/init", "a/keeper",
                                           "b/supervisor", "b/application", "b/init", "b/keeper"),
                         [](const auto& info) {
                           std::string name = info.param;
                           name[1] = '_';
                           return name;
                         });

// A pause that is long enough to be suspected: the sleeper wakes up excluded and kills nobody.
TEST_F(SupervisorTest, StoppedSupervisorIsReplacedAndDoesNoHarm) {
  start(2);
  std::vector<LineClient> clients;
  for (int i = 0; i < 10; ++i) {
    clients.emplace_back(port_);
  }
  drive(&clients, 1000, [&] { kill(pid_of("b", "supervisor"), SIGSTOP); });
  EXPECT_EQ(*numbers_.rbegin(), numbers_.size());
  EXPECT_EQ(ask("a", R"({"cmd":"status"})")["protection"], "unprotected");
}

TEST_F(SupervisorTest, StoppedKeeperDoesNotHinderATakeover) {
  start(2);
  std::vector<LineClient> clients;
  for (int i = 0; i < 10; ++i) {
    clients.emplace_back(port_);
  }
  drive(&clients, 1000, [&] {
    kill(pid_of("b", "keeper"), SIGSTOP);
    kill(pid_of("b", "supervisor"), SIGKILL);
  });
  EXPECT_EQ(*numbers_.rbegin(), numbers_.size());
}

TEST_F(SupervisorTest, KeeperThatDiedIsReplacedBeforeItIsNeeded) {
  start(2);
  std::vector<LineClient> clients;
  for (int i = 0; i < 10; ++i) {
    clients.emplace_back(port_);
  }
  const pid_t old_keeper = pid_of("b", "keeper");
  drive(&clients, 200, [&] { kill(old_keeper, SIGKILL); });
  wait_for([&] { return pid_of("b", "keeper") != old_keeper; });
  drive(&clients, 1000, [&] { kill(pid_of("b", "supervisor"), SIGKILL); });
  EXPECT_EQ(*numbers_.rbegin(), numbers_.size());
}

// A death is seen by itself, not by silence, also after the peer has renewed what it is.
TEST_P(RenewedTest, DeathIsSeenAtOnceAfterTheKeeperWasReplaced) {
  time_out_ms_ = 60'000;
  start(2);
  std::vector<LineClient> clients;
  clients.emplace_back(port_);
  const pid_t old_keeper = pid_of(GetParam(), "keeper");
  drive(&clients, 100, [&] { kill(old_keeper, SIGKILL); });
  wait_for([&] { return pid_of(GetParam(), "keeper") != old_keeper; });
  poll(nullptr, 0, 100);  // the other supervisor has heard of it
  const int64_t before_ns = link::monotonic_ns();
  drive(&clients, 300, [&] { kill(pid_of(GetParam(), "supervisor"), SIGKILL); });
  EXPECT_LT(link::monotonic_ns() - before_ns, 10'000'000'000);
}

INSTANTIATE_TEST_SUITE_P(Of, RenewedTest, ::testing::Values("a", "b"));

// A replica whose application is stopped by a signal, or fills its ring with nonsense, is replaced.
TEST_F(SupervisorTest, StoppedApplicationIsReplaced) {
  start(2);
  std::vector<LineClient> clients;
  clients.emplace_back(port_);
  drive(&clients, 500, [&] { kill(pid_of("a", "application"), SIGSTOP); });
  EXPECT_EQ(ask("b", R"({"cmd":"status"})")["protection"], "unprotected") << events();
}

TEST_F(SupervisorTest, ApplicationWithCorruptRingsIsReplaced) {
  start(2);
  std::vector<LineClient> clients;
  clients.emplace_back(port_);
  LineClient saboteur(port_);
  drive(&clients, 500, [&] { saboteur.tell("corrupt\n"); });
  wait_for([this] { return ask("b", R"({"cmd":"status"})")["protection"] == "unprotected"; });
  drive(&clients, 1000, [] {});
}

// The whole unit stands still for longer than the time-out: nobody is suspected.
TEST_F(SupervisorTest, MachineThatSleptSuspectsNobody) {
  start(2);
  std::vector<LineClient> clients;
  clients.emplace_back(port_);
  drive(&clients, 100, [&] {
    for (const char* replica : {"a", "b"}) {
      kill(pid_of(replica, "supervisor"), SIGSTOP);
    }
    poll(nullptr, 0, 400);
    for (const char* replica : {"a", "b"}) {
      kill(pid_of(replica, "supervisor"), SIGCONT);
    }
  });
  poll(nullptr, 0, 300);  // longer than the time-out
  EXPECT_EQ(ask("a", R"({"cmd":"status"})")["protection"], "protected") << events();
}

}  // namespace
}  // namespace ftrun
