// SPDX-License-Identifier: Apache-2.0
// ftctl: looks at running units and stops them. See ftctl(1). It only asks: a unit needs no ftctl.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "CLI/CLI.hpp"
#include "cli/ftctl_commands.h"
#include "cli/standard_streams.h"
#include "cli/unit_dir.h"
#include "cli/unit_status.h"
#include "fmt/format.h"

namespace {

using ftrun::Error;
using ftrun::Result;
namespace cli = ftrun::cli;

constexpr int kMisuse = 2;
constexpr int kOutputLost = 4;

struct Options {
  std::string unit;
  std::string run_dir;
  bool json = false;
  bool follow = false;
  bool all = false;
  int wait_ms = 0;
  std::string role, to;  // of switchover
};

std::string canonical(const std::string& path) {
  char* real = realpath(path.c_str(), nullptr);
  const std::string found = real == nullptr ? path : real;
  free(real);
  return found;
}

// The run directory that the command line means.
Result<std::string> choose_unit(const Options& options) {
  if (!options.run_dir.empty()) {
    return canonical(options.run_dir);
  }
  if (!options.unit.empty()) {
    FTRUN_TRY(cli::check_unit_name(options.unit));
    const std::string path = fmt::format("{}/{}", cli::units_directory(), options.unit);
    if (access(path.c_str(), F_OK) != 0) {
      return Error{
          fmt::format("there is no unit {} (in {})", options.unit, cli::units_directory())};
    }
    return canonical(path);
  }
  auto units = cli::find_running_units();
  FTRUN_TRY(units);
  if (units->size() == 1) {
    return units->front().run_dir;
  }
  if (units->empty()) {
    return Error{fmt::format("no unit is running (in {})", cli::units_directory())};
  }
  std::string names;
  for (const cli::RunningUnit& unit : *units) {
    names += (names.empty() ? "" : ", ") + unit.unit;
  }
  return Error{fmt::format("several units are running, say which with --unit: {}", names)};
}

int complain(const Error& error, int exit_code) {
  cli::print_error(fmt::format("ftctl: {}\n", error.message));
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  cli::fill_standard_descriptors();
  Options options;
  CLI::App app("Looks at units that ftrun runs.", "ftctl");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("ftctl ") + FTRUN_VERSION);
  app.add_option("--unit", options.unit, "the unit (default: the only one that runs)");
  app.add_option("--run-dir", options.run_dir, "its run directory, where ftrun was given one");
  CLI::App* status = app.add_subcommand(
      "status", "who is in the unit; exit 0 protected, 1 unprotected, 2 repairing, 3 no such unit");
  status->add_flag("--json", options.json, "one JSON object");
  CLI::App* events = app.add_subcommand("events", "what has happened to the unit, as JSON lines");
  events->add_flag("--follow", options.follow, "go on until the unit has ended");
  CLI::App* logs = app.add_subcommand("logs", "what the program wrote to stdout and stderr lately");
  CLI::App* report = app.add_subcommand(
      "report", "why a replica was given up, with call stacks; exit 1 when there is no report");
  report->add_flag("--all", options.all, "also those of earlier failures");
  CLI::App* stop = app.add_subcommand("stop", "SIGTERM to the program, as input of the unit");
  stop->add_option("--wait-ms", options.wait_ms, "and wait so long for the unit's end")
      ->check(CLI::Range(0, 3'600'000));
  CLI::App* switchover =
      app.add_subcommand("switchover", "hands a part to another replica; no client notices");
  switchover->add_option("role", options.role, "primary or sender")
      ->required()
      ->check(CLI::IsMember({"primary", "sender"}));
  switchover->add_option("replica", options.to, "who gets it, as status names it")->required();
  app.fallthrough();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    cli::print_error(fmt::format("ftctl: {}\nTry 'ftctl --help'.\n", error.what()));
    return kMisuse;
  }
  const auto run_dir = choose_unit(options);
  if (!run_dir.ok()) {
    return complain(run_dir.error(), cli::kNoSuchUnitExitCode);
  }
  Result<int> outcome = 0;
  if (status->parsed()) {
    outcome = cli::show_status(*run_dir, options.json);
  } else if (events->parsed()) {
    outcome = cli::show_events(*run_dir, options.follow);
  } else if (logs->parsed()) {
    outcome = cli::show_logs(*run_dir);
  } else if (report->parsed()) {
    outcome = cli::show_reports(*run_dir, options.all);
  } else if (stop->parsed()) {
    outcome = cli::stop_unit(*run_dir, options.wait_ms);
  } else if (switchover->parsed()) {
    outcome = cli::switch_over(*run_dir, options.role, options.to);
  }
  const int exit_code =
      outcome.ok() ? *outcome : complain(outcome.error(), cli::kNoSuchUnitExitCode);
  return cli::flush_output("ftctl") ? exit_code : kOutputLost;
}
