// SPDX-License-Identifier: Apache-2.0
// The ring protocol of eventlog/shared_region.h as spoken by fake applications, in the shim's
// place: see ring_echo.cc, and hostile_app.cc, which breaks it. Runs in those processes.
#pragma once

#include <linux/futex.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "eventlog/limits.h"
#include "eventlog/output.h"
#include "eventlog/records.h"
#include "supervisor/rings/region.h"

namespace ftrun {

inline constexpr uint32_t kEchoSocket = 1;
inline constexpr int64_t kEchoComputeMs = 500;

inline int64_t echo_cpu_ms() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return used.tv_sec * 1000 + used.tv_nsec / 1'000'000;
}

struct EchoConnection {
  std::string line;    // input of an unfinished line
  std::string unsent;  // output beyond the send window
  uint64_t consumed = 0;
  uint64_t reported = 0;
  uint64_t written = 0;
  uint64_t credited = 0;
  bool closing = false;
};

class RingEcho {
 public:
  RingEcho(Region region, uint16_t port)
      : region_(std::move(region)),
        control_(region_.control()),
        input_(region_.consumer(kRingInput)),
        log_in_(region_.consumer(kRingLogIn)),
        log_out_(region_.producer(kRingLogOut)),
        output_(region_.producer(kRingOutput)),
        port_(port) {}

  [[noreturn]] void run() {
    live_ = control_->initial_role.load() == Role::kPrimary;
    control_->ready.store(1);
    if (live_) {
      Record start;
      start.kind = RecordKind::kStart;
      start.count = kLogVersion;
      write_record(start);
      begin();
      end_turn();
    }
    for (;;) {
      if (live_ ? serve_live() : replay()) {
        continue;
      }
      sleep_until_fed();
    }
  }

  virtual ~RingEcho() = default;

 protected:
  // Another line has come, in this replica.
  virtual void on_line(const std::string&) {}

  void begin() {
    Output bind;
    bind.kind = OutputKind::kBind;
    bind.id = kEchoSocket;
    bind.value = kBindReuseAddress;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind.address.length = sizeof(address);
    std::memcpy(bind.address.bytes, &address, sizeof(address));
    emit(bind);
  }

  bool serve_live() {
    const size_t available = input_.available();
    if (available == 0) {
      return false;
    }
    if (available == kRingCorrupt) {
      std::abort();
    }
    // At most what fits into one record; cut at an item's border.
    const uint8_t* const start = input_.data();
    const uint8_t* cursor = start;
    uint64_t count = 0;
    while (cursor < start + available) {
      Arrival item;
      const uint8_t* next = get_arrival(cursor, start + available, &item);
      if (next == nullptr || static_cast<size_t>(next - start) > kArrivalsBytesMax) {
        break;
      }
      cursor = next;
      ++count;
    }
    if (cursor == start) {
      std::abort();
    }
    Record arrivals;
    arrivals.kind = RecordKind::kArrivals;
    arrivals.count = count;
    arrivals.payload = start;
    arrivals.length = static_cast<size_t>(cursor - start);
    write_record(arrivals);
    apply(arrivals.payload, arrivals.length);
    input_.consume(arrivals.length);
    end_turn();
    return true;
  }

  bool replay() {
    const size_t available = log_in_.available();
    if (available == 0) {
      if (control_->go_live.load(std::memory_order_acquire) != 0 && log_in_.available() == 0) {
        live_ = true;
        control_->role.store(Role::kPrimary);
        return true;
      }
      return false;
    }
    const uint8_t* const start = log_in_.data();
    const uint8_t* const end = start + available;
    for (const uint8_t* cursor = start; cursor < end;) {
      Record record;
      const uint8_t* next = get_record(cursor, end, &record);
      if (next == nullptr) {
        std::abort();
      }
      ++lsn_;
      position_ += static_cast<uint64_t>(next - cursor);
      cursor = next;
      if (record.kind == RecordKind::kStart) {
        begin();
      } else if (record.kind == RecordKind::kArrivals) {
        apply(record.payload, record.length);
      } else if (record.kind == RecordKind::kTurnEndIdle) {
        mark();
      }
    }
    log_in_.consume(available);
    return true;
  }

  void apply(const uint8_t* items, size_t length) {
    const uint8_t* const end = items + length;
    while (items < end) {
      Arrival item;
      items = get_arrival(items, end, &item);
      if (items == nullptr) {
        std::abort();
      }
      handle(item);
    }
  }

  void handle(const Arrival& item) {
    Output out;
    out.id = item.id;
    switch (item.kind) {
      case ArrivalKind::kBound:
        if (listening_) {
          break;
        }
        listening_ = true;
        out.kind = OutputKind::kListen;
        out.value = 1024;
        emit(out);
        break;
      case ArrivalKind::kOpen:
        connections_[item.id] = EchoConnection{};
        out.kind = OutputKind::kAccepted;
        emit(out);
        break;
      case ArrivalKind::kData:
        take(item);
        break;
      case ArrivalKind::kFin:
        if (connections_.count(item.id) != 0) {  // else closed meanwhile
          connections_[item.id].closing = true;
          advance(item.id);
        }
        break;
      case ArrivalKind::kReset:
        close(item.id);
        break;
      case ArrivalKind::kCredit:
        if (connections_.count(item.id) != 0) {
          connections_[item.id].credited = item.value;
          advance(item.id);
        }
        break;
      case ArrivalKind::kUrgent:
        break;
      case ArrivalKind::kSignal:
        end_process(128 + static_cast<int>(item.value));
    }
  }

  void take(const Arrival& item) {
    const auto found = connections_.find(item.id);
    if (found == connections_.end()) {
      return;
    }
    EchoConnection& connection = found->second;
    connection.consumed += item.length;
    for (size_t i = 0; i < item.length && !connection.closing; ++i) {
      if (item.data[i] == '\r') {
        continue;
      }
      if (item.data[i] != '\n') {
        connection.line.push_back(static_cast<char>(item.data[i]));
        continue;
      }
      answer(&connection);
    }
    if (connection.consumed - connection.reported >= kReceiveReportBytes) {
      connection.reported = connection.consumed;
      Output out;
      out.kind = OutputKind::kConsumed;
      out.id = item.id;
      out.value = connection.consumed;
      emit(out);
    }
    advance(item.id);
  }

  void answer(EchoConnection* connection) {
    on_line(connection->line);
    if (connection->line == "die") {
      if (live_ && getenv("RING_ECHO_SURVIVE") == nullptr) {
        std::abort();
      }
    } else if (connection->line == "corrupt") {
      if (control_->initial_role.load() == Role::kPrimary) {
        std::memset(output_.reserve(16), 0xff, 16);
        output_.advance(16);
      }
    } else if (connection->line == "hang") {
      while (control_->initial_role.load() == Role::kPrimary) {
        pause();
      }
    } else if (connection->line == "compute") {
      for (const int64_t end = echo_cpu_ms() + kEchoComputeMs; echo_cpu_ms() < end;) {
      }
    } else if (connection->line == "exit") {
      end_process(7);
    } else if (connection->line == "quit") {
      connection->closing = true;
    }
    connection->unsent += "+" + std::to_string(++lines_) + " " + connection->line + "\r\n";
    connection->line.clear();
  }

  void advance(uint32_t id) {
    EchoConnection& connection = connections_[id];
    while (!connection.unsent.empty()) {
      const uint64_t room = kSendWindowBytes - (connection.written - connection.credited);
      size_t bytes = connection.unsent.size() < room ? connection.unsent.size() : room;
      bytes = bytes < kOutputDataBytesMax ? bytes : kOutputDataBytesMax;
      if (bytes == 0) {
        return;
      }
      Output out;
      out.kind = OutputKind::kWrite;
      out.id = id;
      out.data = reinterpret_cast<const uint8_t*>(connection.unsent.data());
      out.length = bytes;
      emit(out);
      connection.written += bytes;
      connection.unsent.erase(0, bytes);
    }
    if (connection.closing) {
      close(id);
    }
  }

  void close(uint32_t id) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) {
      return;
    }
    Output out;
    out.kind = OutputKind::kClose;
    out.id = id;
    out.value = found->second.consumed;
    connections_.erase(found);
    emit(out);
  }

  [[noreturn]] void end_process(int status) {
    while (!connections_.empty()) {  // as the shim does
      close(connections_.begin()->first);
    }
    Output out;
    out.kind = OutputKind::kExit;
    out.value = static_cast<uint64_t>(status);
    emit(out);
    if (live_) {
      Record exit;
      exit.kind = RecordKind::kExit;
      exit.count = static_cast<uint64_t>(status);
      write_record(exit);
    } else {
      // The exit record follows in the log; its bytes count.
      Record exit;
      exit.kind = RecordKind::kExit;
      exit.count = static_cast<uint64_t>(status);
      uint8_t buffer[kRecordHeaderBytesMax];
      position_ += put_record_header(buffer, exit);
      ++lsn_;
    }
    mark();
    log_out_.publish();
    ring_doorbell();
    _exit(status);
  }

  void emit(const Output& entry) {
    uint8_t* at;
    while ((at = output_.reserve(kOutputHeaderBytesMax + entry.length)) == nullptr) {
      output_.publish();
      ring_doorbell();
      usleep(50);
    }
    size_t bytes = put_output_header(at, entry);
    std::memcpy(at + bytes, entry.data, entry.length);
    output_.advance(bytes + entry.length);
  }

  void write_record(const Record& record) {
    uint8_t* at;
    while ((at = log_out_.reserve(kRecordHeaderBytesMax + record.length)) == nullptr) {
      ring_doorbell();
      usleep(50);
    }
    size_t bytes = put_record_header(at, record);
    if (record.length > 0) {
      std::memcpy(at + bytes, record.payload, record.length);
      bytes += record.length;
    }
    log_out_.advance(bytes);
    position_ += bytes;
    ++lsn_;
  }

  void end_turn() {
    Record end;
    end.kind = RecordKind::kTurnEndIdle;
    write_record(end);
    mark();
    log_out_.publish();
    ring_doorbell();
  }

  void mark() {
    Output out;
    out.kind = OutputKind::kMark;
    out.value = position_;
    out.value2 = lsn_;
    emit(out);
    output_.publish();
    control_->lsn.store(lsn_, std::memory_order_relaxed);
    if (!live_) {
      ring_doorbell();
    }
  }

  void ring_doorbell() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (control_->supervisor_asleep.load(std::memory_order_relaxed) != 0) {
      const uint64_t one = 1;
      if (write(control_->doorbell_fd, &one, sizeof(one)) != sizeof(one)) {
        std::abort();
      }
    }
  }

  void sleep_until_fed() {
    control_->app_asleep.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const bool fed =
        live_ ? input_.available() != 0 : log_in_.available() != 0 || control_->go_live.load() != 0;
    if (!fed) {
      syscall(SYS_futex, &control_->app_asleep, FUTEX_WAIT, 1, nullptr, nullptr, 0);
    }
    control_->app_asleep.store(0, std::memory_order_relaxed);
  }

  Region region_;
  Control* control_;
  RingConsumer input_, log_in_;
  RingProducer log_out_, output_;
  uint16_t port_;
  bool live_ = false;
  uint64_t position_ = 0;
  uint64_t lsn_ = 0;
  uint64_t lines_ = 0;
  std::map<uint32_t, EchoConnection> connections_;
  bool listening_ = false;  // or asked to
};

}  // namespace ftrun
