// SPDX-License-Identifier: Apache-2.0
// ftrun-record-replay --log FILE -- program args…
// Runs the program as a primary with a small edge of its own and writes its log to FILE, until it
// gets SIGUSR1 (or the program exits). Then replays FILE in a second process and compares output
// and, unless the program has exited, all writable memory at the same record. Prints the list of
// exceptions; fails on any other differing word, on divergence, and on a choice of a call that
// should have none.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "supervisor/process/launch.h"
#include "supervisor/rings/app_port.h"
#include "supervisor/rings/region.h"
#include "tests/replay/call_classes.h"
#include "tests/replay/memory_compare.h"
#include "tests/replay/replica.h"
#include "tests/replay/small_edge.h"

namespace ftrun::replay {
namespace {

volatile sig_atomic_t stop_requested = 0;

struct Recorder : AppPort::Sink {
  SmallEdge edge;
  std::ofstream log;
  CallClasses classes;
  uint64_t digest = 0, lsn = 0, position = 0;
  uint64_t log_bytes = 0, output_entries = 0;
  void app_output(const Output& entry) override {
    output_entries++;
    edge.output(entry);
  }
  void app_mark(uint64_t log_position, uint64_t mark_lsn, uint64_t mark_digest) override {
    position = log_position;
    lsn = mark_lsn;
    digest = mark_digest;
  }
  void app_turns(unit::Bytes turns, uint64_t, uint64_t) override {
    log_bytes += turns.size();
    classes.look_at(turns);
    log.write(reinterpret_cast<const char*>(turns.data()), static_cast<long>(turns.size()));
  }
};

struct Replayer : AppPort::Sink {
  uint64_t digest = 0, lsn = 0, position = 0;
  void app_output(const Output&) override {}
  void app_mark(uint64_t log_position, uint64_t mark_lsn, uint64_t mark_digest) override {
    position = log_position;
    lsn = mark_lsn;
    digest = mark_digest;
  }
  void app_turns(unit::Bytes, uint64_t, uint64_t) override {}
};

void record(Replica* primary, Recorder* recorder) {
  std::vector<uint8_t> arrivals;
  recorder->edge.set_application(primary->application.application.get());
  while (!primary->exited && stop_requested == 0) {
    Control* control = primary->region.control();
    control->supervisor_asleep.store(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const int timeout_ms = primary->port->has_output() || primary->port->staged() ? 0 : 10;
    arrivals.clear();
    recorder->edge.poll(primary->doorbell, timeout_ms, &arrivals);
    control->supervisor_asleep.store(0);
    control->coarse_now_ns.store(
        static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
    if (!arrivals.empty()) {
      primary->port->feed_input(arrivals);
    }
    primary->port->pump();
    primary->drain(recorder);
    primary->port->pump();
    primary->check();
  }
  if (!primary->exited) {
    primary->freeze(recorder);
  }
  primary->drain(recorder);
}

// How many bytes at the start of `bytes` are whole turns.
size_t whole_turns(const std::vector<uint8_t>& bytes) {
  const uint8_t* const end = bytes.data() + bytes.size();
  size_t whole = 0;
  Record record;
  for (const uint8_t* at = bytes.data(); (at = get_record(at, end, &record)) != nullptr;) {
    if (ends_turn(record.kind)) {
      whole = static_cast<size_t>(at - bytes.data());
    }
  }
  return whole;
}

void replay(Replica* secondary, Replayer* replayer, const std::string& path, uint64_t end) {
  std::ifstream log(path, std::ios::binary);
  constexpr size_t kChunkBytes = 1 << 20;
  std::vector<uint8_t> pending;
  while (replayer->position < end && !secondary->exited) {
    if (!secondary->port->staged() && log) {
      const size_t had = pending.size();
      pending.resize(had + kChunkBytes);
      log.read(reinterpret_cast<char*>(&pending[had]), kChunkBytes);
      pending.resize(had + static_cast<size_t>(log.gcount()));
      const size_t whole = whole_turns(pending);
      secondary->port->feed_log({pending.data(), whole});
      pending.erase(pending.begin(), pending.begin() + static_cast<long>(whole));
    }
    secondary->port->pump();
    secondary->drain(replayer);
    secondary->check();
  }
  secondary->drain(replayer);
}

int report(const Recorder& recorder, const Replayer& replayer, const Comparison& comparison) {
  std::printf("records %lu, log bytes %lu, output digest %016lx\n", recorder.lsn,
              recorder.log_bytes, recorder.digest);
  if (recorder.digest != replayer.digest || recorder.lsn != replayer.lsn) {
    std::printf("FAILED: the replay has %lu records and digest %016lx\n", replayer.lsn,
                replayer.digest);
    return 1;
  }
  for (const std::string& name : recorder.classes.wrong()) {
    std::printf("FAILED: %s has choices in the log, against its class in preload/table.def\n",
                name.c_str());
    return 1;
  }
  std::printf("writable memory compared: %lu bytes\n", comparison.bytes_compared);
  for (const auto& [name, words] : comparison.excepted) {
    std::printf("excepted: %s, %lu words\n", name.c_str(), words);
  }
  print_differences(comparison);
  std::printf(comparison.differing_words == 0 ? "equal\n" : "FAILED: %lu other words differ\n",
              comparison.differing_words);
  return comparison.differing_words == 0 ? 0 : 1;
}

struct Options {
  std::string log_path;
  std::vector<std::string> program;
};

Options parse(int argc, char** argv) {
  Options options;
  int i = 1;
  for (; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    if (std::strcmp(argv[i], "--log") == 0 && i + 1 < argc) {
      options.log_path = argv[++i];
    } else {
      die(std::string("unknown option ") + argv[i]);
    }
  }
  for (++i; i < argc; ++i) {
    options.program.push_back(argv[i]);
  }
  if (options.log_path.empty() || options.program.empty()) {
    die("usage: ftrun-record-replay --log FILE -- /path/to/program args");
  }
  return options;
}

int run(const Options& options) {
  Recorder recorder;
  recorder.log.open(options.log_path, std::ios::binary | std::ios::trunc);
  MemoryImage memory;
  int status = 0;
  bool exited = false;
  {
    Replica primary(Role::kPrimary, options.program);
    std::printf("recording pid %d\n", primary.application.application_pid);
    std::fflush(stdout);
    record(&primary, &recorder);
    recorder.log.close();
    exited = primary.exited;
    status = primary.wait_status;
    if (!exited) {
      memory = primary.memory();
    }
    process::end(&primary.application);
  }
  Replayer replayer;
  Replica secondary(Role::kSecondary, options.program);
  replay(&secondary, &replayer, options.log_path, recorder.position);
  Comparison comparison;
  if (!exited) {
    secondary.freeze(&replayer);
    comparison = compare(memory, secondary.memory());
  }
  process::end(&secondary.application);
  if (exited) {
    std::printf("exited: %s\n", process::describe_wait_status(status).c_str());
  }
  return report(recorder, replayer, comparison);
}

}  // namespace
}  // namespace ftrun::replay

int main(int argc, char** argv) {
  signal(SIGUSR1, [](int) { ftrun::replay::stop_requested = 1; });
  return ftrun::replay::run(ftrun::replay::parse(argc, argv));
}
