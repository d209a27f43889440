// SPDX-License-Identifier: Apache-2.0
// ftrun-load: loads a Redis server on 127.0.0.1 and prints what its clients saw as one JSON object
// on the last line of standard output. An ordinary tool process. Exit status 1 when there were
// errors.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench/load.h"

using ftrun::load::KeyOrder;
using ftrun::load::LoadPlan;
using ftrun::load::LoadReport;
using ftrun::load::WaitMode;

static nlohmann::json to_json(const LoadPlan& plan, const LoadReport& report) {
  const auto us = [](uint64_t ns) { return static_cast<double>(ns) / 1000.0; };
  return {
      {"connections", plan.connections},
      {"pipeline", plan.pipeline},
      {"value_bytes", plan.value_bytes},
      {"get_share", plan.get_share},
      {"seconds", report.seconds},
      {"requests", report.requests},
      {"requests_per_second",
       report.seconds > 0 ? static_cast<double>(report.requests) / report.seconds : 0.0},
      {"p50_us", us(report.latency.quantile(0.50))},
      {"p90_us", us(report.latency.quantile(0.90))},
      {"p99_us", us(report.latency.quantile(0.99))},
      {"p999_us", us(report.latency.quantile(0.999))},
      {"max_us", us(report.latency.max())},
      {"longest_silence_us", us(static_cast<uint64_t>(report.longest_silence_ns))},
      {"longest_silence_at_ns", report.longest_silence_at_ns},
      {"errors", report.errors},
      {"first_error", report.first_error},
      {"cpu_seconds", report.cpu_seconds},
  };
}

static void print_progress(const ftrun::load::Progress& point) {
  fmt::print("{}\n", nlohmann::json{{"at_ms", point.at_ns / 1'000'000},
                                    {"requests", point.requests},
                                    {"longest_wait_us", point.longest_wait_ns / 1000},
                                    {"errors", point.errors}}
                         .dump());
  fflush(stdout);
}

// Writes every key once, so that a GET finds something.
static bool fill(const LoadPlan& plan) {
  LoadPlan filling = plan;
  filling.connections = 4;
  filling.pipeline = 64;
  filling.get_share = 0;
  filling.key_order = KeyOrder::kSequential;
  filling.requests = plan.keys;
  filling.seconds = 600;
  filling.wait = WaitMode::kNone;
  filling.progress_interval_ns = 0;
  const LoadReport report = ftrun::load::run_load(filling);
  if (report.errors != 0) {
    fmt::print(stderr, "ftrun-load: filling failed: {}\n", report.first_error);
  }
  return report.errors == 0;
}

int main(int argc, char** argv) {
  LoadPlan plan;
  std::string wait = "none";
  double get_percent = 0;
  int64_t progress_ms = 0;
  bool fill_first = false;
  CLI::App app("Closed-loop Redis load with a JSON report.", "ftrun-load");
  app.add_option("--port", plan.endpoint.port, "TCP port on 127.0.0.1")->required();
  app.add_option("--connections", plan.connections)->check(CLI::Range(1, 100000));
  app.add_option("--pipeline", plan.pipeline, "requests per batch")->check(CLI::Range(1, 10000));
  app.add_option("--value-bytes", plan.value_bytes)->check(CLI::Range(0, 64 << 20));
  app.add_option("--get-percent", get_percent)->check(CLI::Range(0.0, 100.0));
  app.add_option("--keys", plan.keys)->check(CLI::Range(uint64_t{1}, uint64_t{999'999'999'999}));
  app.add_option("--seconds", plan.seconds)->check(CLI::Range(0.001, 1e6));
  app.add_option("--requests", plan.requests, "stop after so many (0: time only)");
  app.add_option("--seed", plan.seed)->check(CLI::Range(uint64_t{1}, uint64_t{2147483646}));
  app.add_option("--wait", wait, "WAIT 1 after writes")
      ->check(CLI::IsMember({"none", "request", "batch"}));
  app.add_option("--progress-ms", progress_ms, "a JSON line per interval")
      ->check(CLI::Range(int64_t{1}, int64_t{60000}));
  app.add_flag("--fill", fill_first, "write every key once before measuring");
  CLI11_PARSE(app, argc, argv);

  plan.get_share = get_percent / 100;
  plan.wait = wait == "request" ? WaitMode::kPerRequest
              : wait == "batch" ? WaitMode::kPerBatch
                                : WaitMode::kNone;
  plan.progress_interval_ns = progress_ms * 1'000'000;
  plan.on_progress = print_progress;
  ftrun::load::raise_descriptor_limit();
  if (fill_first && !fill(plan)) {
    return 1;
  }
  const LoadReport report = ftrun::load::run_load(plan);
  fmt::print("{}\n", to_json(plan, report).dump());
  return report.errors == 0 ? 0 : 1;
}
