// SPDX-License-Identifier: Apache-2.0
// simulate: runs seeds of the simulation from the command line, to look for failures for long or to
// look at one closely. Test program only.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "tests/simulation/world.h"

namespace {

void print(const ftrun::sim::Outcome& all, uint64_t seeds, double seconds) {
  fmt::print(
      "{} seeds passed in {:.1f} s: {} steps, {} requests, {} takeovers, {} hand-overs; "
      "fingerprint {:016x}\n",
      seeds, seconds, all.steps, all.requests, all.takeovers, all.hand_overs, all.fingerprint);
  fmt::print(
      "{} bytes of input; over links went {} of turns and {} of arrivals; {} of turns were "
      "fed early\n",
      all.input_bytes, all.turn_bytes, all.fed_bytes, all.part_bytes);
}

// Less than 0: as the seed says.
template <typename Choice>
void choose(int number, std::optional<Choice>* choice) {
  if (number >= 0) {
    *choice = static_cast<Choice>(number);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Simulate units of replicas from seeds; exit 1 at the first seed that fails."};
  uint64_t seed = 1;
  uint64_t seeds = 1;
  int mutation = 0;
  bool trace = false, hands_over = false;
  bool skip_kill = false;
  app.add_option("--seed", seed, "the first seed");
  app.add_option("--seeds", seeds, "how many seeds to run");
  app.add_option("--mutation", mutation, "plant this bug in the core (number of unit::Mutation)");
  app.add_flag("--skip-kill", skip_kill, "plant a bug in the I/O layer: nobody is killed");
  size_t members = 0;
  app.add_option("--members", members, "of each unit; 0: as many as the seed says");
  int topology = -1;
  int fault = 0;
  bool reckless = false;
  int input = -1;
  app.add_option("--input", input, "0: by reference, 1: in the log; else as the seed says");
  int logging = -1;
  app.add_option("--logging", logging, "0: late, 1: early; else as the seed says");
  app.add_option("--topology", topology, "0: chain, 1: fan-out; else as the seed says");
  unsigned tolerance = 0;
  app.add_option("--tolerance", tolerance, "members that may die at once; 0: as the seed says");
  app.add_option("--fault", fault, "the first one (number of sim::Fault)");
  app.add_flag("--reckless", reckless, "strike more than the unit tolerates");
  app.add_flag("--trace", trace, "print the events of each run");
  app.add_flag("--hand-over", hands_over, "the operator hands parts over all the time");
  bool breaks = false;
  bool transitions = false;
  app.add_flag("--break", breaks, "raise SIGTRAP at the first broken invariant");
  app.add_flag("--transitions", transitions, "print all transitions of the cores that were seen");
  CLI11_PARSE(app, argc, argv);

  const auto begin = std::chrono::steady_clock::now();
  ftrun::sim::Outcome all;
  ftrun::sim::Coverage coverage;
  for (uint64_t i = 0; i < seeds; ++i) {
    ftrun::sim::Options options;
    options.seed = seed + i;
    options.mutation = static_cast<ftrun::unit::Mutation>(mutation);
    options.skip_kill = skip_kill;
    options.trace = trace;
    options.breaks = breaks;
    options.coverage = &coverage;
    options.members = members;
    options.fault = static_cast<ftrun::sim::Fault>(fault);
    options.reckless = reckless;
    options.hands_over = hands_over;
    options.tolerance = tolerance;
    choose(input, &options.input);
    choose(logging, &options.logging);
    choose(topology, &options.topology);
    const ftrun::sim::Outcome outcome = ftrun::sim::simulate(options);
    all.add(outcome);
    if (!outcome.failure.empty()) {
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(options.seed),
                  outcome.failure.c_str());
      return 1;
    }
  }
  if (transitions) {
    fmt::print("{}\n", fmt::join(coverage.lines(), "\n"));
    return 0;
  }
  print(all, seeds,
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  fmt::print("{}\n", coverage.summary(ftrun::sim::known_transitions()));
  return 0;
}
