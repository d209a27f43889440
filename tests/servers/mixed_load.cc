// SPDX-License-Identifier: Apache-2.0
// ftrun-mixed-load: a seeded load that touches most of what Redis does, to be recorded and
// replayed. Requests are the same for a seed; their interleaving is not, and need not be.
// Unexpected error replies and broken connections are counted and make it fail. An ordinary tool
// process, one thread.
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/resp.h"
#include "bench/tool_net.h"
#include "tests/servers/mixed_commands.h"

namespace ftrun::servers {
namespace {

enum class ClientRole : uint8_t { kWorker, kBlocker, kSubscriber };

struct Totals {
  uint64_t wanted = 0;
  uint64_t sent = 0;
  uint64_t replies = 0;
  uint64_t reply_bytes = 0;
  uint64_t messages = 0;
  uint64_t reconnects = 0;
  uint64_t broken = 0;
  std::map<std::string, uint64_t> error_replies;
};

class MixedClient : public load::Handler {
 public:
  MixedClient(load::Loop* loop, load::Endpoint endpoint, ClientRole role, uint64_t seed,
              Totals* totals)
      : loop_(loop), endpoint_(endpoint), role_(role), commands_(seed), totals_(totals) {}

  bool open() {
    if (std::string error = load::connect_now(endpoint_, 5000, &socket_); !error.empty()) {
      fmt::print(stderr, "ftrun-mixed-load: {}\n", error);
      ++totals_->broken;
      return false;
    }
    loop_->add(socket_.get(), EPOLLIN, this);
    in_.clear();
    if (role_ == ClientRole::kSubscriber) {
      load::append_command(&out_, {"SUBSCRIBE", "channel:1", "channel:2", "channel:3"});
      load::append_command(&out_, {"PSUBSCRIBE", "channel:[4-9]"});
      flush();
    } else {
      send_batch();
    }
    return true;
  }
  bool idle() const {
    return role_ == ClientRole::kSubscriber || !socket_.valid() || expected_ == 0;
  }
  // What it waits for, for the report of a stall.
  std::string waiting_for() const {
    return fmt::format("{}: {} replies missing, {} bytes unsent, {} bytes of a reply here",
                       role_ == ClientRole::kBlocker ? "blocker" : "worker", expected_, out_.size(),
                       in_.size());
  }
  void on_ready(uint32_t events, int64_t) override {
    if ((events & EPOLLOUT) != 0) {
      flush();
    }
    if (socket_.valid() && (events & ~EPOLLOUT) != 0) {
      receive();
    }
  }

 private:
  void send_batch() {
    if (totals_->sent >= totals_->wanted) {
      return;
    }
    if (role_ == ClientRole::kBlocker) {
      commands_.next_blocking(&out_);
      expected_ = 1;
      ++totals_->sent;
    } else {
      constexpr uint64_t batch_max = 24;
      for (uint64_t i = 1 + commands_.pick(batch_max); i > 0; --i) {
        expected_ += commands_.next(&out_);
        ++totals_->sent;
      }
    }
    flush();
  }
  void flush() {
    size_t sent = 0;
    while (sent < out_.size()) {
      const ssize_t n = send(socket_.get(), out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) {
        return broken(strerror(errno));
      }
      if (n < 0) {
        break;
      }
      sent += static_cast<size_t>(n);
    }
    out_.erase(0, sent);
    if (watching_out_ == out_.empty()) {
      watching_out_ = !out_.empty();
      loop_->change(socket_.get(), watching_out_ ? EPOLLIN | EPOLLOUT : EPOLLIN, this);
    }
  }
  void receive() {
    char buffer[128 * 1024];
    const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) {
      return;
    }
    if (n <= 0) {
      return broken(n == 0 ? "closed by the server" : strerror(errno));
    }
    in_.append(buffer, static_cast<size_t>(n));
    totals_->reply_bytes += static_cast<uint64_t>(n);
    size_t taken = 0;
    while (socket_.valid() && taken < in_.size()) {
      const std::string_view rest = std::string_view(in_).substr(taken);
      const load::ReplyExtent reply = load::skip_reply(rest);
      if (reply.state == load::ReplyState::kIncomplete) {
        break;
      }
      if (reply.state == load::ReplyState::kMalformed) {
        return broken("malformed reply");
      }
      take(rest.substr(0, reply.bytes));
      taken += reply.bytes;
    }
    in_.erase(0, taken);
    if (role_ != ClientRole::kSubscriber && expected_ == 0 && out_.empty()) {
      batch_done();
    }
  }
  void take(std::string_view reply) {
    if (role_ == ClientRole::kSubscriber) {
      ++totals_->messages;
      return;
    }
    --expected_;
    ++totals_->replies;
    if (reply.starts_with('-')) {  // the commands are made so that none is refused
      ++totals_->error_replies[std::string(reply.substr(0, reply.find('\r')))];
    }
    if (expected_ < 0) {
      broken("a reply too many");
    }
  }
  // Now and then a worker leaves and comes back, so that accepts and closes are in the log too.
  void batch_done() {
    constexpr uint64_t batches_per_connection = 100;
    if (role_ == ClientRole::kWorker && commands_.pick(batches_per_connection) == 0 &&
        totals_->sent < totals_->wanted) {
      ++totals_->reconnects;
      leave();
      open();
      return;
    }
    send_batch();
  }
  // Closes, or has the server close while more is on its way to it. Nobody listens any more.
  void leave() {
    static constexpr const char* kPartings[] = {"", "", "*1\r\n$4\r\nQUIT\r\n",
                                                "*1\r\n$99999999999\r\n",
                                                "POST / HTTP/1.1\r\nHost: here\r\n\r\n"};
    std::string parting = kPartings[commands_.pick(std::size(kPartings))];
    if (parting.empty()) {
      socket_.reset(-1);
      return;
    }
    loop_->remove(socket_.get());
    if (commands_.pick(2) == 0) {
      commands_.next(&parting);  // in one piece with it
    }
    for (int piece = 0; piece < 3; ++piece) {
      send(socket_.get(), parting.data(), parting.size(), MSG_NOSIGNAL);
      parting.clear();
      commands_.next(&parting);
    }
    left_ = std::move(socket_);  // stays open until this client leaves so again
  }
  void broken(const char* why) {
    fmt::print(stderr, "ftrun-mixed-load: connection broken: {}\n", why);
    ++totals_->broken;
    socket_.reset(-1);
  }

  load::Loop* loop_;
  load::Endpoint endpoint_;
  ClientRole role_;
  MixedCommands commands_;
  Totals* totals_;
  load::Descriptor socket_;
  load::Descriptor left_;
  std::string out_;
  bool watching_out_ = false;
  std::string in_;
  int expected_ = 0;
};

// Memory is limited so that eviction happens; empty text on success.
std::string prepare(const load::Endpoint& endpoint, int memory_mb) {
  load::Descriptor socket;
  std::string error = load::connect_now(endpoint, 5000, &socket);
  for (const auto& [name, value] :
       {std::pair<const char*, std::string>{"maxmemory", fmt::format("{}mb", memory_mb)},
        {"maxmemory-policy", "allkeys-lru"}}) {
    std::string request;
    std::string line;
    load::append_command(&request, {"CONFIG", "SET", name, value});
    if (error.empty()) {
      error = load::ask_line(socket.get(), request, 5000, &line);
    }
    if (error.empty() && line != "+OK") {
      error = line;
    }
  }
  return error;
}

struct Options {
  load::Endpoint endpoint;
  uint64_t seed = 1;
  int workers = 24;
  int blockers = 4;
  int subscribers = 3;
  int memory_mb = 30;
  double stall_seconds = 30;
};

int run(const Options& options, Totals* totals) {
  if (std::string error = prepare(options.endpoint, options.memory_mb); !error.empty()) {
    fmt::print(stderr, "ftrun-mixed-load: {}\n", error);
    return 1;
  }
  load::Loop loop;
  std::vector<std::unique_ptr<MixedClient>> clients;
  const auto add = [&](ClientRole role, int count) {
    for (int i = 0; i < count; ++i) {
      clients.push_back(std::make_unique<MixedClient>(
          &loop, options.endpoint, role, options.seed * 1000 + clients.size() + 1, totals));
      clients.back()->open();
    }
  };
  add(ClientRole::kSubscriber, options.subscribers);
  add(ClientRole::kWorker, options.workers);
  add(ClientRole::kBlocker, options.blockers);
  const auto all_idle = [&] {
    for (const auto& client : clients) {
      if (!client->idle()) {
        return false;
      }
    }
    return true;
  };
  uint64_t seen = 0;
  int64_t progress_at = load::now_ns();
  while (!all_idle()) {
    const int64_t now = loop.step(100);
    if (totals->replies != seen) {
      seen = totals->replies;
      progress_at = now;
    } else if (now - progress_at > static_cast<int64_t>(options.stall_seconds * 1e9)) {
      fmt::print(stderr, "ftrun-mixed-load: no reply for {} s\n", options.stall_seconds);
      for (const auto& client : clients) {
        if (!client->idle()) {
          fmt::print(stderr, "  {}\n", client->waiting_for());
        }
      }
      return 1;
    }
  }
  return totals->broken == 0 && totals->error_replies.empty() ? 0 : 1;
}

}  // namespace
}  // namespace ftrun::servers

int main(int argc, char** argv) {
  ftrun::servers::Options options;
  ftrun::servers::Totals totals;
  totals.wanted = 1'000'000;
  CLI::App app("A seeded load of most Redis commands.", "ftrun-mixed-load");
  app.add_option("--port", options.endpoint.port, "TCP port on 127.0.0.1")->required();
  app.add_option("--seed", options.seed);
  app.add_option("--requests", totals.wanted)->check(CLI::PositiveNumber);
  app.add_option("--workers", options.workers)->check(CLI::Range(1, 1000));
  app.add_option("--blockers", options.blockers)->check(CLI::Range(0, 1000));
  app.add_option("--subscribers", options.subscribers)->check(CLI::Range(0, 1000));
  app.add_option("--stall-seconds", options.stall_seconds, "without any reply: given up")
      ->check(CLI::Range(1.0, 1e6));
  app.add_option("--memory-mb", options.memory_mb, "maxmemory of the server")
      ->check(CLI::Range(2, 100'000));
  CLI11_PARSE(app, argc, argv);
  ftrun::load::raise_descriptor_limit();
  const int64_t start = ftrun::load::now_ns();
  const int status = ftrun::servers::run(options, &totals);
  fmt::print("{}\n",
             nlohmann::json{{"ok", status == 0},
                            {"seed", options.seed},
                            {"requests", totals.sent},
                            {"replies", totals.replies},
                            {"reply_bytes", totals.reply_bytes},
                            {"messages", totals.messages},
                            {"reconnects", totals.reconnects},
                            {"broken_connections", totals.broken},
                            {"error_replies", totals.error_replies},
                            {"seconds", static_cast<double>(ftrun::load::now_ns() - start) / 1e9}}
                 .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return status;
}
