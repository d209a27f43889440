// SPDX-License-Identifier: Apache-2.0
// The toy application and its toy shim. Test program only.
#include "tests/simulation/toy_app.h"

#include <algorithm>
#include <cstring>

#include "supervisor/base/result.h"
#include "tests/simulation/toy_protocol.h"

namespace ftrun::sim {

namespace {
constexpr int kRequestsPerTurn = 6;
constexpr int kTurnedAwayMax = 5;
constexpr uint16_t kToyPort = 7000;
constexpr uint64_t kChoiceNumber = 318;  // getrandom
}  // namespace

// --- the shim's part: turns, records, rings ---

bool ToyApp::step() {
  if (dead_ || exited_) {
    return false;
  }
  if (publish_some()) {
    return true;
  }
  if (state_.exiting) {
    exited_ = true;
    return true;
  }
  if (!live_) {
    if (early_ && (log_in_.available() != 0 || points_known_ > turns_)) {
      return run_begun_turn();
    }
    if (log_in_.available() != 0) {
      return run_replayed_turn();
    }
    if (!go_live_) {
      return false;
    }
    live_ = true;
    return true;
  }
  if (steps_down_) {
    follow();
    return true;
  }
  return run_live_turn();
}

void ToyApp::follow() {
  steps_down_ = live_ = go_live_ = false;
  stepped_down_ = true;
  input_.consume(input_.available());
}

// Publishes a part of what the last turn wrote: any entry may be visible without the next, and log
// and output become visible in either order.
bool ToyApp::publish_some() {
  const bool log_waits = log_out_.published() != log_out_.written();
  if (entry_ends_.empty() && !log_waits) {
    return false;
  }
  if (log_waits && (entry_ends_.empty() || random_.one_in(3))) {
    publish_log();
    return true;
  }
  size_t count = random_.one_in(4) ? 1 + random_.below(entry_ends_.size()) : entry_ends_.size();
  while (count != 0 && output_.used(entry_ends_[count - 1]) > rings_.output_bytes) {
    --count;
  }
  if (count == 0) {
    return true;  // waits for room
  }
  output_.publish(entry_ends_[count - 1]);
  entry_ends_.erase(entry_ends_.begin(), entry_ends_.begin() + static_cast<long>(count));
  return true;
}

void ToyApp::publish_log() {
  size_t count = visible_.size();
  if (early_ && !random_.one_in(3)) {
    count = 1 + random_.below(count);
  }
  log_out_.publish(visible_[count - 1].end);
  points_passed_ = std::max(points_passed_, visible_[count - 1].points);
  visible_.erase(visible_.begin(), visible_.begin() + static_cast<long>(count));
}

bool ToyApp::has_work() const {
  if (input_.available() != 0 || state_.bind_stage == 0) {
    return true;
  }
  return std::any_of(state_.conns.begin(), state_.conns.end(),
                     [this](const ToyState::Conn& conn) { return can_work(conn); });
}

bool ToyApp::run_live_turn() {
  if (!has_work() || log_out_.used(log_out_.written()) > rings_.log_bytes) {
    return false;
  }
  write_start();
  ingest();
  process();
  if (suspect_ != 0) {
    kill();  // in mid-turn
    return true;
  }
  end_turn();
  return true;
}

void ToyApp::write_start() {
  if (!started_) {
    started_ = true;
    if (lsn_ == 0) {
      Record start;
      start.kind = RecordKind::kStart;
      start.count = kLogVersion;
      record(start);
    }
  }
}

void ToyApp::ingest() {
  const uint8_t* const begin = input_.data();
  const uint8_t* cursor = begin;
  const uint8_t* const end = begin + input_.available();
  uint64_t count = 0;
  const uint64_t most = random_.one_in(2) ? random_.sized(64) : UINT64_MAX;
  std::vector<Arrival> items;
  while (cursor != end && count < most) {
    Arrival item;
    cursor = get_arrival(cursor, end, &item);
    FTRUN_ASSERT(cursor != nullptr);
    items.push_back(item);
    ++count;
  }
  if (count != 0) {
    Record arrivals;
    arrivals.kind = RecordKind::kArrivals;
    arrivals.count = count;
    arrivals.length = static_cast<size_t>(cursor - begin);
    record(arrivals, begin);
  } else {
    visible_.push_back({log_out_.written(), turns_ + 1});
  }
  for (const Arrival& item : items) {
    apply(item);
  }
  input_.consume(static_cast<size_t>(cursor - begin));
}

bool ToyApp::run_replayed_turn() {
  replay_ = log_in_.data();
  replay_end_ = replay_ + log_in_.available();
  const uint8_t* const begin = replay_;
  Record record;
  const uint8_t* next = get_record(replay_, replay_end_, &record);
  if (next != nullptr && record.kind == RecordKind::kStart) {
    ++lsn_;
    replay_ = next;
    next = get_record(replay_, replay_end_, &record);
  }
  if (next != nullptr && record.kind == RecordKind::kArrivals) {
    replay_ = next;
    replay_arrivals(record);
  }
  process();
  next = get_record(replay_, replay_end_, &record);
  if (next == nullptr ||
      record.kind != (state_.exiting ? RecordKind::kExit : RecordKind::kTurnEndIngest)) {
    diverged("the turn does not end where the log's does");
    return true;
  }
  replay_ = next;
  log_position_ += static_cast<uint64_t>(replay_ - begin);
  log_in_.consume(static_cast<size_t>(replay_ - begin));
  end_turn();
  return true;
}

void ToyApp::replay_arrivals(const Record& record) {
  ++lsn_;
  const uint8_t* cursor = record.payload;
  for (uint64_t i = 0; i < record.count && cursor != nullptr; ++i) {
    Arrival item;
    cursor = get_arrival(cursor, record.payload + record.length, &item);
    if (cursor != nullptr) {
      apply(item);
    }
  }
}

void ToyApp::end_turn() {
  if (live_) {
    Record end;
    end.kind = state_.exiting ? RecordKind::kExit : RecordKind::kTurnEndIngest;
    record(end);
  } else {
    ++lsn_;
  }
  Output mark;
  mark.kind = OutputKind::kMark;
  mark.value = log_position_;
  mark.value2 = lsn_;
  emit(mark);
  ++turns_;
}

uint64_t ToyApp::choose() {
  uint64_t value = 0;
  if (starved_ || (early_ && !live_ && replay_ == replay_end_ && !goes_live_here())) {
    return 0;
  }
  if (live_) {
    value = random_.next();
    Record choice;
    choice.kind = RecordKind::kChoice;
    choice.number = kChoiceNumber;
    choice.result = sizeof value;
    choice.length = sizeof value;
    record(choice, reinterpret_cast<const uint8_t*>(&value));
    return value;
  }
  Record choice;
  const uint8_t* const next = get_record(replay_, replay_end_, &choice);
  if (next == nullptr || choice.kind != RecordKind::kChoice || choice.length != sizeof value) {
    diverged("the log has no choice here");
    return 0;
  }
  ++lsn_;
  replay_ = next;
  std::memcpy(&value, choice.payload, sizeof value);
  return value;
}

void ToyApp::record(Record record, const uint8_t* payload) {
  uint8_t header[kRecordHeaderBytesMax];
  const size_t length = put_record_header(header, record);
  log_out_.append(header, length);
  log_out_.append(payload, record.length);
  log_position_ += length + record.length;
  ++lsn_;
  visible_.push_back({log_out_.written(), 0});
}

void ToyApp::emit(Output entry, const uint8_t* data, size_t length) {
  if (starved_ || entries_++ < emitted_) {
    return;  // of a turn that runs once more, or not now
  }
  uint8_t header[kOutputHeaderBytesMax];
  entry.length = length;
  output_.append(header, put_output_header(header, entry));
  output_.append(data, length);
  entry_ends_.push_back(output_.written());
}

void ToyApp::feed_input(const uint8_t* bytes, size_t count) {
  input_.append(bytes, count);
  input_.publish(input_.written());
}

void ToyApp::feed_log(const uint8_t* bytes, size_t count) {
  FTRUN_ASSERT(!live_);
  log_in_.append(bytes, count);
  log_in_.publish(log_in_.written());
}

void ToyApp::kill() {
  dead_ = true;
  output_.discard_unpublished();
  log_out_.discard_unpublished();
  entry_ends_.clear();
  visible_.clear();
}

bool ToyApp::idle() const {
  if (dead_ || exited_) {
    return true;
  }
  return entry_ends_.empty() && log_out_.published() == log_out_.written() && !state_.exiting &&
         (live_ ? !has_work()
                : (log_in_.available() == 0 || log_in_.written() == tried_) && !go_live_);
}

void ToyApp::diverged(const std::string& why) {
  failure_ = why;
  kill();
}

// --- the server's part: deterministic given apply() and choose() ---

ToyState::Conn* ToyApp::find(ConnectionId id) {
  for (ToyState::Conn& conn : state_.conns) {
    if (conn.id == id) {
      return &conn;
    }
  }
  return nullptr;
}

void ToyApp::apply(const Arrival& item) {
  ToyState::Conn* conn = find(item.id);
  switch (item.kind) {
    case ArrivalKind::kOpen: {
      // A shim would turn the client away, as it does with those of a listener that was closed.
      FTRUN_ASSERT(item.listener != kToySocket || state_.bind_stage == 3);
      if (turns_clients_away_ && !state_.conns.empty() && state_.turned_away < kTurnedAwayMax) {
        ++state_.turned_away;
        ToyState::Conn unwelcome;
        unwelcome.id = item.id;
        return emit_close(unwelcome);
      }
      state_.conns.emplace_back().id = item.id;
      return;
    }
    case ArrivalKind::kSignal:
      state_.signals.push_back(item.id);
      state_.exiting |= item.value == 15;
      return;
    case ArrivalKind::kBound:
      return item.id >= kToyLockSocket ? answer_lock(item) : answer_bound(item);
    default:
      break;
  }
  if (conn == nullptr) {
    return;  // closed by us
  }
  switch (item.kind) {
    case ArrivalKind::kData:
      conn->in.insert(conn->in.end(), item.data, item.data + item.length);
      FTRUN_ASSERT(conn->in.size() + conn->consumed - conn->reported <= kReceiveWindowBytes);
      return;
    case ArrivalKind::kFin:
      conn->fin = true;
      return;
    case ArrivalKind::kReset:
      conn->reset = true;
      return;
    case ArrivalKind::kCredit:
      conn->credited = std::max(conn->credited, item.value);
      return;
    default:
      return;
  }
}

bool ToyApp::can_work(const ToyState::Conn& conn) const {
  if (conn.reset || !conn.accepted) {
    return true;
  }
  if (!conn.out.empty()) {
    return conn.produced - conn.credited < kSendWindowBytes;
  }
  if (conn.quit) {
    return true;
  }
  if (conn.in.size() >= kRequestBytes &&
      conn.in.size() >= kRequestBytes + (read_u32(conn.in.data() + 4) >> 8)) {
    return true;
  }
  return conn.fin;
}

void ToyApp::process() {
  if (state_.bind_stage == 0) {
    state_.extra_socket = kToySocket;
    bind(kToySocket, kToyPort);
    state_.bind_stage = 1;
  }
  accept_one();
  work_left_ = kRequestsPerTurn;
  for (ToyState::Conn& conn : state_.conns) {
    process_connection(conn);
  }
  close_finished();
  if (state_.exiting) {
    exit_all();
  }
}

void ToyApp::process_connection(ToyState::Conn& conn) {
  if (conn.reset || !conn.accepted || !write_out(conn)) {
    return;
  }
  while (work_left_ > 0 && suspect_ == 0 && !conn.quit && conn.out.empty() &&
         conn.in.size() >= kRequestBytes &&
         conn.in.size() >= kRequestBytes + (read_u32(conn.in.data() + 4) >> 8)) {
    --work_left_;
    answer(conn);
  }
  if (conn.consumed - conn.reported >= kReceiveReportBytes) {
    conn.reported = conn.consumed;
    Output consumed;
    consumed.kind = OutputKind::kConsumed;
    consumed.id = conn.id;
    consumed.value = conn.consumed;
    emit(consumed);
  }
}

void ToyApp::answer(ToyState::Conn& conn) {
  const uint32_t sequence = read_u32(conn.in.data());
  const uint32_t rest = read_u32(conn.in.data() + 4);
  const auto operation = static_cast<Operation>(rest & 255);
  const size_t size = kRequestBytes + (rest >> 8);
  conn.in.erase(conn.in.begin(), conn.in.begin() + static_cast<long>(size));
  conn.consumed += size;
  ++conn.requests;
  ++state_.counter;
  if (operation == Operation::kPoison) {
    suspect_ = conn.id;
    return;
  }
  if (operation == Operation::kConfigure) {
    configure();
  }
  if (operation == Operation::kLock) {
    lock();
  }
  Output console;
  console.kind = OutputKind::kConsole;
  console.id = 1;
  const uint8_t dot = '.';
  emit(console, &dot, 1);
  if (operation == Operation::kChoose) {
    state_.hash = state_.hash * 31 + choose();
  }
  // An out-of-order request shows in the reply: the client sees its own sequence number wrong.
  put_reply(&conn.out, sequence == conn.requests ? sequence : 0,
            operation == Operation::kDownload ? kDownloadBytes : 0, state_.counter, state_.hash);
  conn.quit = operation == Operation::kQuit;
  write_out(conn);
}

// Writes what there is room for. Returns whether all is written.
bool ToyApp::write_out(ToyState::Conn& conn) {
  while (!conn.out.empty()) {
    const size_t room = kSendWindowBytes - (conn.produced - conn.credited);
    const size_t count = std::min({conn.out.size(), room, kOutputDataBytesMax});
    if (count == 0) {
      return false;
    }
    if (corrupt_ && !starved_) {
      corrupt_ = false;
      conn.out[0] ^= 1;
    }
    Output write;
    // The last byte of a reply is urgent.
    write.kind = count == conn.out.size() ? OutputKind::kUrgent : OutputKind::kWrite;
    write.id = conn.id;
    emit(write, conn.out.data(), count);
    conn.produced += count;
    conn.out.erase(conn.out.begin(), conn.out.begin() + static_cast<long>(count));
  }
  return true;
}

void ToyApp::close_finished() {
  std::erase_if(state_.conns, [this](ToyState::Conn& conn) {
    const bool request_waits = conn.in.size() >= kRequestBytes &&
                               conn.in.size() >= kRequestBytes + (read_u32(&conn.in[4]) >> 8);
    const bool done =
        conn.reset || (conn.out.empty() && (conn.quit || (conn.fin && !request_waits)));
    if (!done || !conn.accepted) {
      return false;
    }
    if (!conn.reset && conn.id % 2 == 0) {  // some shut down first
      Output shutdown;
      shutdown.kind = OutputKind::kShutdown;
      shutdown.id = conn.id;
      emit(shutdown);
    }
    emit_close(conn);
    return true;
  });
}

void ToyApp::emit_close(const ToyState::Conn& conn) {
  Output close;
  close.kind = OutputKind::kClose;
  close.id = conn.id;
  close.value = conn.consumed;
  emit(close);
}

}  // namespace ftrun::sim
