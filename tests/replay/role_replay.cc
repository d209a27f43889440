// SPDX-License-Identifier: Apache-2.0
// ftrun-role-replay [--seed N] -- program args…
// Hands the primary's part to and fro without a unit: two replicas of the program behind a small
// edge; again and again the one that decides steps down at the end of a turn and follows, and the
// other one goes live. Compares output digests of all turns and, unless the program has exited
// (SIGUSR1 ends the run), memory; prints what the program has said.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/replay/memory_compare.h"
#include "tests/replay/replica.h"
#include "tests/replay/small_edge.h"

namespace ftrun::replay {
namespace {

volatile sig_atomic_t stop_requested = 0;

struct Options {
  std::vector<std::string> program;
  uint64_t seed = 1;
};

// A replica and what was seen of it.
struct Side : AppPort::Sink {
  Side(Role role, const std::vector<std::string>& program)
      : replica(role, program, Logging::kLate, AppPort::Part::kServesAndKeeps),
        leads(role == Role::kPrimary) {}

  Replica replica;
  bool leads;
  uint64_t live_from = 0;  // what it puts out beyond is for the world
  SmallEdge* edge = nullptr;
  std::string* console = nullptr;
  std::vector<uint8_t> turns;  // own, not fed to the other side
  uint64_t logged_input = 0;
  uint64_t position = 0, own_turns = 0;
  Digests digests;  // by log position

  void app_output(const Output& entry) override {
    if (!leads || position < live_from) {
      return;
    }
    if (entry.kind == OutputKind::kConsole) {
      console->append(reinterpret_cast<const char*>(entry.data), entry.length);
    } else {
      edge->output(entry);
    }
  }
  void app_mark(uint64_t log_position, uint64_t, uint64_t digest) override {
    position = log_position;
    digests[position] = digest;
  }
  void app_turns(unit::Bytes bytes, uint64_t, uint64_t) override {
    own_turns++;
    turns.insert(turns.end(), bytes.begin(), bytes.end());
    Record record;
    const uint8_t* const end = bytes.data() + bytes.size();
    for (const uint8_t* at = bytes.data(); (at = get_record(at, end, &record)) != nullptr;) {
      logged_input += record.kind == RecordKind::kArrivals ? record.length : 0;
    }
  }
  void drain() {
    replica.drain(this);
    replica.port->forget_input(logged_input);
  }
};

class RolePair {
 public:
  explicit RolePair(const Options& options)
      : options_(options),
        random_(options.seed),
        sides_{{Role::kPrimary, options.program}, {Role::kSecondary, options.program}} {
    for (Side& side : sides_) {
      side.edge = &edge_;
      side.console = &console_;
    }
    edge_.set_application(sides_[0].replica.application.application.get());
  }
  ~RolePair() {
    for (Side& side : sides_) {
      process::end(&side.replica.application);
    }
  }
  RolePair(const RolePair&) = delete;
  RolePair& operator=(const RolePair&) = delete;

  int run() {
    bool taken_all = false;
    while (stop_requested == 0 && !(taken_all && follower().replica.exited)) {
      const bool was_last = leader().replica.exited;
      step();
      taken_all = was_last;
      if (!leader().replica.exited && random_() % (1 + options_.seed % 200) == 0) {
        swap();
      }
    }
    return compare_both();
  }

 private:
  static int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
  Side& leader() { return sides_[leader_]; }
  Side& follower() { return sides_[1 - leader_]; }

  void step() {
    Side& lead = leader();
    arrivals_.clear();
    if (!lead.replica.exited) {
      edge_.poll(lead.replica.doorbell, 0, &arrivals_);
    }
    lead.replica.port->set_clock(now_ns());
    lead.replica.port->feed_input(arrivals_);
    serve(&lead);
    follow();
  }

  void serve(Side* side) {
    side->replica.port->check_turn_length(now_ns());
    side->replica.port->pump();
    side->drain();
    side->replica.check();
  }

  void follow() {
    follower().replica.port->feed_log(leader().turns);
    leader().turns.clear();
    serve(&follower());
  }

  // The leader may be in the middle of anything; sometimes the operator changes his mind.
  void swap() {
    Side& lead = leader();
    AppPort* port = lead.replica.port.get();
    port->ask_to_step_down();
    const bool insists = random_() % 8 != 0;
    std::vector<uint8_t> unlogged;
    do {  // ORDER: what it was fed is void once it has stepped down
      step();
      if (lead.replica.exited || (!insists && random_() % 4 == 0 && port->stay())) {
        stays_++;
        return;
      }
      lead.drain();
      if (!port->unlogged_input(&unlogged).ok()) {
        die("a damaged input ring");
      }
    } while (!port->has_stepped_down());
    follow();
    swaps_++;
    Side& next = follower();
    next.live_from = lead.position;
    next.replica.port->go_live();
    next.replica.port->feed_input(unlogged);
    lead.leads = false;
    next.leads = true;
    leader_ = 1 - leader_;
  }

  int compare_both() {
    uint64_t differing = 0;
    if (!leader().replica.exited) {
      leader().replica.freeze(&leader());
      leader().drain();
      while (!leader().turns.empty() || !follower().replica.is_idle() ||
             follower().replica.port->has_output()) {
        follow();
      }
      follower().replica.freeze(&follower());
      const Comparison comparison = compare(leader().replica.memory(), follower().replica.memory());
      print_differences(comparison);
      differing = comparison.differing_words;
    } else {
      follower().drain();
      std::fwrite(console_.data(), 1, console_.size(), stderr);
      std::printf("exited: %s\n",
                  process::describe_wait_status(leader().replica.wait_status).c_str());
    }
    std::printf("swaps %lu, taken back %lu, turns %zu (%lu and %lu)\n", swaps_, stays_,
                sides_[0].digests.size(), sides_[0].own_turns, sides_[1].own_turns);
    const bool equal = same_digests(sides_[0].digests, sides_[1].digests) && differing == 0;
    std::printf(equal ? "equal\n" : "FAILED: %lu words differ\n", differing);
    return equal ? 0 : 1;
  }

  const Options options_;
  std::mt19937_64 random_;
  SmallEdge edge_;
  std::string console_;
  Side sides_[2];
  int leader_ = 0;
  std::vector<uint8_t> arrivals_;
  uint64_t swaps_ = 0, stays_ = 0;
};

Options parse(int argc, char** argv) {
  Options options;
  options.program =
      parse_command(argc, argv, {{"--seed", &options.seed}}, "ftrun-role-replay [--seed N]");
  return options;
}

}  // namespace
}  // namespace ftrun::replay

int main(int argc, char** argv) {
  const auto options = ftrun::replay::parse(argc, argv);
  signal(SIGUSR1, [](int) { ftrun::replay::stop_requested = 1; });
  ftrun::replay::RolePair pair(options);
  std::printf("recording pid %d\n", getpid());
  std::fflush(stdout);
  return pair.run();
}
