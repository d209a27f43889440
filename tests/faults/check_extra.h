// SPDX-License-Identifier: Apache-2.0
// The checker's difficult clients: one uploads huge values, one reads slowly, and a crowd opens and
// closes connections. Runs in ftrun-check-clients, one thread; huge contents are computed piece by
// piece, so that these clients never delay the others, whose silences are measured.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "bench/tool_net.h"
#include "tests/faults/check_client.h"
#include "tests/faults/check_model.h"

namespace ftrun::check {

// Byte `offset` of the pattern `round`; any piece can be computed alone. `offset` and `out->size()`
// are free; the piece is appended.
void append_pattern(uint64_t round, uint64_t offset, size_t bytes, std::string* out);
bool matches_pattern(uint64_t round, uint64_t offset, std::string_view text);

// A connection that sends one huge SET, or reads huge GETs, over and over.
enum class StreamRole : uint8_t { kUploader, kSlowReader };

class StreamClient : public load::Handler {
 public:
  StreamClient(load::Loop* loop, Shared* shared, Findings* findings, StreamRole role);
  void open(const load::Endpoint& endpoint);
  void tick(int64_t now);
  void on_ready(uint32_t events, int64_t now) override;
  void finish() { finishing_ = true; }
  bool idle() const { return !socket_.valid() || (finishing_ && !busy_); }
  void give_up();
  uint64_t bytes_done() const { return bytes_done_; }

 private:
  void start();  // the next SET, or the next batch of GETs
  void flush();  // sends the current command's next pieces
  void receive();
  bool take_header();  // a reply's first line
  void fail(const std::string& why);

  load::Loop* loop_;
  Findings* findings_;
  StreamRole role_;
  std::string key_;
  std::string name_;
  load::Descriptor socket_;
  bool finishing_ = false;
  bool busy_ = false;
  bool writable_watched_ = false;
  uint64_t round_ = 0;      // pattern of the value in the server
  uint64_t body_left_ = 0;  // bytes of the pattern still to be sent
  std::string out_;         // bytes ready to be sent
  std::string trailer_;     // sent after the body
  std::string in_;
  int replies_left_ = 0;     // values still to come (slow reader), or answers (uploader)
  uint64_t reply_left_ = 0;  // bytes of the current value still to come
  bool stored_ = false;      // the value to read is there
  int64_t next_read_ = 0;
  uint64_t bytes_done_ = 0;
};

// Opens `rate` connections per second; each asks once and leaves in one of several ways.
class Churn {
 public:
  Churn(load::Loop* loop, Shared* shared, Findings* findings, load::Endpoint endpoint, int rate);
  ~Churn();
  void tick(int64_t now);
  void finish() { finishing_ = true; }
  bool idle() const { return finishing_ && visits_.empty(); }
  void give_up();
  uint64_t completed() const { return completed_; }

 private:
  class Visit;
  void leave(Visit* visit);

  load::Loop* loop_;
  Shared* shared_;
  Findings* findings_;
  load::Endpoint endpoint_;
  double rate_;
  int64_t started_at_ = 0;
  uint64_t opened_ = 0;
  uint64_t completed_ = 0;
  bool finishing_ = false;
  std::unordered_set<Visit*> visits_;
  std::vector<std::unique_ptr<Visit>> gone_;  // freed outside the event loop
};

}  // namespace ftrun::check
