// SPDX-License-Identifier: Apache-2.0
// What ftrun does while its unit runs: shows the sender's console, passes signals on, warns when
// protection is lost, and ends with the unit. It decides nothing: the unit runs on without it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/event_follower.h"
#include "cli/supervisors.h"
#include "supervisor/arbiter/views.h"
#include "supervisor/base/result.h"
#include "supervisor/operator/console_spool.h"
#include "supervisor/process/launch.h"

namespace ftrun::cli {

inline constexpr int kExitFailed = 125;
inline constexpr int kExitCannotRun = 126;
inline constexpr int kExitNotFound = 127;

class Foreground {
 public:
  // Takes over the supervisors; blocks the signals that it passes on. Make it before they start.
  static Result<std::unique_ptr<Foreground>> create(std::string unit, std::string run_dir,
                                                    int replicas);
  // Called in every round of run(), some ten milliseconds apart.
  void every_round(std::function<void()> look) { look_ = std::move(look); }
  // The last signal that was passed on to end the program (SIGTERM, SIGINT, SIGQUIT); 0: none.
  int ended_by() const { return ended_by_; }
  // Once all are added: where their views are decided, and what their programs write.
  void follow(UnitMemory memory, std::vector<ConsoleSpool> consoles) {
    memory_ = std::move(memory);
    consoles_ = std::move(consoles);
  }
  void add(Supervisor supervisor) { supervisors_.push_back(std::move(supervisor)); }
  // Returns ftrun's exit status, when the unit has ended. Kills the supervisors if one of them ends
  // before all have started, or if all are asked to end before and do not start soon.
  int run();

 private:
  using Clock = std::chrono::steady_clock;
  Foreground(std::string unit, std::string run_dir, int replicas);
  void wait_for_events();
  void collect_supervisors();
  void take_signals();
  void pass_signals();
  bool signal_supervisors(int number);
  void look_at_run_dir();
  std::optional<int> exit_status() const;
  void follow_view();
  void warn_unprotected(const unit::View& before, const unit::View& now);
  void say_events();
  bool show_console();
  void drain_console();
  void leave_console() const;
  std::string supervisors_ends() const;
  bool all_ended() const;
  bool starting();
  int abandon_start();
  int final_status();

  std::string unit_;
  std::string run_dir_;
  std::vector<Supervisor> supervisors_;
  UnitMemory memory_;
  process::Descriptor signals_;
  std::vector<int> pending_signals_;  // arrived before the supervisors could take any
  unit::View view_;
  std::vector<ConsoleSpool> consoles_;  // by replica
  ConsoleReader console_;
  unit::ReplicaId console_of_ = unit::kNoReplica;  // the replica that console_ reads
  EventFollower events_;
  bool started_ = false;
  int quiet_rounds_ = 0;
  unsigned rounds_ = 0;
  ino_t run_dir_inode_ = 0;
  std::function<void()> look_;
  int ended_by_ = 0;
  Clock::time_point asked_at_;  // when that came
};

// The last event of one of these kinds, as "replica a: text"; empty if there is none.
std::string last_event(const std::string& run_dir, const std::vector<std::string>& kinds);

}  // namespace ftrun::cli
