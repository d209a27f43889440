// SPDX-License-Identifier: Apache-2.0
// ftrun-check-clients: checks from the outside that a Redis server applies every request exactly
// once and answers it exactly once, whatever happens to its processes meanwhile. Plain TCP clients
// without retries or reconnects. An ordinary tool process, one thread. Prints {"event":"ready",...}
// once every connection has been answered and one JSON object at the end; exit status 1 when
// anything was wrong.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/resp.h"
#include "tests/faults/check_client.h"
#include "tests/faults/check_extra.h"

namespace ftrun::check {
namespace {

struct Options {
  load::Endpoint endpoint;
  int connections = 24;
  int pipeline = 16;
  double rate = 0;
  double seconds = 10;
  double drain_seconds = 15;
  uint64_t seed = 1;
  bool upload = false;
  bool slow_reader = false;
  int churn = 0;
};

class Checker {
 public:
  explicit Checker(const Options& options)
      : options_(options), shared_(fmt::format("check-{}-{}", getpid(), options.seed)) {}

  nlohmann::json run() {
    open();
    const int64_t start = load::now_ns();
    run_until(start + static_cast<int64_t>(options_.seconds * 1e9), false);
    const int64_t end = load::now_ns();
    finish(end);
    run_until(end + static_cast<int64_t>(options_.drain_seconds * 1e9), true);
    give_up();
    check_final_state();
    return report(static_cast<double>(end - start) / 1e9);
  }

 private:
  void open() {
    Pace pace{options_.pipeline, 0};
    if (options_.rate > 0) {  // bursts hold half a pipeline on average
      pace.interval_ns = static_cast<int64_t>(1e9 * options_.connections / options_.rate *
                                              (options_.pipeline + 1) / 2);
    }
    for (int i = 0; i < options_.connections; ++i) {
      clients_.push_back(
          std::make_unique<Client>(&loop_, &shared_, &findings_, i, options_.seed, pace));
      clients_.back()->open(options_.endpoint);
    }
    const auto add_stream = [this](bool wanted, StreamRole role) {
      if (wanted) {
        streams_.push_back(std::make_unique<StreamClient>(&loop_, &shared_, &findings_, role));
        streams_.back()->open(options_.endpoint);
      }
    };
    add_stream(options_.upload, StreamRole::kUploader);
    add_stream(options_.slow_reader, StreamRole::kSlowReader);
    if (options_.churn > 0) {
      churn_ =
          std::make_unique<Churn>(&loop_, &shared_, &findings_, options_.endpoint, options_.churn);
    }
  }

  void run_until(int64_t deadline, bool until_idle) {
    const bool fine = options_.rate > 0 || churn_ != nullptr || !streams_.empty();
    int64_t now = load::now_ns();
    while (now < deadline && !(until_idle && all_idle())) {
      now = loop_.step(fine ? 1 : 10);
      for (const auto& client : clients_) {
        client->tick(now);
      }
      for (const auto& stream : streams_) {
        stream->tick(now);
      }
      if (churn_ != nullptr) {
        churn_->tick(now);
      }
      announce_ready(now);
    }
  }

  void announce_ready(int64_t now) {
    if (announced_) {
      return;
    }
    for (const auto& client : clients_) {
      if (!client->answered()) {
        return;
      }
    }
    announced_ = true;
    fmt::print("{}\n", nlohmann::json{{"event", "ready"}, {"monotonic_ns", now}}.dump());
    fflush(stdout);
  }

  void finish(int64_t now) {
    for (const auto& client : clients_) {
      client->finish(now);
    }
    for (const auto& stream : streams_) {
      stream->finish();
    }
    if (churn_ != nullptr) {
      churn_->finish();
    }
  }

  bool all_idle() const {
    for (const auto& client : clients_) {
      if (!client->idle()) {
        return false;
      }
    }
    for (const auto& stream : streams_) {
      if (!stream->idle()) {
        return false;
      }
    }
    return churn_ == nullptr || churn_->idle();
  }

  void give_up() {
    for (const auto& client : clients_) {
      client->give_up();
    }
    for (const auto& stream : streams_) {
      stream->give_up();
    }
    if (churn_ != nullptr) {
      churn_->give_up();
    }
  }

  // Shared keys, read on a new connection. After a connection error nobody knows which of its last
  // requests were applied, so there is no model to compare with.
  void check_final_state() {
    if (!findings_.connection_errors.empty() || !findings_.wrong_replies.empty()) {
      final_errors_.push_back("not compared: connections were lost or replies were wrong");
      return;
    }
    shared_.counter.judge(&final_errors_);
    shared_.log.judge(&final_errors_);
    shared_.churn.judge(&final_errors_);
    load::Descriptor socket;
    if (std::string error = load::connect_now(options_.endpoint, 10'000, &socket); !error.empty()) {
      final_errors_.push_back("a new connection at the end: " + error);
      return;
    }
    const auto expect_sum = [&](const char* name, const Ledger& ledger) {
      std::string request;
      std::string line;
      load::append_command(&request, {"INCRBY", shared_.prefix + ":shared:" + name, "0"});
      const std::string error = load::ask_line(socket.get(), request, 10'000, &line);
      if (!error.empty() || line != fmt::format(":{}", ledger.sum())) {
        final_errors_.push_back(
            fmt::format("{}: expected {}, got {} {}", name, ledger.sum(), line, error));
      }
    };
    expect_sum("counter", shared_.counter);
    expect_sum("churn", shared_.churn);
    check_shared_log(socket.get());
  }

  // A script compares on the server: the answer is one line, however long the log.
  void check_shared_log(int fd) {
    std::string request;
    std::string line;
    load::append_command(
        &request, {"EVAL", "return (redis.call('GET', KEYS[1]) or '') == ARGV[1] and 1 or 0", "1",
                   shared_.prefix + ":shared:log", shared_.log.content()});
    const std::string error = load::ask_line(fd, request, 10'000, &line);
    if (!error.empty() || line != ":1") {
      final_errors_.push_back(
          fmt::format("shared log differs from what was answered: {} {}", line, error));
    }
  }

  nlohmann::json report(double seconds) const {
    int64_t longest = 0;
    int64_t longest_end = 0;
    nlohmann::json silences = nlohmann::json::array();
    for (const auto& client : clients_) {
      silences.push_back(client->longest_silence() / 1000);
      if (client->longest_silence() > longest) {
        longest = client->longest_silence();
        longest_end = client->longest_silence_end();
      }
    }
    nlohmann::json peaks = nlohmann::json::array();
    for (const auto& [start, silence] : findings_.silence_peaks) {
      peaks.push_back({start, silence / 1000});
    }
    uint64_t stream_bytes = 0;
    for (const auto& stream : streams_) {
      stream_bytes += stream->bytes_done();
    }
    const bool ok = findings_.connection_errors.empty() && findings_.wrong_replies.empty() &&
                    final_errors_.empty();
    return {{"event", "end"},
            {"ok", ok},
            {"seed", options_.seed},
            {"seconds", seconds},
            {"connections", options_.connections},
            {"replies", findings_.replies},
            {"p50_us", findings_.latency.quantile(0.5) / 1000},
            {"p99_us", findings_.latency.quantile(0.99) / 1000},
            {"connection_error_count", findings_.connection_error_count},
            {"connection_errors", findings_.connection_errors},
            {"wrong_reply_count", findings_.wrong_reply_count},
            {"wrong_replies", findings_.wrong_replies},
            {"doubled", findings_.doubled},
            {"lost", findings_.lost},
            {"final_state_errors", final_errors_},
            {"shared_additions", shared_.counter.size()},
            {"churned", churn_ == nullptr ? 0 : churn_->completed()},
            {"stream_bytes", stream_bytes},
            {"longest_silence_us", longest / 1000},
            {"longest_silence_end_ns", longest_end},
            {"silences_us", silences},
            {"silence_peaks", peaks}};
  }

  Options options_;
  Shared shared_;
  Findings findings_;
  load::Loop loop_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<StreamClient>> streams_;
  std::unique_ptr<Churn> churn_;
  std::vector<std::string> final_errors_;
  bool announced_ = false;
};

}  // namespace
}  // namespace ftrun::check

int main(int argc, char** argv) {
  ftrun::check::Options options;
  CLI::App app("Checks that a Redis server answers every request exactly once.",
               "ftrun-check-clients");
  app.add_option("--port", options.endpoint.port, "TCP port on 127.0.0.1")->required();
  app.add_option("--connections", options.connections)->check(CLI::Range(1, 10000));
  app.add_option("--pipeline", options.pipeline, "most requests outstanding per connection")
      ->check(CLI::Range(1, 1000));
  app.add_option("--rate", options.rate, "requests per second in all, roughly (0: no limit)")
      ->check(CLI::Range(0.0, 1e7));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 1e6));
  app.add_option("--drain-seconds", options.drain_seconds, "how long to wait for last replies")
      ->check(CLI::Range(0.1, 1e4));
  app.add_option("--seed", options.seed);
  app.add_flag("--upload", options.upload, "one more client uploads 64 MB values");
  app.add_flag("--slow-reader", options.slow_reader, "one more client reads slowly");
  app.add_option("--churn", options.churn, "connections opened and closed per second")
      ->check(CLI::Range(0, 20000));
  CLI11_PARSE(app, argc, argv);
  ftrun::load::raise_descriptor_limit();
  const nlohmann::json report = ftrun::check::Checker(options).run();
  fmt::print("{}\n", report.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return report["ok"].get<bool>() ? 0 : 1;
}
