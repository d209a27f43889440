// SPDX-License-Identifier: Apache-2.0
// The uploader of huge values and the slow reader. Run in ftrun-check-clients, one thread.
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bench/resp.h"
#include "tests/faults/check_extra.h"

namespace ftrun::check {
namespace {

constexpr uint64_t upload_bytes = 64 << 20;
constexpr uint64_t slow_value_bytes = 1 << 20;
constexpr int slow_values = 16;  // asked for at once: 16 MB wait in the server
constexpr size_t slow_read_bytes = 32 * 1024;
constexpr int64_t slow_read_interval_ns = 5'000'000;
constexpr size_t piece_bytes = 128 * 1024;  // computed and sent at a time

uint64_t pattern_word(uint64_t round, uint64_t index) {
  uint64_t x = (round << 40) + index + 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  return x ^ (x >> 27);
}

}  // namespace

void append_pattern(uint64_t round, uint64_t offset, size_t bytes, std::string* out) {
  for (size_t done = 0; done < bytes;) {
    const uint64_t word = pattern_word(round, (offset + done) / 8);
    const size_t skip = (offset + done) % 8;
    const size_t n = std::min(8 - skip, bytes - done);
    out->append(reinterpret_cast<const char*>(&word) + skip, n);
    done += n;
  }
}

bool matches_pattern(uint64_t round, uint64_t offset, std::string_view text) {
  std::string expected;
  append_pattern(round, offset, text.size(), &expected);
  return text == expected;
}

StreamClient::StreamClient(load::Loop* loop, Shared* shared, Findings* findings, StreamRole role)
    : loop_(loop), findings_(findings), role_(role) {
  name_ = role == StreamRole::kUploader ? "uploader" : "slow reader";
  key_ = shared->prefix + (role == StreamRole::kUploader ? ":upload" : ":slow");
}

void StreamClient::open(const load::Endpoint& endpoint) {
  if (std::string error = load::connect_now(endpoint, 10'000, &socket_); !error.empty()) {
    return fail(error);
  }
  if (role_ == StreamRole::kSlowReader) {
    const int small = 64 * 1024;  // so that the answers pile up at the server, not here
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  }
  loop_->add(socket_.get(), role_ == StreamRole::kUploader ? uint32_t{EPOLLIN} : 0, this);
  start();
}

void StreamClient::start() {
  busy_ = true;
  in_.clear();
  if (role_ == StreamRole::kSlowReader && stored_) {
    replies_left_ = slow_values;
    for (int i = 0; i < slow_values; ++i) {
      load::append_command(&out_, {"GET", key_});
    }
    return flush();
  }
  body_left_ = role_ == StreamRole::kUploader ? upload_bytes : slow_value_bytes;
  ++round_;
  out_ = fmt::format("*3\r\n$3\r\nSET\r\n${}\r\n{}\r\n${}\r\n", key_.size(), key_, body_left_);
  trailer_ = "\r\n";
  replies_left_ = 1;
  if (role_ == StreamRole::kUploader) {  // part of the value comes back, across the whole length
    for (const uint64_t at : {uint64_t{0}, upload_bytes / 2 - 7, upload_bytes - slow_read_bytes}) {
      load::append_command(&trailer_, {"GETRANGE", key_, std::to_string(at),
                                       std::to_string(at + slow_read_bytes - 1)});
    }
    replies_left_ = 4;
  }
  flush();
}

void StreamClient::flush() {
  const uint64_t body_bytes = role_ == StreamRole::kUploader ? upload_bytes : slow_value_bytes;
  bool full = false;
  // One piece per event: other clients are served in between.
  if (out_.empty() && body_left_ > 0) {
    const size_t n = std::min<uint64_t>(piece_bytes, body_left_);
    append_pattern(round_, body_bytes - body_left_, n, &out_);
    body_left_ -= n;
  }
  if (body_left_ == 0) {
    out_ += trailer_;
    trailer_.clear();
  }
  while (!out_.empty() && !full) {
    const ssize_t n = send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
      return fail(fmt::format("send: {}", strerror(errno)));
    }
    full = n < 0;
    out_.erase(0, n > 0 ? static_cast<size_t>(n) : 0);
    bytes_done_ += n > 0 ? static_cast<uint64_t>(n) : 0;
  }
  const bool more = !out_.empty() || body_left_ > 0;
  if (more != writable_watched_) {
    writable_watched_ = more;
    const uint32_t in = role_ == StreamRole::kUploader ? uint32_t{EPOLLIN} : 0;
    loop_->change(socket_.get(), in | (more ? uint32_t{EPOLLOUT} : 0), this);
  }
}

void StreamClient::tick(int64_t now) {
  if (!socket_.valid()) {
    return;
  }
  if (!busy_ && !finishing_) {
    start();
  }
  if (role_ == StreamRole::kSlowReader && busy_ && (now >= next_read_ || finishing_)) {
    next_read_ = now + slow_read_interval_ns;
    receive();
  }
}

void StreamClient::on_ready(uint32_t events, int64_t) {
  if ((events & EPOLLOUT) != 0) {
    flush();
  }
  if (socket_.valid() && (events & ~EPOLLOUT) != 0) {
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
      return fail("closed or reset by the server");
    }
    receive();
  }
}

void StreamClient::receive() {
  char buffer[slow_read_bytes];
  const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
  if (n < 0 && errno == EAGAIN) {
    return;
  }
  if (n <= 0) {
    return fail(n == 0 ? "closed by the server" : fmt::format("recv: {}", strerror(errno)));
  }
  bytes_done_ += static_cast<uint64_t>(n);
  in_.append(buffer, static_cast<size_t>(n));
  while (socket_.valid() && replies_left_ > 0 && !in_.empty() && take_header()) {
  }
  if (socket_.valid() && replies_left_ == 0) {
    busy_ = false;
    stored_ = true;
    if (!in_.empty()) {
      fail("bytes after the last reply");
    }
  }
}

// Takes a "+OK" line or (part of) a bulk reply; false when more bytes are needed.
bool StreamClient::take_header() {
  const bool uploading = role_ == StreamRole::kUploader;
  const uint64_t value_bytes = uploading ? slow_read_bytes : slow_value_bytes;
  const bool is_set = uploading ? replies_left_ == 4 : !stored_;
  const std::string head = is_set ? "+OK\r\n" : fmt::format("${}\r\n", value_bytes);
  if (reply_left_ == 0) {
    if (in_.size() < head.size()) {
      return false;
    }
    if (!in_.starts_with(head)) {
      findings_->wrong_reply(fmt::format("{}: got {:.40}", name_, in_));
      fail("closed by the checker after a wrong reply");
      return false;
    }
    in_.erase(0, head.size());
    replies_left_ -= is_set ? 1 : 0;
    reply_left_ = is_set ? 0 : value_bytes + 2;
    return true;
  }
  // A piece of a value: compare it at once, so that the buffer stays small.
  static constexpr uint64_t kUploadOffsets[] = {upload_bytes - slow_read_bytes,
                                                upload_bytes / 2 - 7, 0};
  const uint64_t base = uploading ? kUploadOffsets[replies_left_ - 1] : 0;
  const uint64_t done = value_bytes + 2 - reply_left_;
  const uint64_t text = std::min<uint64_t>(in_.size(), done < value_bytes ? value_bytes - done : 0);
  if (!matches_pattern(round_, base + done, std::string_view(in_).substr(0, text))) {
    findings_->wrong_reply(
        fmt::format("{}: value {} differs near byte {}", name_, round_, base + done));
    fail("closed by the checker after a wrong reply");
    return false;
  }
  const uint64_t taken = std::min<uint64_t>(in_.size(), reply_left_);
  in_.erase(0, taken);
  reply_left_ -= taken;
  replies_left_ -= reply_left_ == 0 ? 1 : 0;
  return true;
}

void StreamClient::fail(const std::string& why) {
  findings_->connection_error(fmt::format("{}: {}", name_, why));
  socket_.reset(-1);
}

void StreamClient::give_up() {
  if (!idle()) {
    fail("no answer");
  }
}

}  // namespace ftrun::check
