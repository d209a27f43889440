// SPDX-License-Identifier: Apache-2.0
// A hostile application for tests of the supervisor: serves like ring_echo until a client says
// "attack SEED", then does to its supervisor whatever memory that they share allows: scribbles over
// rings, heads, tails and the control page, sends entries that decode and make no sense, floods,
// changes bytes behind the reader's back. From the seed; in the end it aborts.
//
//   hostile_app PORT     (launched by ftrun-supervisor in ring_echo's place)
#include <sys/socket.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>

#include "tests/unit/ring_echo.h"

namespace {

using namespace ftrun;

constexpr int kActionsMax = 12;
constexpr int kFlood = 20000;
constexpr int kPatienceRounds = 200;  // of 50 us, for room in a ring that may never come

class HostileApp : public RingEcho {
 public:
  using RingEcho::RingEcho;

 private:
  void on_line(const std::string& line) override {
    if (line.rfind("attack ", 0) == 0) {
      attack(std::strtoull(line.c_str() + 7, nullptr, 10));
    }
  }

  [[noreturn]] void attack(uint64_t seed) {
    random_.seed(seed);
    std::thread racer;
    if (chance(4)) {
      racer = std::thread([this] { change_bytes(); });
    }
    const int actions = 1 + static_cast<int>(below(kActionsMax));
    for (int i = 0; i < actions; ++i) {
      act();
      ring_bell();
      if (chance(3)) {
        usleep(static_cast<useconds_t>(below(3000)));
      }
    }
    usleep(20000);
    racing_ = false;
    if (racer.joinable()) {
      racer.join();
    }
    std::abort();
  }

  void act() {
    switch (below(14)) {
      case 0:
        return repeat(1 + below(200), [this] { put(random_entry()); });
      case 1:
        return scribble_positions();
      case 2:
        return random_bytes(&output_);
      case 3:
        return random_bytes(&log_out_);
      case 4:
        return scribble_control();
      case 5:
        return repeat(kFlood, [this] { ring_bell(); });
      case 6:
        return wild_marks();
      case 7:
        return exit_twice();
      case 8:
        return flood(OutputKind::kOption);
      case 9:
        return flood(OutputKind::kConsole);
      case 10:
        return flood(OutputKind::kNotice);
      case 11:
        return flood(OutputKind::kBind);
      case 12:
        return plausible_turn();
      default:
        return flood(OutputKind::kListen);
    }
  }

  template <typename Action>
  void repeat(uint64_t times, const Action& action) {
    for (uint64_t i = 0; i < times; ++i) {
      action();
    }
  }

  // Without waiting for ever: the ring may be broken by now.
  void put(const Output& entry) {
    uint8_t* at = nullptr;
    for (int i = 0; i < kPatienceRounds && at == nullptr; ++i) {
      at = output_.reserve(kOutputHeaderBytesMax + entry.length);
      if (at == nullptr) {
        ring_bell();
        usleep(50);
      }
    }
    if (at == nullptr) {
      return;
    }
    const size_t bytes = put_output_header(at, entry);
    if (entry.length != 0) {
      std::memcpy(at + bytes, entry.data, entry.length);
    }
    output_.advance(bytes + entry.length);
    output_.publish();
  }

  Output random_entry() {
    Output entry;
    entry.kind = static_cast<OutputKind>(below(kOutputKinds));
    entry.id = static_cast<uint32_t>(value());
    if (chance(2) && !connections_.empty()) {
      entry.id = connections_.begin()->first;
    }
    entry.value = value();
    entry.value2 = value();
    fill_data(&entry, chance(8) ? kOutputDataBytesMax : below(300));
    entry.address = random_address();
    return entry;
  }

  void fill_data(Output* entry, size_t length) {
    const bool has_data = entry->kind == OutputKind::kWrite ||
                          entry->kind == OutputKind::kConsole ||
                          entry->kind == OutputKind::kNotice ||
                          entry->kind == OutputKind::kUrgent || entry->kind == OutputKind::kOption;
    entry->data = noise_;
    entry->length = has_data ? length : 0;
    for (size_t i = 0; i < 64; ++i) {
      noise_[below(sizeof(noise_))] = static_cast<uint8_t>(random_());
    }
  }

  Address random_address() {
    Address address;
    address.length = static_cast<uint8_t>(chance(2) ? below(kAddressBytesMax + 1) : 16);
    for (uint8_t& byte : address.bytes) {
      byte = static_cast<uint8_t>(random_());
    }
    const uint16_t family = chance(2) ? AF_INET : static_cast<uint16_t>(below(45));
    std::memcpy(address.bytes, &family, sizeof(family));
    return address;
  }

  // Values as they break things: small, near the limits of their types, or anything.
  uint64_t value() {
    switch (below(4)) {
      case 0:
        return below(10);
      case 1:
        return ~uint64_t{0} - below(3);
      case 2:
        return (uint64_t{1} << below(64)) - below(2);
      default:
        return random_();
    }
  }

  void scribble_positions() {
    RingControl& ring = control_->rings[below(kRingCount)];
    std::atomic<uint64_t>& word = chance(2) ? ring.head : ring.tail;
    word.store(chance(2) ? word.load() + value() : value());
  }

  void random_bytes(RingProducer* ring) {
    const size_t bytes = 1 + below(5000);
    uint8_t* const at = ring->reserve(bytes);
    for (size_t i = 0; at != nullptr && i < bytes; ++i) {
      at[i] = static_cast<uint8_t>(random_());
    }
    if (at != nullptr) {
      ring->advance(bytes);
      ring->publish();
    }
  }

  void scribble_control() {
    std::memset(control_->failure_text, 'x', sizeof(control_->failure_text));
    control_->failure.store(static_cast<ShimFailure>(value()));
    control_->role.store(static_cast<Role>(value()));
    control_->lsn.store(value());
    control_->log_position.store(value());
    control_->app_asleep.store(static_cast<uint32_t>(value()));
    control_->supervisor_asleep.store(static_cast<uint32_t>(value()));
    control_->go_live.store(static_cast<uint32_t>(value()));
    if (chance(3)) {  // and everything else but the doorbell's number
      auto* const bytes = reinterpret_cast<uint8_t*>(control_);
      for (int i = 0; i < 2000; ++i) {
        const size_t at =
            offsetof(Control, at_random) + below(sizeof(Control) - offsetof(Control, at_random));
        bytes[at] = static_cast<uint8_t>(random_());
      }
    }
  }

  void wild_marks() {
    Output mark;
    mark.kind = OutputKind::kMark;
    repeat(1 + below(20), [&] {
      mark.value = chance(2) ? value() : position_ + below(100);
      mark.value2 = chance(2) ? value() : lsn_ + below(3);
      put(mark);
    });
    if (chance(4)) {  // ever higher, with no log to them
      mark.value = position_;
      repeat(kFlood, [&] {
        ++mark.value;
        put(mark);
      });
    }
  }

  void exit_twice() {
    Output entry;
    entry.kind = OutputKind::kExit;
    entry.value = value();
    put(entry);
    put(entry);
  }

  void flood(OutputKind kind) {
    const bool own_ids = chance(2);
    for (int i = 0; i < kFlood / 4; ++i) {
      Output entry = random_entry();
      entry.kind = kind;
      if (own_ids) {
        entry.id = static_cast<uint32_t>(i) | (kind == OutputKind::kOption ? kOptionOfSocket : 0);
      }
      if (kind == OutputKind::kConsole) {
        entry.id = 1 + static_cast<uint32_t>(below(2));
      }
      fill_data(&entry, below(200));
      put(entry);
    }
    if (chance(2)) {
      plausible_turn();  // so that a primary's entries are carried out
    }
  }

  // A turn with records that decode, and its mark.
  void plausible_turn() {
    for (uint64_t i = 0, n = below(5); i < n; ++i) {
      Record record;
      record.kind = static_cast<RecordKind>(1 + below(9));
      record.delta = below(3);
      record.now_delta_ns = value();
      record.number = value();
      record.result = static_cast<int64_t>(value());
      record.count = value();
      if (record.kind == RecordKind::kArrivals) {
        record.count = 1;
        record.payload = noise_;
        record.length = forged_arrival();
      }
      put_record(record);
    }
    Record end;
    end.kind = RecordKind::kTurnEndIdle;
    put_record(end);
    Output mark;
    mark.kind = OutputKind::kMark;
    mark.value = position_;
    mark.value2 = chance(4) ? value() : lsn_;
    put(mark);
    log_out_.publish();
  }

  size_t forged_arrival() {
    Arrival item;
    item.kind = static_cast<ArrivalKind>(below(kArrivalKinds));
    item.id = chance(2) && !connections_.empty() ? connections_.begin()->first
                                                 : static_cast<uint32_t>(value());
    item.value = item.kind == ArrivalKind::kCredit ? value() : 1 + below(60);
    item.length = item.kind == ArrivalKind::kData ? 1 + below(100) : 0;
    item.local = random_address();
    return put_arrival_header(noise_, item) + item.length;
  }

  void put_record(const Record& record) {
    uint8_t* const at = log_out_.reserve(kRecordHeaderBytesMax + record.length);
    if (at == nullptr) {
      return;
    }
    size_t bytes = put_record_header(at, record);
    if (record.length != 0) {
      std::memcpy(at + bytes, record.payload, record.length);
      bytes += record.length;
    }
    log_out_.advance(bytes);
    position_ += bytes;
    ++lsn_;
  }

  // Another thread: turns bytes over in rings that the supervisor may be reading.
  void change_bytes() {
    std::minstd_rand random(static_cast<unsigned>(position_));
    while (racing_) {
      for (const uint32_t ring : {uint32_t{kRingLogOut}, uint32_t{kRingOutput}}) {
        uint8_t* const data = reinterpret_cast<uint8_t*>(control_) + ring_map_offset(ring);
        const uint64_t near = control_->rings[ring].head.load() - random() % 4096;
        data[near % kRingBytes[ring]] = static_cast<uint8_t>(random());
      }
    }
  }

  void ring_bell() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t ignored = write(bell_, &one, sizeof(one));
  }

  uint64_t below(uint64_t limit) { return random_() % limit; }
  bool chance(uint64_t one_in) { return below(one_in) == 0; }

  std::mt19937_64 random_;
  std::atomic<bool> racing_{true};
  const int bell_ = control_->doorbell_fd;
  uint8_t noise_[kOutputDataBytesMax] = {};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    return 2;
  }
  auto region = ftrun::Region::attach(ftrun::kRegionFd);
  if (!region.ok()) {
    return 3;
  }
  HostileApp(std::move(*region), static_cast<uint16_t>(std::atoi(argv[1]))).run();
}
