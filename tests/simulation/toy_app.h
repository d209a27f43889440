// SPDX-License-Identifier: Apache-2.0
// A toy application with a toy shim: a server that is deterministic given its log. It reads
// arrivals, writes records and output entries in the real formats, replays a log, and goes live
// where the log ends. It publishes in steps, so that it can be killed between any two of them.
//
// With early logging it replays a turn as far as it is there: it runs the turn anew from its begin
// whenever there is more of it, and puts out what it had not put out before. It has one optional
// point in each turn, at which arrivals may come in; turns count them.
// Test program only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "eventlog/arrivals.h"
#include "eventlog/limits.h"
#include "eventlog/output.h"
#include "eventlog/records.h"
#include "tests/simulation/random.h"

namespace ftrun::sim {

inline constexpr uint16_t kToyExtraPort = 7001;
inline constexpr uint32_t kToySocket = 1;         // ids of listeners; others follow
inline constexpr uint32_t kToyLockSocket = 1000;  // ids of locks, from here on

// One direction of shared memory: bytes written, a published end, and a read position; and another
// one of who trails (eventlog/ring.h). All positions count from the start; what both have read is
// forgotten now and then.
class SimRing {
 public:
  void append(const void* bytes, size_t count) {
    const auto* begin = static_cast<const uint8_t*>(bytes);
    bytes_.insert(bytes_.end(), begin, begin + count);
  }
  uint64_t written() const { return base_ + bytes_.size(); }
  uint64_t published() const { return published_; }
  void publish(uint64_t end) { published_ = end; }
  void discard_unpublished() { bytes_.resize(published_ - base_); }
  const uint8_t* data() const { return at(read_); }
  size_t available() const { return published_ - read_; }
  uint64_t position() const { return read_; }
  void consume(size_t count) {
    read_ += count;
    forget();
  }

  void begin_trail() { trail_ = 0; }
  void end_trail() { trail_ = UINT64_MAX; }
  uint64_t trail() const { return trail_; }
  const uint8_t* trail_data() const { return at(trail_); }
  size_t trail_available() const { return published_ - trail_; }
  // What would be in the ring if it were published up to there: nobody has given it back.
  size_t used(uint64_t end) const { return end - std::min(read_, trail_); }
  void trail_to(uint64_t position) {
    trail_ = position;
    forget();
  }
  // Who trailed is the reader from now on.
  void lead() {
    read_ = trail_;
    end_trail();
  }

 private:
  const uint8_t* at(uint64_t position) const { return bytes_.data() + (position - base_); }
  void forget() {
    const uint64_t both = std::min(read_, trail_);
    if (both - base_ > 65536 && (both - base_) * 2 > bytes_.size()) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<long>(both - base_));
      base_ = both;
    }
  }

  std::vector<uint8_t> bytes_;
  uint64_t base_ = 0;
  uint64_t published_ = 0;
  uint64_t read_ = 0;
  uint64_t trail_ = UINT64_MAX;
};

// kClosed: given back without an answer.
enum class ToyLock : uint8_t { kFree, kAsked, kHeld, kAskedBack, kClosed };

// What the server knows; equal in all replicas at equal log positions.
struct ToyState {
  struct Conn {
    ConnectionId id = 0;
    std::vector<uint8_t> in;  // not consumed
    uint64_t consumed = 0;
    uint64_t reported = 0;
    std::vector<uint8_t> out;  // not written (no room)
    uint64_t produced = 0;
    uint64_t credited = 0;
    uint32_t requests = 0;
    bool accepted = false;
    bool fin = false;
    bool quit = false;
    bool reset = false;
  };
  std::vector<Conn> conns;
  uint64_t counter = 0;
  uint64_t hash = 0;  // of all chosen values: replicas that chose differently answer differently
  std::vector<uint32_t> signals;  // sequence numbers seen
  int turned_away = 0;
  int bind_stage = 0;         // 0: nothing yet, 1: asked, 2: asked to listen, 3: listening
  uint32_t extra_socket = 0;  // the second listener's socket; a new one each time
  int extra_stage = 0;        // as bind_stage
  ToyLock lock = ToyLock::kFree;
  uint32_t lock_socket = kToyLockSocket;  // its id; a new one each time
  bool exiting = false;
};

// What its rings hold: it waits at the next call while they are full.
struct ToyRings {
  size_t output_bytes = 4 << 20;
  size_t log_bytes = 4 << 20;
};

class ToyApp {
 public:
  ToyApp(bool primary, uint64_t seed, bool turns_clients_away, int backlog, ToyRings rings,
         bool early)
      : random_(seed),
        turns_clients_away_(turns_clients_away),
        backlog_(backlog),
        rings_(rings),
        early_(early),
        live_(primary) {}

  // One step of the process: part of a turn is published, or nothing can be done (false).
  bool step();

  // The supervisor's side of the shared memory.
  void feed_input(const uint8_t* bytes, size_t count);
  void feed_log(const uint8_t* bytes, size_t count);
  // Early: the fed log has all records up to this point.
  void tell_points(uint64_t points) { points_known_ = points; }
  uint64_t point_awaited() const { return point_awaited_; }
  uint64_t points_passed() const { return points_passed_; }
  void go_live() {
    go_live_ = true;
    corrupt_ = false;  // nobody could see who is wrong
    spoilt_ = false;
  }
  // What it was fed and has not taken is void once it has stepped down, at the end of a turn.
  void ask_to_step_down() {
    steps_down_ = true;
    stepped_down_ = false;
  }
  bool stepped_down() const { return stepped_down_; }  // since it was asked last
  // Takes that back. False: too late.
  bool stay() { return std::exchange(steps_down_, false); }
  SimRing& input() { return input_; }
  SimRing& log_out() { return log_out_; }
  const SimRing& log_out() const { return log_out_; }
  SimRing& output() { return output_; }
  // What is not published is lost with the process.
  void kill();

  bool dead() const { return dead_; }
  bool exited() const { return exited_; }  // by itself
  int exit_status() const { return 0; }
  bool live() const { return live_; }
  bool goes_live() const { return go_live_; }       // told so, or already has
  bool leads() const { return live_ || go_live_; }  // others are compared with it
  // Nothing to do, nothing half published.
  bool idle() const;
  // The connection whose input has crashed it; 0 if it did not crash.
  ConnectionId suspect() const { return suspect_; }
  const std::string& failure() const { return failure_; }  // the replay does not fit the log
  const ToyState& state() const { return state_; }
  uint64_t turns() const { return turns_; }

  // A fault: the next reply written is wrong by one bit.
  void corrupt_next_write() { corrupt_ = spoilt_ = true; }
  void spoil() { spoilt_ = true; }         // its supervisor is about to tell lies
  bool spoilt() const { return spoilt_; }  // it was told so, and nobody has noticed yet

 private:
  bool publish_some();
  void follow();
  void publish_log();
  bool run_live_turn();
  bool run_replayed_turn();
  bool run_begun_turn();
  void replay_begun_turn();
  void ingest();
  void replay_arrivals(const Record& record);
  bool next_record(Record* record, const uint8_t** next) const;
  void write_start();
  bool goes_live_here();
  bool has_work() const;
  bool can_work(const ToyState::Conn& conn) const;
  void apply(const Arrival& item);
  void process();
  void accept_one();
  void process_connection(ToyState::Conn& conn);
  void answer(ToyState::Conn& conn);
  bool write_out(ToyState::Conn& conn);
  void emit_close(const ToyState::Conn& conn);
  void close_finished();
  void bind(uint32_t socket, uint16_t port);
  void configure();
  void lock();
  void answer_lock(const Arrival& item);
  void answer_bound(const Arrival& item);
  void exit_all();
  void end_turn();
  uint64_t choose();
  void emit(Output entry, const uint8_t* data = nullptr, size_t length = 0);
  void record(Record record, const uint8_t* payload = nullptr);
  ToyState::Conn* find(ConnectionId id);
  void diverged(const std::string& why);

  Random random_;
  const bool turns_clients_away_;  // the first few that come while another one is served
  const int backlog_;
  const ToyRings rings_;
  const bool early_;
  bool live_;
  bool go_live_ = false;
  bool steps_down_ = false;  // asked to
  bool stepped_down_ = false;
  bool dead_ = false;
  bool exited_ = false;
  bool corrupt_ = false;
  bool spoilt_ = false;
  ConnectionId suspect_ = 0;
  bool started_ = false;
  std::string failure_;
  ToyState state_;

  SimRing input_, log_in_, log_out_, output_;
  const uint8_t* replay_ = nullptr;  // inside the turn that is replayed
  const uint8_t* replay_end_ = nullptr;
  uint64_t log_position_ = 0;  // in the unit's log
  uint64_t lsn_ = 0;
  uint64_t turns_ = 0;
  std::vector<uint64_t> entry_ends_;  // unpublished output entries
  int work_left_ = 0;                 // requests that may still be answered in this turn

  // --- early logging ---
  // What becomes visible in the log's ring at once: a record, or that a point was passed there.
  struct Visible {
    uint64_t end;
    uint64_t points;
  };
  std::deque<Visible> visible_;
  uint64_t points_passed_ = 0;
  uint64_t points_known_ = 0;
  uint64_t point_awaited_ = 0;
  bool starved_ = false;  // the turn that runs lacks a record
  size_t entries_ = 0;    // of output, in the turn that runs,
  size_t emitted_ = 0;    // and of these, put out when it ran before
  uint64_t tried_ = 0;    // of the log, and of points, when it ran before
  uint64_t tried_points_ = 0;
};

}  // namespace ftrun::sim
