// SPDX-License-Identifier: Apache-2.0
// ftrun-early-replay [--OPTION N]... -- program args…
// Early logging without a unit: runs the program as a primary with a small edge of its own, and at
// the same time as a secondary that is fed record by record, at a pace given by --seed. Compares
// output digests of all turns and, unless the program has exited, memory (SIGUSR1 ends the run).
// --promote N: kills the primary once N records were fed, in the middle of a turn most likely, lets
// the secondary go live there and prints what it has said from its start to its end: the same as
// natively, if the program needs no network (nor asks for routing tables: an answer of several
// records is published as one, but fed here record by record).
// --alongside 1: ends once the secondary has said as much as the primary, in a turn that has not
// ended. --seconds N: how long to wait for an end.
// --plant 1: the secondary is told that there are no records at optional points before they have
// been passed; 2: it is never told how far the primary is.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <deque>
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
  uint64_t promote_at = 0;  // records; 0: never
  uint64_t planted = 0;
  uint64_t alongside = 0;
  uint64_t seconds = 200;
};

// What goes from the primary to the secondary, in order.
struct Passed {
  enum class Kind { kPart, kTurn, kPoints } kind;
  std::vector<uint8_t> bytes;
  uint64_t points = 0;
};

struct Source : AppPort::Sink {
  SmallEdge edge;
  std::deque<Passed>* queue = nullptr;
  Digests digests;  // by log position
  bool is_silent = false;
  void app_output(const Output& entry) override {
    if (!is_silent || (entry.kind != OutputKind::kConsole && entry.kind != OutputKind::kNotice)) {
      edge.output(entry);
    }
  }
  void app_mark(uint64_t position, uint64_t, uint64_t digest) override {
    digests[position] = digest;
  }
  void app_turns(unit::Bytes turns, uint64_t, uint64_t) override {
    Record record;
    const uint8_t* const end = turns.data() + turns.size();
    const uint8_t* turn = turns.data();
    for (const uint8_t* at = turn; (at = get_record(at, end, &record)) != nullptr;) {
      if (ends_turn(record.kind)) {
        queue->push_back({Passed::Kind::kTurn, {turn, at}, 0});
        turn = at;
      }
    }
  }
};

struct Follower : AppPort::Sink {
  Digests digests;
  std::string console;
  uint64_t lsn = 0, position = 0;
  uint64_t own_turn_bytes = 0;  // of turns that it has written itself, or begun to replay
  void app_output(const Output& entry) override {
    if (entry.kind == OutputKind::kConsole) {
      console.append(reinterpret_cast<const char*>(entry.data), entry.length);
    }
  }
  void app_mark(uint64_t log_position, uint64_t mark_lsn, uint64_t digest) override {
    position = log_position;
    lsn = mark_lsn;
    digests[log_position] = digest;
  }
  void app_turns(unit::Bytes turns, uint64_t, uint64_t) override { own_turn_bytes += turns.size(); }
};

class EarlyPair {
 public:
  explicit EarlyPair(const Options& options)
      : options_(options),
        random_(options.seed),
        secondary_(Role::kSecondary, options.program, Logging::kEarly),
        primary_(Role::kPrimary, options.program, Logging::kEarly) {
    source_.queue = &queue_;
    source_.is_silent = options.promote_at != 0;
    source_.edge.set_application(primary_.application.application.get());
  }

  ~EarlyPair() {
    process::end(&primary_.application);
    process::end(&secondary_.application);
  }
  EarlyPair(const EarlyPair&) = delete;
  EarlyPair& operator=(const EarlyPair&) = delete;

  int run() {
    while (stop_requested == 0 && !(taken_all_ && queue_.empty() && secondary_.exited)) {
      step();
      if (may_promote()) {
        return promote();
      }
      if (options_.alongside != 0 && is_alongside()) {
        std::printf("alongside, in turn %zu, %zu bytes into it\n", source_.digests.size() + 1,
                    secondary_.port->fed_ahead().size());
        return 0;
      }
    }
    return compare_both();
  }

 private:
  static int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

  // Both have done the same of a turn in which there is no further record.
  bool is_alongside() const {
    const uint64_t said = primary_.region.control()->said_end.load();
    return said > primary_.port->last_mark_end() && queue_.empty() &&
           said == secondary_.region.control()->said_end.load();
  }

  void check_time() {
    if (now_ns() - started_ns_ > static_cast<int64_t>(options_.seconds) * 1'000'000'000) {
      die("no end: fed " + std::to_string(records_fed_) + " records, the secondary awaits point " +
          std::to_string(secondary_.port->point_awaited()) + ", the primary passed " +
          std::to_string(primary_.port->points_passed()));
    }
  }

  void step() {
    check_time();
    if (options_.planted != 0) {
      usleep(3000);  // the secondary comes to the end of what it was fed before there is more
    }
    // Once more after its end, which may have been seen before all that it published.
    const bool was_last = primary_.exited;
    if (!taken_all_) {
      serve_primary();
    }
    taken_all_ = was_last;
    // With some seeds the secondary keeps up and always waits, with others it lags behind.
    if (random_() % (1 + options_.seed % 40) == 0) {
      feed(random_() % 4);
    }
    secondary_.port->pump();
    secondary_.drain(&follower_);
    secondary_.check();
    if (const uint64_t point = secondary_.port->point_awaited()) {
      primary_.port->want_point(point);
    }
  }

  void serve_primary() {
    AppPort* port = primary_.port.get();
    arrivals_.clear();
    source_.edge.poll(primary_.doorbell, 0, &arrivals_);
    port->set_clock(now_ns());
    port->feed_input(arrivals_);
    port->pump();
    take_from_primary();
    primary_.check();
  }

  // ORDER: the progress, then turns, then the part: what was passed is in what is taken then.
  void take_from_primary() {
    const uint64_t points = primary_.port->points_passed();
    primary_.drain(&source_);
    std::vector<uint8_t> part;
    const auto all = primary_.port->next_part(&part);
    if (!all.ok()) {
      die(all.error().message);
    }
    if (!part.empty()) {
      queue_.push_back({Passed::Kind::kPart, std::move(part), 0});
    }
    if (*all && points > points_taken_) {
      points_taken_ = points;
      queue_.push_back({Passed::Kind::kPoints, {}, points});
    }
  }

  // Up to so many records, but none beyond that of the promotion.
  void feed(uint64_t records) {
    for (; records != 0 && !queue_.empty() && !may_promote(); --records) {
      Passed& first = queue_.front();
      bool is_done = true;
      if (first.kind == Passed::Kind::kPart) {
        is_done = feed_record(first.bytes, &part_fed_) == first.bytes.size();
      } else if (first.kind == Passed::Kind::kTurn) {
        is_done = feed_of_turn(first.bytes);
      } else {
        tell_points(first.points);
      }
      if (is_done) {
        part_fed_ = 0;
        queue_.pop_front();
      }
    }
  }
  void tell_points(uint64_t passed) {
    constexpr uint64_t kNever = 2;
    if (options_.planted != kNever) {
      secondary_.port->tell_points(options_.planted != 0 ? UINT64_MAX : passed);
    }
  }
  bool may_promote() const {
    return options_.promote_at != 0 && records_fed_ >= options_.promote_at;
  }

  // The next record behind `*fed` bytes. Returns where it ends.
  size_t feed_record(const std::vector<uint8_t>& bytes, size_t* fed) {
    Record record;
    const uint8_t* const begin = bytes.data() + *fed;
    const uint8_t* const next = get_record(begin, bytes.data() + bytes.size(), &record);
    secondary_.port->feed_part({begin, next});
    records_fed_++;
    return *fed = static_cast<size_t>(next - bytes.data());
  }

  // The same of a turn, of which some was fed already. Its end comes with the whole. True: it was.
  bool feed_of_turn(const std::vector<uint8_t>& turn) {
    if (!secondary_.port->goes_on_with(turn)) {
      die("a turn does not begin with what was fed of it");
    }
    size_t fed = secondary_.port->fed_ahead().size();
    Record record;
    if (get_record(turn.data() + fed, turn.data() + turn.size(), &record) <
        turn.data() + turn.size()) {
      feed_record(turn, &fed);
      return false;
    }
    secondary_.port->feed_log(turn);
    records_fed_++;
    return true;
  }

  int promote() {
    process::end(&primary_.application);
    const size_t ahead = secondary_.port->fed_ahead().size();
    secondary_.port->go_live();
    while (!secondary_.exited) {
      check_time();
      secondary_.port->set_clock(now_ns());
      secondary_.port->pump();
      secondary_.drain(&follower_);
      secondary_.check();
      usleep(100);
    }
    secondary_.drain(&follower_);
    say_console();
    std::printf("promoted after %lu records, %zu bytes into a turn; it wrote %lu bytes of log\n",
                records_fed_, ahead, follower_.own_turn_bytes);
    std::printf("exited: %s\n", process::describe_wait_status(secondary_.wait_status).c_str());
    return 0;
  }

  void say_console() const {
    if (source_.is_silent) {
      std::fwrite(follower_.console.data(), 1, follower_.console.size(), stderr);
    }
  }

  int compare_both() {
    uint64_t differing = 0;
    if (!primary_.exited) {
      primary_.freeze(&source_);
      take_from_primary();
      while (!queue_.empty() || !secondary_.is_idle() || secondary_.port->has_output()) {
        check_time();
        feed(4);
        secondary_.port->pump();
        secondary_.drain(&follower_);
        secondary_.check();
      }
      secondary_.freeze(&follower_);
      const Comparison comparison = compare(primary_.memory(), secondary_.memory());
      print_differences(comparison);
      differing = comparison.differing_words;
    } else {
      secondary_.drain(&follower_);
      say_console();
      std::printf("exited: %s\n", process::describe_wait_status(primary_.wait_status).c_str());
    }
    std::printf("records %lu, turns %zu, points %lu\n", follower_.lsn, source_.digests.size(),
                points_taken_);
    const bool equal = same_digests(source_.digests, follower_.digests) && differing == 0;
    std::printf(equal ? "equal\n" : "FAILED: %lu words differ\n", differing);
    return equal ? 0 : 1;
  }

  const Options options_;
  std::mt19937_64 random_;
  const int64_t started_ns_ = now_ns();
  Source source_;
  Follower follower_;
  std::deque<Passed> queue_;
  std::vector<uint8_t> arrivals_;
  uint64_t records_fed_ = 0;
  uint64_t points_taken_ = 0;
  bool taken_all_ = false;
  size_t part_fed_ = 0;  // of the first in the queue
  // ORDER: the secondary first, or a short program has ended before it begins.
  Replica secondary_;
  Replica primary_;
};

Options parse(int argc, char** argv) {
  Options options;
  options.program = parse_command(argc, argv,
                                  {{"--seed", &options.seed},
                                   {"--promote", &options.promote_at},
                                   {"--plant", &options.planted},
                                   {"--alongside", &options.alongside},
                                   {"--seconds", &options.seconds}},
                                  "ftrun-early-replay [--OPTION N]...");
  return options;
}

}  // namespace
}  // namespace ftrun::replay

int main(int argc, char** argv) {
  signal(SIGUSR1, [](int) { ftrun::replay::stop_requested = 1; });
  return ftrun::replay::EarlyPair(ftrun::replay::parse(argc, argv)).run();
}
