// SPDX-License-Identifier: Apache-2.0
// One pipelining client of the exactly-once checker: plain TCP, no retries, no reconnects; every
// byte of every reply is compared. Runs in ftrun-check-clients, one thread.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "bench/histogram.h"
#include "bench/tool_net.h"
#include "tests/faults/check_model.h"

namespace ftrun::check {

// What all clients together have seen. All troubles are counted; the first few are kept as text.
struct Findings {
  static constexpr size_t kTextsMax = 20;
  void connection_error(std::string text) {
    ++connection_error_count;
    if (connection_errors.size() < kTextsMax) {
      connection_errors.push_back(std::move(text));
    }
  }
  void wrong_reply(std::string text) {
    ++wrong_reply_count;
    if (wrong_replies.size() < kTextsMax) {
      wrong_replies.push_back(std::move(text));
    }
  }

  // Notes that a connection waited `silence` ns for anything, until `end` or longer.
  void note_silence(int64_t end, int64_t silence) {
    if (silence >= kSilenceNotedNs) {
      int64_t& peak = silence_peaks[end / kSilencePeriodNs * kSilencePeriodNs];
      peak = silence > peak ? silence : peak;
    }
  }

  static constexpr int64_t kSilenceNotedNs = 1'000'000;
  static constexpr int64_t kSilencePeriodNs = 50'000'000;
  std::map<int64_t, int64_t> silence_peaks;  // start of a period -> longest that ended in it
  uint64_t replies = 0;
  load::Histogram latency;
  uint64_t connection_error_count = 0;
  uint64_t wrong_reply_count = 0;
  std::vector<std::string> connection_errors;  // closed, reset, refused, silent at the end
  std::vector<std::string> wrong_replies;
  uint64_t doubled = 0;  // of wrong_replies: a number larger than it may be
  uint64_t lost = 0;     // of wrong_replies: a number smaller than it may be
};

struct Pace {
  int pipeline = 16;        // most requests outstanding
  int64_t interval_ns = 0;  // between bursts; 0: as fast as replies come
};

class Client : public load::Handler {
 public:
  Client(load::Loop* loop, Shared* shared, Findings* findings, int number, uint64_t seed,
         Pace pace);
  void open(const load::Endpoint& endpoint);
  // Sends what is due at `now`; call at least every millisecond when there is a pace.
  void tick(int64_t now);
  void on_ready(uint32_t events, int64_t now) override;
  // Sends no new requests but the final questions.
  void finish(int64_t now);
  bool idle() const { return !socket_.valid() || (expected_.empty() && out_.empty()); }
  bool answered() const { return answered_; }
  // At the end: whatever is still outstanding is an error.
  void give_up();
  int64_t longest_silence() const { return longest_silence_; }
  int64_t longest_silence_end() const { return longest_silence_end_; }

 private:
  void send_more(int64_t now);
  void flush();
  void take_replies(int64_t now);
  bool take_reply(std::string_view input, size_t* bytes, int64_t now);
  void note_silence(int64_t now);
  void fail(const std::string& why);
  void wrong(const Expectation& expected, std::string_view got);

  load::Loop* loop_;
  Shared* shared_;
  Findings* findings_;
  int number_;
  Pace pace_;
  ClientModel model_;
  std::minstd_rand random_;
  load::Descriptor socket_;
  std::string out_;
  bool watching_out_ = false;
  bool finishing_ = false;
  bool answered_ = false;
  std::string in_;
  std::deque<Expectation> expected_;
  int64_t next_burst_ = 0;
  int64_t last_heard_ = 0;
  int64_t longest_silence_ = 0;
  int64_t longest_silence_end_ = 0;
};

}  // namespace ftrun::check
