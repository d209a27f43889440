// SPDX-License-Identifier: Apache-2.0
// The checker's model of what a client owns. Runs in ftrun-check-clients, one thread.
#include "tests/faults/check_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "bench/resp.h"

namespace ftrun::check {

using load::append_command;

std::string bulk_reply(std::string_view text) {
  return fmt::format("${}\r\n{}\r\n", text.size(), text);
}
static std::string integer_reply(int64_t value) {
  return fmt::format(":{}\r\n", value);
}

void Ledger::judge(std::vector<std::string>* errors) {
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.answer < b.answer; });
  int64_t before = 0;
  for (const Entry& entry : entries_) {
    const int64_t step = entry.answer - before;
    if (step != entry.amount) {
      errors->push_back(fmt::format(
          "{}: answer {} follows {}, but added {}: {}", name_, entry.answer, before, entry.amount,
          step == 0 ? "one answer twice"
                    : (step < entry.amount ? "an addition was lost" : "one was applied twice")));
      if (errors->size() >= 20) {
        return;
      }
    }
    before = entry.answer;
  }
}

std::string Ledger::content() const {
  std::string all;
  for (const Entry& entry : entries_) {
    all += entry.token;
  }
  return all;
}

ClientModel::ClientModel(Shared* shared, int client, uint64_t seed)
    : shared_(shared), client_(client), random_(seed * 7919 + static_cast<uint64_t>(client) + 1) {}

std::string ClientModel::key(std::string_view name) const {
  return fmt::format("{}:{}:{}", shared_->prefix, client_, name);
}

std::string ClientModel::token(size_t bytes) {
  std::string text = fmt::format("<{}.{}>", client_, ++tokens_);
  while (text.size() < bytes) {
    text += static_cast<char>('a' + pick(26));
  }
  return text;
}

// Mostly small, sometimes larger than a socket's first window.
std::string ClientModel::random_value() {
  const uint64_t dice = pick(100);
  return token(dice < 90 ? 10 + pick(200) : (dice < 99 ? pick(4000) : pick(60'000)));
}

void ClientModel::ask(Out* out, const char* what, std::initializer_list<std::string_view> words,
                      std::string reply) {
  append_command(out->request, words);
  if (out->queued) {
    out->results += reply;
    ++out->results_count;
    reply = "+QUEUED\r\n";
  }
  out->expected->push_back({ReplyKind::kExact, what, std::move(reply)});
}

void ClientModel::increment(Out* out) {
  ask(out, "INCR", {"INCR", key("counter")}, integer_reply(++counter_));
}

void ClientModel::append(Out* out) {
  constexpr size_t log_bytes_max = 32 * 1024;
  if (log_.size() > log_bytes_max) {
    ask(out, "GETDEL", {"GETDEL", key("log")}, bulk_reply(log_));
    log_.clear();
  }
  const std::string text = token(8 + pick(60));
  log_ += text;
  ask(out, "APPEND", {"APPEND", key("log"), text},
      integer_reply(static_cast<int64_t>(log_.size())));
}

void ClientModel::set(Out* out) {
  const uint64_t slot = pick(kValues);
  values_[slot] = random_value();
  ask(out, "SET", {"SET", key(fmt::format("value{}", slot)), values_[slot]}, "+OK\r\n");
}

void ClientModel::get(Out* out) {
  const uint64_t slot = pick(kValues);
  const std::string& value = values_[slot];
  ask(out, "GET", {"GET", key(fmt::format("value{}", slot))},
      value.empty() ? "$-1\r\n" : bulk_reply(value));
}

void ClientModel::get_range(Out* out) {
  const uint64_t from = pick(log_.size() + 1);
  const uint64_t bytes = pick(2000) + 1;
  ask(out, "GETRANGE",
      {"GETRANGE", key("log"), std::to_string(from), std::to_string(from + bytes - 1)},
      bulk_reply(std::string_view(log_).substr(from, bytes)));
}

void ClientModel::list(Out* out) {
  if (pick(2) == 0 || list_.empty()) {
    list_.push_back(token(pick(100)));
    ask(out, "RPUSH", {"RPUSH", key("list"), list_.back()},
        integer_reply(static_cast<int64_t>(list_.size())));
    return;
  }
  ask(out, "LPOP", {"LPOP", key("list")}, bulk_reply(list_.front()));
  list_.pop_front();
}

void ClientModel::script(Out* out) {
  const int64_t amount = static_cast<int64_t>(pick(9)) + 1;
  counter_ += amount;
  ask(out, "EVAL",
      {"EVAL", "return redis.call('INCRBY', KEYS[1], ARGV[1])", "1", key("counter"),
       std::to_string(amount)},
      integer_reply(counter_));
}

void ClientModel::shared_add(Out* out) {
  const int64_t amount = static_cast<int64_t>(pick(7)) + 1;
  append_command(out->request,
                 {"INCRBY", shared_->prefix + ":shared:counter", std::to_string(amount)});
  out->expected->push_back({ReplyKind::kSharedAdd, "INCRBY shared", {}, amount});
}

void ClientModel::shared_append(Out* out) {
  std::string text = token(0);
  append_command(out->request, {"APPEND", shared_->prefix + ":shared:log", text});
  const auto amount = static_cast<int64_t>(text.size());
  out->expected->push_back(
      {ReplyKind::kSharedAppend, "APPEND shared", {}, amount, std::move(text)});
}

void ClientModel::transaction(Out* out) {
  ask(out, "MULTI", {"MULTI"}, "+OK\r\n");
  out->queued = true;
  increment(out);
  append(out);
  set(out);
  list(out);
  out->queued = false;
  std::string reply = fmt::format("*{}\r\n{}", out->results_count, out->results);
  ask(out, "EXEC", {"EXEC"}, std::move(reply));
}

void ClientModel::next(std::string* request, std::deque<Expectation>* expected) {
  Out out{request, expected};
  struct Choice {
    uint64_t percent;
    void (ClientModel::*action)(Out*);
  };
  static constexpr Choice kChoices[] = {
      {32, &ClientModel::increment},    {12, &ClientModel::shared_add}, {12, &ClientModel::append},
      {4, &ClientModel::shared_append}, {12, &ClientModel::set},        {12, &ClientModel::get},
      {4, &ClientModel::get_range},     {8, &ClientModel::list},        {2, &ClientModel::script},
      {2, &ClientModel::transaction},
  };
  uint64_t dice = pick(100);
  for (const Choice& choice : kChoices) {
    if (dice < choice.percent) {
      (this->*choice.action)(&out);
      return;
    }
    dice -= choice.percent;
  }
}

void ClientModel::final_questions(std::string* request, std::deque<Expectation>* expected) {
  Out out{request, expected};
  ask(&out, "GET counter", {"GET", key("counter")},
      counter_ == 0 ? "$-1\r\n" : bulk_reply(std::to_string(counter_)));
  ask(&out, "GET log", {"GET", key("log")}, log_.empty() ? "$-1\r\n" : bulk_reply(log_));
  for (size_t i = 0; i < kValues; ++i) {
    ask(&out, "GET value", {"GET", key(fmt::format("value{}", i))},
        values_[i].empty() ? "$-1\r\n" : bulk_reply(values_[i]));
  }
  std::string reply = fmt::format("*{}\r\n", list_.size());
  for (const std::string& item : list_) {
    reply += bulk_reply(item);
  }
  ask(&out, "LRANGE", {"LRANGE", key("list"), "0", "-1"}, std::move(reply));
}

}  // namespace ftrun::check
