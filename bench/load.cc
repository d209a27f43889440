// SPDX-License-Identifier: Apache-2.0
// The closed-loop load. Tool process, one thread; the reply parser trusts nothing.
#include "bench/load.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "bench/resp.h"

namespace ftrun::load {
namespace {

constexpr int key_digits = 12;
constexpr std::string_view wait_command = "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n";

// What the next reply must be.
enum class Expected : uint8_t { kSet, kGet, kWait };

// State shared by the connections of one run.
struct Run {
  explicit Run(const LoadPlan& the_plan) : plan(the_plan), random(the_plan.seed) {}
  const LoadPlan& plan;
  LoadReport report;
  Loop loop;
  std::minstd_rand random;
  std::string set_text;  // templates with the key's digits at set_key and get_key
  std::string get_text;
  size_t set_key = 0;
  size_t get_key = 0;
  uint64_t next_key = 0;
  uint64_t sent = 0;
  int64_t stop_at = 0;
  int64_t last_reply = 0;
  int busy = 0;  // connections with requests outstanding
  Progress progress;

  void error(const std::string& text) {
    ++report.errors;
    if (report.first_error.empty()) {
      report.first_error = text;
    }
  }
  bool may_send(int64_t now) const {
    return now < stop_at && (plan.requests == 0 || sent < plan.requests);
  }
  uint64_t pick_key() {
    return (plan.key_order == KeyOrder::kSequential ? next_key++ : uint64_t{random()}) % plan.keys;
  }
};

void put_digits(char* at, uint64_t value) {
  for (int i = key_digits - 1; i >= 0; --i) {
    at[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
}

class Connection : public Handler {
 public:
  explicit Connection(Run* run) : run_(run) {}

  bool open() {
    if (std::string error = connect_now(run_->plan.endpoint, 5000, &socket_); !error.empty()) {
      run_->error(error);
      return false;
    }
    run_->loop.add(socket_.get(), EPOLLIN, this);
    return true;
  }
  void start_batch(int64_t now) {
    build_batch();
    batch_start_ = last_heard_ = now;
    ++run_->busy;
    flush();
  }
  void on_ready(uint32_t events, int64_t now) override {
    if ((events & EPOLLOUT) != 0) {
      flush();
    }
    if (socket_.valid() && (events & ~EPOLLOUT) != 0) {
      receive(now);
    }
  }
  bool waiting() const { return socket_.valid() && next_expected_ < expected_.size(); }
  int64_t last_heard() const { return last_heard_; }
  void note_silence(int64_t now) {
    const int64_t silence = now - last_heard_;
    if (silence > run_->report.longest_silence_ns) {
      run_->report.longest_silence_ns = silence;
      run_->report.longest_silence_at_ns = now;
    }
    if (silence > run_->progress.longest_wait_ns) {
      run_->progress.longest_wait_ns = silence;
    }
  }

 private:
  void build_batch() {
    Run& run = *run_;
    out_.clear();
    out_sent_ = 0;
    expected_.clear();
    next_expected_ = 0;
    bool wrote = false;
    for (int i = 0; i < run.plan.pipeline; ++i) {
      const bool get = run.plan.get_share > 0 &&
                       static_cast<double>(run.random()) < run.plan.get_share * 2147483647.0;
      const size_t at = out_.size();
      out_ += get ? run.get_text : run.set_text;
      put_digits(&out_[at + (get ? run.get_key : run.set_key)], run.pick_key());
      expected_.push_back(get ? Expected::kGet : Expected::kSet);
      wrote |= !get;
      if (!get && run.plan.wait == WaitMode::kPerRequest) {
        add_wait();
      }
    }
    if (wrote && run.plan.wait == WaitMode::kPerBatch) {
      add_wait();
    }
    run.sent += static_cast<uint64_t>(run.plan.pipeline);
  }
  void add_wait() {
    out_ += wait_command;
    expected_.push_back(Expected::kWait);
  }
  void flush() {
    while (out_sent_ < out_.size()) {
      const ssize_t n =
          send(socket_.get(), out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
      if (n < 0) {
        if (errno == EAGAIN) {
          run_->loop.change(socket_.get(), EPOLLIN | EPOLLOUT, this);
          blocked_ = true;
        } else {
          fail(fmt::format("send: {}", strerror(errno)));
        }
        return;
      }
      out_sent_ += static_cast<size_t>(n);
    }
    if (blocked_) {
      blocked_ = false;
      run_->loop.change(socket_.get(), EPOLLIN, this);
    }
  }
  void receive(int64_t now) {
    constexpr size_t chunk_bytes = 64 * 1024;
    if (in_.size() < in_used_ + chunk_bytes) {
      in_.resize(in_used_ + chunk_bytes);
    }
    const ssize_t n = recv(socket_.get(), in_.data() + in_used_, in_.size() - in_used_, 0);
    if (n <= 0) {
      if (n == 0 || errno != EAGAIN) {
        fail(n == 0 ? "closed by the server" : fmt::format("recv: {}", strerror(errno)));
      }
      return;
    }
    in_used_ += static_cast<size_t>(n);
    note_silence(now);
    last_heard_ = now;
    take_replies(now);
  }
  void take_replies(int64_t now) {
    size_t taken = 0;
    while (taken < in_used_) {
      if (next_expected_ == expected_.size()) {
        return fail("a reply too many");
      }
      const ReplyExtent reply = skip_reply({in_.data() + taken, in_used_ - taken});
      if (reply.state == ReplyState::kIncomplete) {
        break;
      }
      if (reply.state == ReplyState::kMalformed || !fits(reply)) {
        return fail(fmt::format("unexpected reply: {:.60}",
                                std::string(in_.data() + taken, in_used_ - taken)));
      }
      taken += reply.bytes;
      count(now);
      ++next_expected_;
    }
    memmove(in_.data(), in_.data() + taken, in_used_ - taken);
    in_used_ -= taken;
    if (next_expected_ == expected_.size()) {
      --run_->busy;
      run_->last_reply = now;
      if (run_->may_send(now)) {
        start_batch(now);
      }
    }
  }
  bool fits(const ReplyExtent& reply) const {
    switch (expected_[next_expected_]) {
      case Expected::kSet:
        return reply.type == '+';
      case Expected::kGet:
        return reply.type == '$' &&
               (reply.integer == -1 || reply.integer == run_->plan.value_bytes);
      case Expected::kWait:
        return reply.type == ':' && reply.integer >= 1;
    }
    return false;
  }
  // A request is complete with its last reply: a SET that is waited for, with the WAIT's.
  void count(int64_t now) {
    const Expected kind = expected_[next_expected_];
    const WaitMode wait = run_->plan.wait;
    int done = kind == Expected::kGet || wait == WaitMode::kNone ? 1 : 0;
    if (kind == Expected::kWait) {
      done = 1;
      if (wait == WaitMode::kPerBatch) {
        done = 0;
        for (const Expected e : expected_) {
          done += e == Expected::kSet ? 1 : 0;
        }
      }
    }
    for (int i = 0; i < done; ++i) {
      run_->report.latency.add(static_cast<uint64_t>(now - batch_start_));
    }
    run_->report.requests += static_cast<uint64_t>(done);
    run_->progress.requests += static_cast<uint64_t>(done);
  }
  void fail(const std::string& why) {
    run_->error(why);
    run_->busy -= waiting() ? 1 : 0;
    socket_.reset(-1);
  }

  Run* run_;
  Descriptor socket_;
  std::string out_;
  size_t out_sent_ = 0;
  bool blocked_ = false;
  std::string in_;
  size_t in_used_ = 0;
  std::vector<Expected> expected_;
  size_t next_expected_ = 0;
  int64_t batch_start_ = 0;
  int64_t last_heard_ = 0;
};

void make_templates(Run* run) {
  const std::string key = "key:" + std::string(key_digits, '0');
  append_command(&run->set_text,
                 {"SET", key, std::string(static_cast<size_t>(run->plan.value_bytes), 'x')});
  append_command(&run->get_text, {"GET", key});
  run->set_key = run->set_text.find(key) + 4;
  run->get_key = run->get_text.find(key) + 4;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

using Connections = std::vector<std::unique_ptr<Connection>>;

// False when a connection has waited so long that the run is given up.
bool look_after(Run* run, const Connections& connections, int64_t now) {
  bool alive = true;
  for (const auto& connection : connections) {
    if (!connection->waiting()) {
      continue;
    }
    connection->note_silence(now);
    if (now - connection->last_heard() > kReplyTimeoutSeconds * 1'000'000'000LL) {
      alive = false;
    }
  }
  if (!alive) {
    run->error(fmt::format("no reply within {} s", kReplyTimeoutSeconds));
  }
  return alive;
}

void drive(Run* run, const Connections& connections, int64_t start) {
  const int64_t interval = run->plan.progress_interval_ns;
  constexpr int64_t default_look_ns = 1'000'000'000;
  int64_t next_look = start + (interval != 0 ? interval : default_look_ns);
  while (run->busy > 0) {
    const int64_t before = now_ns();
    const int64_t left = next_look - before;
    const int64_t now = run->loop.step(left <= 0 ? 0 : static_cast<int>(left / 1'000'000) + 1);
    if (now < next_look) {
      continue;
    }
    next_look += interval != 0 ? interval : default_look_ns;
    if (!look_after(run, connections, now)) {
      return;
    }
    if (interval != 0) {
      run->progress.at_ns = now - start;
      run->progress.errors = run->report.errors;
      run->plan.on_progress(run->progress);
      run->progress = Progress{};
    }
  }
}

}  // namespace

LoadReport run_load(const LoadPlan& plan) {
  Run run(plan);
  make_templates(&run);
  Connections connections;
  for (int i = 0; i < plan.connections; ++i) {
    auto connection = std::make_unique<Connection>(&run);
    if (connection->open()) {
      connections.push_back(std::move(connection));
    }
  }
  const double cpu_before = cpu_seconds();
  const int64_t start = now_ns();
  run.stop_at = start + static_cast<int64_t>(plan.seconds * 1e9);
  for (const auto& connection : connections) {
    connection->start_batch(start);
  }
  drive(&run, connections, start);
  run.report.seconds = static_cast<double>(run.last_reply - start) / 1e9;
  run.report.cpu_seconds = cpu_seconds() - cpu_before;
  return std::move(run.report);
}

}  // namespace ftrun::load
