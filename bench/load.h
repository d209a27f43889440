// SPDX-License-Identifier: Apache-2.0
// A closed-loop Redis load: each connection sends a batch, waits for all its replies, sends the
// next. Runs in a tool process, one thread; made to be cheap, because it shares the machine with
// what it measures (one send and one receive per batch, no allocation per request).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "bench/histogram.h"
#include "bench/tool_net.h"

namespace ftrun::load {

// Whether writes are followed by WAIT (which makes Redis answer only once a replica has the write).
// The pair counts as one request.
enum class WaitMode : uint8_t { kNone, kPerRequest, kPerBatch };

// Random keys for a measurement, each key in turn to fill the key space.
enum class KeyOrder : uint8_t { kRandom, kSequential };

// A point of the progress report; times in ns since the start.
struct Progress {
  int64_t at_ns = 0;
  uint64_t requests = 0;        // since the last point
  int64_t longest_wait_ns = 0;  // longest latency completed or outstanding since the last point
  uint64_t errors = 0;          // in all
};

struct LoadPlan {
  Endpoint endpoint;
  int connections = 50;
  int pipeline = 1;
  int value_bytes = 100;
  double get_share = 0;  // 0 to 1
  uint64_t keys = 100'000;
  KeyOrder key_order = KeyOrder::kRandom;
  double seconds = 5;
  uint64_t requests = 0;  // stop after so many were sent; 0: only `seconds` counts
  uint64_t seed = 1;
  WaitMode wait = WaitMode::kNone;
  int64_t progress_interval_ns = 0;  // 0: no progress report
  std::function<void(const Progress&)> on_progress;
};

struct LoadReport {
  double seconds = 0;  // from the first request to the last reply
  uint64_t requests = 0;
  Histogram latency;
  int64_t longest_silence_ns = 0;     // longest time a connection waited for any reply byte
  int64_t longest_silence_at_ns = 0;  // when it ended, CLOCK_MONOTONIC
  uint64_t errors = 0;
  std::string first_error;
  double cpu_seconds = 0;  // used by this process meanwhile
};

// Runs the plan to its end. Connections that fail are counted as errors and not reopened.
// A reply that does not come within `kReplyTimeoutSeconds` is an error and ends the run.
inline constexpr int kReplyTimeoutSeconds = 20;
LoadReport run_load(const LoadPlan& plan);

}  // namespace ftrun::load
