// SPDX-License-Identifier: Apache-2.0
// What one client of the exactly-once checker asks, and the very bytes it must be answered. Each
// client owns its keys, so a model on the client's side knows every reply; keys shared by all
// clients go through a Ledger, which is judged at the end. Runs in ftrun-check-clients, one thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace ftrun::check {

// Additions to one shared thing (a counter, or the length of a string), each answered with the sum
// so far. Exactly once means: sorted by answer, every answer exceeds the one before by its amount.
class Ledger {
 public:
  explicit Ledger(std::string name) : name_(std::move(name)) {}
  void add(int64_t answer, int64_t amount, std::string token) {
    entries_.push_back({answer, amount, std::move(token)});
    sum_ += amount;
  }
  // Appends what is wrong to `errors`. REQUIRES: every addition that was sent has been answered.
  void judge(std::vector<std::string>* errors);
  int64_t sum() const { return sum_; }
  size_t size() const { return entries_.size(); }
  // The tokens in the order of the answers: what a shared string must hold. REQUIRES: judge().
  std::string content() const;

 private:
  struct Entry {
    int64_t answer;
    int64_t amount;
    std::string token;
  };
  std::string name_;
  std::vector<Entry> entries_;
  int64_t sum_ = 0;
};

struct Shared {
  explicit Shared(std::string key_prefix) : prefix(std::move(key_prefix)) {}
  std::string prefix;
  Ledger counter{"shared counter"};
  Ledger log{"shared log"};
  Ledger churn{"churn counter"};
};

enum class ReplyKind : uint8_t { kExact, kSharedAdd, kSharedAppend };

struct Expectation {
  ReplyKind kind = ReplyKind::kExact;
  const char* what = "";  // the command, for reports
  std::string reply;      // kExact: the whole reply
  int64_t amount = 0;     // kSharedAdd, kSharedAppend
  std::string token;      // kSharedAppend
  int64_t sent_at = 0;
};

class ClientModel {
 public:
  ClientModel(Shared* shared, int client, uint64_t seed);
  // Appends a random command (or a transaction) to `request` and what must come back to `expected`.
  void next(std::string* request, std::deque<Expectation>* expected);
  // Appends questions about everything this client owns.
  void final_questions(std::string* request, std::deque<Expectation>* expected);

 private:
  static constexpr size_t kValues = 8;
  struct Out {
    std::string* request;
    std::deque<Expectation>* expected;
    bool queued = false;  // inside MULTI: replies are +QUEUED now and go into `results` for EXEC
    std::string results;
    int results_count = 0;
  };

  uint64_t pick(uint64_t below) { return random_() % below; }
  std::string key(std::string_view name) const;
  std::string token(size_t bytes);
  std::string random_value();
  void ask(Out* out, const char* what, std::initializer_list<std::string_view> words,
           std::string reply);
  void increment(Out* out);
  void append(Out* out);
  void set(Out* out);
  void get(Out* out);
  void get_range(Out* out);
  void list(Out* out);
  void script(Out* out);
  void shared_add(Out* out);
  void shared_append(Out* out);
  void transaction(Out* out);

  Shared* shared_;
  int client_;
  std::minstd_rand random_;
  uint64_t tokens_ = 0;
  int64_t counter_ = 0;
  std::string log_;
  std::array<std::string, kValues> values_;
  std::deque<std::string> list_;
};

// "$5\r\nhello\r\n"
std::string bulk_reply(std::string_view text);

}  // namespace ftrun::check
