// SPDX-License-Identifier: Apache-2.0
// One simulated run: members, links, arbiter, kernel, clients, and failures, all from one seed.
// Test program only.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/unit/core.h"
#include "tests/simulation/client.h"
#include "tests/simulation/coverage.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/random.h"
#include "tests/simulation/replica.h"

namespace ftrun::sim {

enum class Fault : uint8_t {
  kNone,
  kKillApp,         // or it was stopped: the supervisor sees it
  kKillSupervisor,  // and the application dies with it
  kPause,           // the supervisor; long enough to be suspected, then it wakes
  kCorrupt,         // the secondary computes other output than the primary
  kPoison,          // a client crashes the primary by a request
  kSpoilInput,      // a member that only follows is fed other input than the primary
  kBadDigest,       // the primary's digest disagrees with what all others compute
  kBadTurns,        // the primary's turns do not decode
  kCut,             // the link between two members, in one direction or both, for long or for ever
  kStopAll,         // all supervisors, which wake together
};

struct Options {
  uint64_t seed = 1;
  unit::Mutation mutation = unit::Mutation::kNone;
  bool skip_kill = false;     // a planted bug of the I/O layer: takes sockets from the living
  bool accept_early = false;  // another: accepts before it answers that it listens
  bool trace = false;
  Coverage* coverage = nullptr;  // of the cores' transitions, added to
  bool breaks = false;           // a debugger stops at the first broken invariant
  // As the seed says, where they are left so.
  size_t members = 0;
  std::optional<unit::Topology> topology;
  std::optional<unit::Input> input;
  std::optional<unit::Logging> logging;
  unsigned tolerance = 0;
  Fault fault = Fault::kNone;  // the first
  bool reckless = false;
  bool hands_over = false;  // the operator hands parts over all the time
};

struct Outcome {
  std::string failure;  // empty: all invariants held
  uint64_t steps = 0;
  uint64_t requests = 0;
  uint64_t takeovers = 0;
  uint64_t hand_overs = 0;
  // Of turns and of input sent over links, and of input in the log of whoever has most of it.
  uint64_t turn_bytes = 0;
  uint64_t fed_bytes = 0;
  uint64_t input_bytes = 0;
  uint64_t part_bytes = 0;  // fed to applications ahead of their turn
  void add(const Outcome& other) {
    steps += other.steps;
    requests += other.requests;
    takeovers += other.takeovers;
    hand_overs += other.hand_overs;
    turn_bytes += other.turn_bytes;
    fed_bytes += other.fed_bytes;
    input_bytes += other.input_bytes;
    part_bytes += other.part_bytes;
    fingerprint = fingerprint * 31 + other.fingerprint;
  }
  uint64_t fingerprint = 0;  // of all that went into the cores and came out of them
};

class World {
 public:
  explicit World(const Options& options);
  Outcome run();

  // --- for its parts ---
  void fail(const std::string& text);
  bool failed() const { return !outcome_.failure.empty(); }
  void trace(unit::ReplicaId who, std::string_view kind, std::string_view text);
  Replica* replica(unit::ReplicaId id) { return replicas_[id].get(); }
  size_t replicas() const { return replicas_.size(); }
  std::deque<SimFrame>& link(unit::ReplicaId from, unit::ReplicaId to) { return links_[from][to]; }
  // Publishes a view if nobody has published that epoch; the current view in any case.
  const unit::View& publish(const unit::View& view);
  const unit::View& current_view() const { return view_; }
  void note_takeover() { ++outcome_.takeovers; }
  void note_part(size_t bytes) { outcome_.part_bytes += bytes; }
  void note_counter(uint64_t counter);
  uint64_t requests_made() const { return requests_made_; }
  // Some processes and some links are much slower than others.
  bool is_slow(unit::ReplicaId app) const { return app == slow_app_; }
  bool rests(unit::ReplicaId from, unit::ReplicaId to) {
    return from == slow_from_ && to == slow_to_ && !random.one_in(slowness_);
  }
  bool is_slow_supervisor(unit::ReplicaId member) const { return member == slow_supervisor_; }
  // Nothing comes through now.
  bool is_cut(unit::ReplicaId from, unit::ReplicaId to) const;
  // A member is told to say what it must not say.
  bool has_liar() const;
  // Members are made to compute other things than the primary.
  bool may_diverge() const;
  void note_request() { ++requests_made_; }
  void forget_requests(uint32_t count) { requests_made_ -= count; }
  bool turns_clients_away() const { return turns_clients_away_; }
  int backlog() const { return backlog_; }
  const ToyRings& rings() const { return rings_; }
  bool doomed() const { return doomed_; }
  const unit::CoreConfig& config() const { return config_; }
  // Whether one of the other members has these bytes there in its log.
  bool is_logged(const Replica* reader, uint64_t position, unit::Bytes turns) const;
  // Somebody is so far behind in reading what this member has sent that it reads no more input.
  bool is_behind(unit::ReplicaId member) const;
  void note_sent(const SimFrame& frame);
  bool lose_a_socket() { return loses_sockets_ && random.one_in(3); }

  const Options options;
  Random random;
  Kernel kernel;
  Fingerprint fingerprint;

 private:
  struct Strike {
    uint64_t step;
    Fault fault;
    unit::ReplicaId victim;
    uint64_t wake_step;
    bool in_change = false;  // `step` counts from the last change of view; the victim is whoever
    bool at_front = false;   // holds most
    unit::ReplicaId other = unit::kNoReplica;  // kCut: the link's other end
    bool both_ways = false;
    bool done = false;
    bool woken = false;
    bool counted = false;  // kCut: somebody was removed for it
  };
  static size_t choose_members(Random* random);
  unit::CoreConfig choose_config(size_t members);
  void choose_faults();
  void step();
  void strike();
  bool may_strike(const Strike& strike);
  bool is_able(unit::ReplicaId member) const;
  bool is_due(const Strike& strike) const;
  bool aim(Strike* strike) const;
  void choose_links();
  void choose_strike(size_t index, uint64_t spread);
  bool may_lie(const Strike& strike) const;
  void lie(const Strike& strike);
  bool strikes_all_others() const;
  void wake(Strike* strike);
  void note_removal(unit::ReplicaId member);
  void hit(Strike* strike);
  void note_losses();
  bool is_recovered();
  std::string describe_faults() const;
  void operate();
  void check_end();
  void check_bounds();
  void check_kept_input(const unit::Status& status);
  void check_link(unit::ReplicaId from, unit::ReplicaId to);
  void count_bytes();
  void check_lock();
  void hand_over();
  void hand_over_primary();
  void move_stranger();
  bool all_done() const;
  bool all_ended() const;
  bool may_stop() const;

  std::vector<std::unique_ptr<Replica>> replicas_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::array<std::array<std::deque<SimFrame>, unit::kMembersMax>, unit::kMembersMax> links_;
  unit::View view_;
  Outcome outcome_;
  unit::CoreConfig config_;
  std::vector<Strike> strikes_;
  bool has_fault_ = false;
  bool poisoned_ = false;
  uint64_t view_step_ = 0;  // when the current view was published
  uint64_t arbiter_fails_from_ = 0;
  uint64_t arbiter_fails_until_ = 0;
  // Losses count as one failure until the unit has recovered from all of them.
  size_t unrecovered_ = 0;
  uint64_t recovery_mark_ = 0;
  bool marked_ = false;
  bool reckless_ = false;  // strikes do not ask whether the unit can bear them
  bool doomed_ = false;    // more has failed than it can bear
  uint64_t requests_made_ = 0;
  std::vector<bool> counters_seen_;
  uint64_t hand_overs_ = 0;  // of the sender's part, still to come
  uint32_t signals_sent_ = 0;
  uint32_t early_signals_ = 0;
  bool stopping_ = false;
  bool patient_ = true;  // the operator waits until the server has forgotten who has left
  unit::ReplicaId slow_app_ = unit::kNoReplica;
  unit::ReplicaId slow_supervisor_ = unit::kNoReplica;
  unit::ReplicaId slow_from_ = unit::kNoReplica;
  unit::ReplicaId slow_to_ = unit::kNoReplica;
  uint64_t slowness_ = 16;
  bool loses_sockets_ = false;  // a takeover does not get all sockets
  int backlog_ = 0;
  ToyRings rings_;
  size_t link_bytes_max_ = 4 << 20;  // on a link, then its sender reads no more from clients
  size_t largest_turns_ = 0;         // in one frame
  size_t largest_input_ = 0;
  bool turns_clients_away_ = false;  // the server closes some connections without reading
};

// The invariants held, or why not.
inline Outcome simulate(const Options& options) {
  return World(options).run();
}

}  // namespace ftrun::sim
