// SPDX-License-Identifier: Apache-2.0
// ftrun-supervisor: one replica of a unit. Started by ftrun, once per replica, in a session of its
// own; it survives ftrun. Standard error is for failures before the start only: afterwards
// everything goes to the run directory (events.jsonl).
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "supervisor/base/memory_reserve.h"
#include "supervisor/edge/socket_table.h"
#include "supervisor/process/program_check.h"
#include "supervisor/replica/replica.h"

namespace {

using ftrun::Result;

struct Parsed {
  ftrun::ReplicaOptions options;
  std::string replica = "a";
  ftrun::InheritedNumbers inherited;
};

// One of these words, each of which stands for a value.
template <typename Value>
void add_choice(CLI::App* app, const std::string& name, Value* into,
                const std::map<std::string, Value>& words, const std::string& help) {
  app->add_option_function<std::string>(
         name, [into, words](const std::string& word) { *into = words.at(word); }, help)
      ->check(CLI::IsMember(words));
}

void describe_members(CLI::App* app, ftrun::ReplicaOptions* options) {
  using ftrun::unit::Input;
  using ftrun::unit::Logging;
  using ftrun::unit::Promotion;
  using ftrun::unit::Topology;
  add_choice(app, "--topology", &options->topology,
             {{"chain", Topology::kChain}, {"fanout", Topology::kFanout}}, "how the log travels");
  add_choice(app, "--input", &options->input,
             {{"reference", Input::kReference}, {"log", Input::kLog}},
             "where replicas get input from");
  add_choice(app, "--logging", &options->logging,
             {{"late", Logging::kLate}, {"early", Logging::kEarly}}, "when replicas get the log");
  add_choice(app, "--promote", &options->promotion,
             {{"most-advanced", Promotion::kMostAdvanced}, {"designated", Promotion::kDesignated}},
             "who follows a dead primary in a fan-out");
  app->add_option("--tolerance", options->tolerance, "replicas that may die at once")
      ->check(CLI::Range(1u, static_cast<unsigned>(ftrun::unit::kMembersMax - 1)));
}

void describe_queues(CLI::App* app, ftrun::ReplicaOptions* options) {
  app->add_option("--run-ahead", options->run_ahead_bytes,
                  "bytes of log that the primary may be ahead of the slowest secondary");
  app->add_option("--input-memory", options->input_memory_bytes,
                  "bytes of input that may wait for the primary");
  app->add_option("--orphan-memory", options->orphan_memory_bytes,
                  "bytes of output kept for clients of closed connections");
  add_choice(app, "--sender-lag", &options->standby_lags, {{"on", true}, {"off", false}},
             "whether the standby sender stays behind the sender");
}

void describe(CLI::App* app, Parsed* parsed) {
  ftrun::ReplicaOptions& options = parsed->options;
  app->add_option("--unit", options.unit, "name of the unit")->required();
  app->add_option("--run-dir", options.run_dir, "the unit's run directory, absolute")->required();
  app->add_option("--replica", parsed->replica, "this replica: a, b, ...")->required();
  app->add_option("--replicas", options.replicas, "replicas of the unit")
      ->check(CLI::Range(1u, static_cast<unsigned>(ftrun::unit::kMembersMax)));
  describe_members(app, &options);
  describe_queues(app, &options);
  app->add_option("--time-out-ms", options.time_out_ms, "silence after which a peer is suspected")
      ->check(CLI::Range(60, 60'000));
  add_choice(app, "--on-crash", &options.quarantine, {{"quarantine", true}, {"retry", false}},
             "after a crash by a request");
  app->add_option("--quarantine-hold", options.quarantine_hold_ms,
                  "ms for which new connections of whoever crashed the primary wait")
      ->check(CLI::Range(0, 3'600'000));
  add_choice(app, "--transport", &options.shared_rings,
             {{"memory", true}, {"unix", false}, {"tcp", false}},
             "how input and log travel between replicas on one host");
  app->add_option("--spin-limit", options.spin_limit_ms,
                  "ms without a call after which the application is given up; 0: none")
      ->check(CLI::NonNegativeNumber);
  app->add_option("--stop-grace", options.stop_grace_ms,
                  "ms in which an application that makes no calls may still take a signal to end")
      ->check(CLI::NonNegativeNumber);
  add_choice(app, "--filter", &options.filter, {{"on", true}, {"off", false}},
             "whether the program's system calls are filtered as well");
  app->add_option("--record-log", options.record_log, "file that gets the log");
  app->add_option("--preload", options.preload, "libftpreload.so (default: as installed)");
  // One value each: a greedy option would take the "--" before the program for its own end.
  app->add_option("--state-dir", options.state_dirs, "state directory, canonical; repeatable")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  // Open descriptors (founding.h).
  app->add_option("--link", parsed->inherited.links, "a link to another replica: b=7; repeatable")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app->add_option("--unit-memory", parsed->inherited.memory, "the unit's memory")->required();
  app->add_option("--console", parsed->inherited.console, "the console's memory")->required();
  app->add_option("--program", parsed->inherited.program, "the program and its arguments")
      ->required();
}

Result<void> complete(Parsed* parsed) {
  ftrun::ReplicaOptions& options = parsed->options;
  const auto replica = ftrun::arbiter::replica_from_name(parsed->replica);
  if (!replica || *replica >= options.replicas) {
    return ftrun::Error{"--replica: not one of the unit's replicas: " + parsed->replica};
  }
  options.replica = *replica;
  if (options.shared_rings && options.replicas > 2) {
    return ftrun::Error{"--transport=memory: for two replicas at most"};
  }
  if (options.logging == ftrun::unit::Logging::kEarly && options.quarantine) {
    return ftrun::Error{"--logging=early: not with --on-crash=quarantine"};
  }
  if (options.unit.empty() || options.unit.size() > ftrun::link::kUnitNameBytesMax) {
    return ftrun::Error{"--unit: empty or too long"};
  }
  if (options.preload.empty()) {
    Result<std::string> preload = ftrun::process::find_preload_library();
    if (!preload.ok()) {
      return preload.error();
    }
    options.preload = *preload;
  }
  Result<ftrun::Inherited> inherited =
      ftrun::take_inherited(options.replica, options.replicas, parsed->inherited);
  if (!inherited.ok()) {
    return inherited.error();
  }
  options.inherited = std::move(*inherited);
  const char* path = getenv("PATH");
  Result<std::string> program =
      ftrun::process::find_program(options.inherited.program[0], path == nullptr ? "" : path);
  if (!program.ok()) {
    return program.error();
  }
  options.program = *program;
  return {};
}

// What the limits are meant for is the program, whose own are recorded before this. Client
// connections need descriptors, and rings address space.
void raise_limits() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, ftrun::edge::kSocketTableLines);
  setrlimit(RLIMIT_NOFILE, &limit);
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  for (const auto resource : {RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA}) {
    if (setrlimit(resource, &unlimited) != 0) {
      getrlimit(resource, &limit);
      limit.rlim_cur = limit.rlim_max;
      setrlimit(resource, &limit);
    }
  }
}

int fail(const ftrun::Error& error) {
  std::fputs(("ftrun-supervisor: " + error.message + "\n").c_str(), stderr);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  Parsed parsed;
  CLI::App app{"One replica of a unit; started by ftrun", "ftrun-supervisor"};
  describe(&app, &parsed);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  Result<ftrun::process::Inheritance> inheritance = ftrun::process::record_inheritance();
  if (!inheritance.ok()) {
    return fail(inheritance.error());
  }
  const Result<void> completed = complete(&parsed);
  if (!completed.ok()) {
    return fail(completed.error());
  }
  ftrun::hide_environment();
  raise_limits();
  ftrun::keep_memory_reserve();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // EFBIG says it too, and ends nobody
  prctl(PR_SET_DUMPABLE, 1);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  setsid();  // fails harmlessly if ftrun has done it
  ftrun::Replica replica(std::move(parsed.options));
  const Result<void> started = replica.start(std::move(*inheritance));
  if (!started.ok()) {
    return fail(started.error());
  }
  // ORDER: no destructors: they would close client sockets that the keeper holds for a successor.
  _exit(replica.run());
}
