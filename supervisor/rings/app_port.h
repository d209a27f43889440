// SPDX-License-Identifier: Apache-2.0
// A supervisor's end of the rings of one application: feeds arrivals and log, drains log and
// output, keeps the running digest, wakes the application, keeps its clock going. Runs in the
// supervisor's event loop.
//
// One supervisor serves an application: its own, or the sender's if that runs on the primary's host
// (primary_rings.h). In the latter case the own supervisor trails: it reads the same rings in its
// own time, nothing is given back before it has, and it can serve from where it stands when the
// sender has died.
//
// Nothing that comes out of a ring is trusted: what does not decode is an Error, and the
// application is then stopped. Its bytes are copied once and then checked, hashed and used from the
// copy: an application that goes on writing there changes nothing that was decided.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "eventlog/output.h"
#include "eventlog/records.h"
#include "supervisor/rings/region.h"
#include "supervisor/unit/core.h"

namespace ftrun {

class AppPort {
 public:
  // What was drained, in order. Bytes are borrowed for the call.
  class Sink {
   public:
    virtual ~Sink() = default;
    virtual void app_output(const Output& entry) = 0;
    virtual void app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest) = 0;
    virtual void app_turns(unit::Bytes turns, uint64_t lsn_end, uint64_t digest) = 0;
  };

  // kServesAndKeeps: serves, and what it has fed stays in the input ring until it is logged.
  enum class Part : uint8_t { kServes, kServesAndKeeps, kTrails };

  // REQUIRES: `region` outlives this object. kTrails: the application has not been started yet.
  AppPort(Region* region, Part part);

  bool trails() const { return part_ == Part::kTrails; }
  bool keeps_input() const { return part_ == Part::kServesAndKeeps; }
  // Of a trailing port: serves from now on. REQUIRES: who served is gone; drain() has found nothing
  // more, and unlogged_input() was read.
  void serve();
  // Of a trailing or keeping port: so many bytes of what was fed stand in the log.
  void forget_input(uint64_t logged);
  // Of such a port: what was fed and is not in any turn that drain() has handed over.
  Result<void> unlogged_input(std::vector<uint8_t>* input) const;

  // Whole items or records. What does not fit into the ring waits in a staging queue.
  void feed_input(unit::Bytes arrivals);
  void feed_log(unit::Bytes turns);
  // Early logging: more records of the turn that follows the fed log. They count as fed when
  // feed_log() brings the whole turn, and then only the rest is moved.
  void feed_part(unit::Bytes records);
  // Of that turn, what was fed ahead.
  unit::Bytes fed_ahead() const { return ahead_; }
  // feed_log() REQUIRES it. False: other records were fed ahead, or more: this replica has replayed
  // what the present primary does not know, and must not go on.
  bool goes_on_with(unit::Bytes turns) const;
  // The fed log (feed_part() included) has all records up to this optional point.
  void tell_points(uint64_t passed) { points_told_ = passed; }
  // Of a secondary's application: the point that it waits to hear of, 0: none.
  uint64_t point_awaited() const { return control_->point_awaited.load(std::memory_order_acquire); }
  // Of a primary's: how far it is. ORDER: to be read before next_part().
  uint64_t points_passed() const { return control_->points_passed.load(std::memory_order_acquire); }
  // It rings the doorbell when it has passed this point.
  void want_point(uint64_t point);
  // What a live application has published of its present turn, beyond what this has returned
  // already: whole records, not checked any further, into `part`, which is overwritten. A turn's
  // end comes only with drain(): so nobody ends a turn before the core has it. Returns whether,
  // turns that were drained included, this was all that is published.
  Result<bool> next_part(std::vector<uint8_t>* part);
  // The same, with where in its turn that begins, what was fed ahead of it included, and how far
  // the application is; its records lie in `bytes`.
  Result<unit::Part> read_part(std::vector<uint8_t>* bytes);

  // From here on the application writes the log; its ring starts at the end of the fed log. What
  // was fed ahead is the begin of its first turn.
  void go_live();
  // Asks the live application to follow from the end of a turn on; until that is answered, input is
  // staged. REQUIRES: late logging.
  void ask_to_step_down();
  bool is_asked_to_step_down() const { return stepping_down_; }
  bool answers_step_down() const {
    return stepping_down_ && control_->step_down.load(std::memory_order_acquire) == StepDown::kDone;
  }
  // Takes that back. False: it is too late.
  bool stay();
  // It has stepped down, and drain() has handed over all of its turns. What it was fed and has not
  // logged is void; it can be fed log.
  bool has_stepped_down();
  // Moves staged bytes into rings; wakes the application if it sleeps and something is new for it.
  // Call once per iteration, after everything was fed. Returns false if a staged item is malformed
  // or the application has moved a tail to where it cannot be.
  bool pump();

  // Hands over what the application has published. Returns whether there was anything.
  // ORDER: output before turns, since the mark of a turn must be known before the turn is.
  Result<bool> drain(Sink* sink);
  // Something was published since the last drain() (asked before going to sleep).
  bool has_output() const;

  // Before sleeping: what is published from now on rings the doorbell. The caller fences after it,
  // and asks has_output() once more.
  void announce_sleep() { control_->supervisor_asleep.store(1, std::memory_order_relaxed); }
  void announce_awake() { control_->supervisor_asleep.store(0, std::memory_order_relaxed); }
  // The application takes this for the time of what it finds in its input ring.
  void set_clock(int64_t now_ns);
  // A turn that takes long holds back its output; the shim ends it at its next intercepted call.
  void check_turn_length(int64_t now_ns);
  bool app_asleep() const { return control_->app_asleep.load(std::memory_order_relaxed) != 0; }

  Control* control() const { return control_; }
  bool staged() const { return !input_.empty() || !log_.empty(); }
  // The application has been fed something that it has not read, has not said that it sleeps, and
  // does not wait for whoever serves its rings.
  bool app_has_work() const;
  // Most bytes by which the trailing consumer of a ring that we drain is behind; 0: there is none.
  uint64_t trail_lag() const;
  // Moves whenever the application reads or writes in a ring.
  uint64_t app_progress() const;
  uint64_t log_bytes_fed() const { return log_fed_; }
  // Positions in the output ring: of the last mark's end, and of an earlier one's, some turns back.
  uint64_t last_mark_end() const { return mark_ends_[(marks_ + kMarksKept - 1) % kMarksKept]; }
  uint64_t oldest_mark_end() const {
    return marks_ < kMarksKept ? 0 : mark_ends_[marks_ % kMarksKept];
  }

 private:
  struct Staged {
    std::vector<uint8_t> bytes;
    size_t start = 0;
    bool empty() const { return start == bytes.size(); }
  };
  bool move_staged(Staged* staged, RingProducer* ring, bool is_log);
  void feed(unit::Bytes bytes, Staged* staged, RingProducer* ring);
  Result<bool> drain_output(Sink* sink);
  size_t take_entries(size_t bytes, Sink* sink);
  Result<bool> drain_log(Sink* sink);

  Region* const region_;
  Control* const control_;
  Part part_;
  RingProducer input_ring_, log_in_;
  RingConsumer log_out_, output_;
  RingConsumer input_trail_;
  Staged input_, log_;
  bool fed_ = false;            // published something since the last pump()
  std::vector<uint8_t> ahead_;  // early: fed, of a turn that feed_log() has not brought yet
  uint64_t parts_end_ = 0;      // of the log_out ring: what next_part() has returned
  uint64_t part_offset_ = 0;
  uint64_t points_told_ = 0;
  bool going_live_ = false;     // told so by the core; waits for the log to be in the ring
  bool stepping_down_ = false;  // the application is asked to
  uint64_t void_input_ = 0;     // bytes of its input ring that no turn will ever have
  uint64_t log_fed_ = 0;        // log position up to which the application was fed, or has made it
  uint64_t log_base_ = 0;       // log position of byte 0 of the log_out ring
  size_t log_seen_ = 0;         // of log_out: what the last drain() found and left
  uint64_t mark_position_ = 0;  // of the last mark that was drained
  static constexpr size_t kMarksKept = 64;
  std::array<uint64_t, kMarksKept> mark_ends_{};  // mark number n at n % kMarksKept
  size_t marks_ = 0;
  uint64_t mark_lsn_ = 0;
  uint64_t mark_digest_ = 0;
  uint64_t turns_seen_ = 0;      // log_out_.position() when it last moved,
  int64_t turn_started_ns_ = 0;  // and when that was
  std::vector<uint8_t> copy_;    // of what is being drained
  struct FreeDigest {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, FreeDigest> digest_;  // of all output so far
};

}  // namespace ftrun
