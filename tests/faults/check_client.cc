// SPDX-License-Identifier: Apache-2.0
// A pipelining client that compares every reply byte. Runs in ftrun-check-clients, one thread.
#include "tests/faults/check_client.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "bench/resp.h"

namespace ftrun::check {

Client::Client(load::Loop* loop, Shared* shared, Findings* findings, int number, uint64_t seed,
               Pace pace)
    : loop_(loop),
      shared_(shared),
      findings_(findings),
      number_(number),
      pace_(pace),
      model_(shared, number, seed),
      random_(seed + static_cast<uint64_t>(number) * 31 + 1) {}

void Client::open(const load::Endpoint& endpoint) {
  constexpr int connect_timeout_ms = 10'000;
  if (std::string error = load::connect_now(endpoint, connect_timeout_ms, &socket_);
      !error.empty()) {
    return fail(error);
  }
  loop_->add(socket_.get(), EPOLLIN, this);
}

void Client::tick(int64_t now) {
  if (!socket_.valid()) {
    return;
  }
  if (!finishing_ && now >= next_burst_ && out_.empty()) {
    send_more(now);
  }
  if (!expected_.empty()) {
    note_silence(now);
  }
}

// Refills the pipeline to a random depth, so that batches of all sizes occur.
void Client::send_more(int64_t now) {
  const size_t depth = 1 + random_() % static_cast<uint64_t>(pace_.pipeline);
  if (expected_.size() >= depth) {
    return;
  }
  if (expected_.empty()) {
    last_heard_ = now;
  }
  const size_t before = expected_.size();
  while (expected_.size() < depth) {
    model_.next(&out_, &expected_);
  }
  for (size_t i = before; i < expected_.size(); ++i) {
    expected_[i].sent_at = now;
  }
  if (pace_.interval_ns != 0) {
    next_burst_ = (next_burst_ == 0 ? now : next_burst_) +
                  static_cast<int64_t>(random_() % static_cast<uint64_t>(2 * pace_.interval_ns));
  }
  flush();
}

void Client::finish(int64_t now) {
  finishing_ = true;
  if (!socket_.valid()) {
    return;
  }
  if (expected_.empty()) {
    last_heard_ = now;
  }
  const size_t before = expected_.size();
  model_.final_questions(&out_, &expected_);
  for (size_t i = before; i < expected_.size(); ++i) {
    expected_[i].sent_at = now;
  }
  flush();
}

void Client::flush() {
  size_t sent = 0;
  while (sent < out_.size()) {
    const ssize_t n = send(socket_.get(), out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
      return fail(fmt::format("send: {}", strerror(errno)));
    }
    if (n < 0) {
      break;
    }
    sent += static_cast<size_t>(n);
  }
  out_.erase(0, sent);
  if (watching_out_ != !out_.empty()) {
    watching_out_ = !out_.empty();
    loop_->change(socket_.get(), watching_out_ ? EPOLLIN | EPOLLOUT : EPOLLIN, this);
  }
}

void Client::on_ready(uint32_t events, int64_t now) {
  if ((events & EPOLLOUT) != 0) {
    flush();
  }
  if (!socket_.valid() || (events & ~EPOLLOUT) == 0) {
    return;
  }
  char buffer[64 * 1024];
  const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
  if (n < 0 && errno == EAGAIN) {
    return;
  }
  if (n <= 0) {
    return fail(n == 0 ? "closed by the server" : fmt::format("recv: {}", strerror(errno)));
  }
  if (!expected_.empty()) {
    note_silence(now);
  }
  last_heard_ = now;
  in_.append(buffer, static_cast<size_t>(n));
  take_replies(now);
  if (socket_.valid() && !finishing_ && pace_.interval_ns == 0 && out_.empty()) {
    send_more(now);
  }
}

void Client::take_replies(int64_t now) {
  size_t taken = 0;
  size_t bytes = 0;
  while (taken < in_.size() && take_reply(std::string_view(in_).substr(taken), &bytes, now)) {
    taken += bytes;
  }
  in_.erase(0, taken);
}

// True when a whole reply was there and was right.
bool Client::take_reply(std::string_view input, size_t* bytes, int64_t now) {
  if (expected_.empty()) {
    findings_->wrong_reply(fmt::format("connection {}: a reply too many: {:.60}", number_, input));
    fail("closed by the checker after a wrong reply");
    return false;
  }
  Expectation& expected = expected_.front();
  if (expected.kind == ReplyKind::kExact && input.size() < expected.reply.size() &&
      expected.reply.starts_with(input)) {
    return false;
  }
  if (expected.kind == ReplyKind::kExact && input.starts_with(expected.reply)) {
    *bytes = expected.reply.size();
  } else {
    const load::ReplyExtent reply = load::skip_reply(input);
    if (reply.state == load::ReplyState::kIncomplete) {
      return false;
    }
    if (expected.kind == ReplyKind::kExact || reply.state == load::ReplyState::kMalformed ||
        reply.type != ':') {
      wrong(expected, input.substr(0, reply.bytes == 0 ? 60 : reply.bytes));
      return false;
    }
    *bytes = reply.bytes;
    Ledger& ledger = expected.kind == ReplyKind::kSharedAdd ? shared_->counter : shared_->log;
    ledger.add(reply.integer, expected.amount, std::move(expected.token));
  }
  findings_->latency.add(static_cast<uint64_t>(now - expected.sent_at));
  ++findings_->replies;
  answered_ = true;
  expected_.pop_front();
  return true;
}

static std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) {
    out += c >= ' ' && c < 127 ? std::string(1, c) : fmt::format("\\x{:02x}", c & 0xff);
  }
  return text.size() > 80 ? out + fmt::format("... ({} bytes)", text.size()) : out;
}

void Client::wrong(const Expectation& expected, std::string_view got) {
  if (got.starts_with(':') && expected.reply.starts_with(':')) {
    const int64_t difference =
        load::skip_reply(got).integer - load::skip_reply(expected.reply).integer;
    ++(difference > 0 ? findings_->doubled : findings_->lost);
  }
  findings_->wrong_reply(fmt::format("connection {}, {}: expected {}, got {}", number_,
                                     expected.what, printable(expected.reply), printable(got)));
  fail("closed by the checker after a wrong reply");
}

void Client::note_silence(int64_t now) {
  findings_->note_silence(now, now - last_heard_);
  if (now - last_heard_ > longest_silence_) {
    longest_silence_ = now - last_heard_;
    longest_silence_end_ = now;
  }
}

void Client::fail(const std::string& why) {
  findings_->connection_error(
      fmt::format("connection {}: {} ({} requests outstanding)", number_, why, expected_.size()));
  socket_.reset(-1);
}

void Client::give_up() {
  if (!idle()) {
    fail(fmt::format("no answer to {}", expected_.empty() ? "nothing" : expected_.front().what));
  }
}

}  // namespace ftrun::check
