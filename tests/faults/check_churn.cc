// SPDX-License-Identifier: Apache-2.0
// Clients that come, ask once, and leave in different ways; some of them still send when the server
// closes. Run in ftrun-check-clients, one thread.
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "bench/resp.h"
#include "tests/faults/check_extra.h"

namespace ftrun::check {
namespace {

// How a visitor leaves.
enum class Manner : uint8_t {
  kClose,      // after the reply
  kReset,      // after the reply, with a reset
  kQuit,       // QUIT behind the question; the server closes
  kHalfClose,  // FIN behind the question; the server answers, then closes
  kSilent,     // says nothing at all
  // The server closes while more is on its way, and may answer that with a reset.
  kQuitEarly,      // QUIT behind the question, and more behind that
  kProtocolError,  // what no command is, and more behind it
  kPost,           // only what a browser says: Redis hangs up without a word
};
constexpr unsigned manners = 8;
constexpr size_t visits_max = 2000;

bool sends_too_much(Manner manner) {
  return manner >= Manner::kQuitEarly;
}

// What this visitor says last, and what Redis answers to that before it closes.
struct Parting {
  const char* words;
  const char* answer;
};
Parting parting_of(Manner manner) {
  switch (manner) {
    case Manner::kQuit:
    case Manner::kQuitEarly:
      return {"*1\r\n$4\r\nQUIT\r\n", "+OK\r\n"};
    case Manner::kProtocolError:
      return {"*1\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"};
    case Manner::kPost:
      return {"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", ""};
    default:
      return {"", ""};
  }
}

}  // namespace

class Churn::Visit : public load::Handler {
 public:
  Visit(Churn* churn, Manner manner) : churn_(churn), manner_(manner) {}

  void open(const load::Endpoint& endpoint) {
    if (std::string error = load::start_connect(endpoint, &socket_); !error.empty()) {
      return fail(error);
    }
    churn_->loop_->add(socket_.get(), EPOLLOUT, this);
  }
  void on_ready(uint32_t, int64_t) override {
    if (!asked_) {
      return ask();
    }
    char buffer[256];
    const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) {
      return;
    }
    if (n < 0 && errno == ECONNRESET && sends_too_much(manner_)) {
      return answer(true);
    }
    if (n < 0) {
      return fail(fmt::format("recv: {}", strerror(errno)));
    }
    in_.append(buffer, static_cast<size_t>(n));
    answer(n == 0);
  }
  void fail(const std::string& why) {
    churn_->findings_->connection_error(
        fmt::format("churn (manner {}): {}", static_cast<int>(manner_), why));
    done();
  }

 private:
  void ask() {
    if (const int error = load::connect_error(socket_.get()); error != 0) {
      return fail(fmt::format("connect: {}", strerror(error)));
    }
    asked_ = true;
    if (manner_ == Manner::kSilent) {
      ++churn_->completed_;
      return done();
    }
    std::string request;
    if (manner_ != Manner::kPost) {
      load::append_command(&request, {"INCR", churn_->shared_->prefix + ":shared:churn"});
    }
    request += parting_of(manner_).words;
    const ssize_t n = send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL);
    if (n != static_cast<ssize_t>(request.size())) {
      return fail(fmt::format("send: {}", n < 0 ? strerror(errno) : "short"));
    }
    if (manner_ == Manner::kHalfClose) {
      shutdown(socket_.get(), SHUT_WR);
    } else if (sends_too_much(manner_)) {  // never to be applied, nor answered
      send_too_much();
    }
    churn_->loop_->change(socket_.get(), EPOLLIN, this);
  }
  // In segments of their own, so that some of them come when the server has closed.
  void send_too_much() {
    constexpr int commands = 3;
    for (int i = 0; i < commands; ++i) {
      std::string request;
      load::append_command(&request, {"INCR", churn_->shared_->prefix + ":shared:churn"});
      if (send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
        return;
      }
    }
  }
  void answer(bool end) {
    if (manner_ == Manner::kPost && in_.empty()) {
      churn_->completed_ += end ? 1 : 0;
      return end ? done() : void();
    }
    const load::ReplyExtent reply = load::skip_reply(in_);
    const bool whole = reply.state == load::ReplyState::kWhole;
    const bool waits_for_end =
        manner_ == Manner::kQuit || manner_ == Manner::kHalfClose || sends_too_much(manner_);
    if (!end && (!whole || waits_for_end)) {
      return;
    }
    const std::string rest = whole ? in_.substr(reply.bytes) : in_;
    if (!whole || manner_ == Manner::kPost || reply.type != ':' ||
        rest != parting_of(manner_).answer) {
      churn_->findings_->wrong_reply(
          fmt::format("churn (manner {}): got {:.60}", static_cast<int>(manner_), in_));
      return done();
    }
    churn_->shared_->churn.add(reply.integer, 1, {});
    ++churn_->findings_->replies;
    ++churn_->completed_;
    if (manner_ == Manner::kReset) {
      const linger now{1, 0};
      setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    done();
  }
  void done() {
    socket_.reset(-1);
    churn_->leave(this);
  }

  Churn* churn_;
  Manner manner_;
  load::Descriptor socket_;
  bool asked_ = false;
  std::string in_;
};

Churn::Churn(load::Loop* loop, Shared* shared, Findings* findings, load::Endpoint endpoint,
             int rate)
    : loop_(loop), shared_(shared), findings_(findings), endpoint_(endpoint), rate_(rate) {}

Churn::~Churn() {
  for (Visit* visit : visits_) {
    delete visit;
  }
}

void Churn::leave(Visit* visit) {
  visits_.erase(visit);
  gone_.emplace_back(visit);
}

void Churn::tick(int64_t now) {
  gone_.clear();
  if (finishing_) {
    return;
  }
  started_at_ = started_at_ == 0 ? now : started_at_;
  const auto due = static_cast<uint64_t>(static_cast<double>(now - started_at_) / 1e9 * rate_);
  constexpr uint64_t burst_max = 50;  // after a pause the missed visits come spread out
  const uint64_t stop = std::min(due, opened_ + burst_max);
  while (opened_ < stop && visits_.size() < visits_max) {
    auto* visit = new Visit(this, static_cast<Manner>(opened_ % manners));
    visits_.insert(visit);
    ++opened_;
    visit->open(endpoint_);
  }
}

void Churn::give_up() {
  while (!visits_.empty()) {
    (*visits_.begin())->fail("no answer");
  }
}

}  // namespace ftrun::check
