// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <sstream>

#include "CLI/CLI.hpp"
#include "cli/unit_dir.h"
#include "fmt/format.h"

namespace ftrun::cli {
namespace {

constexpr int kMisuse = 2;

// "8M", "512k", "1048576": a size in memory.
CLI::Option* add_size(CLI::App* app, const char* name, uint64_t* bytes, const char* text) {
  return app->add_option(name, *bytes, text)
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(kMemoryBytesMin, kMemoryBytesMax));
}

void describe_queues(CLI::App* app, RunOptions* options) {
  add_size(app, "--run-ahead", &options->run_ahead_bytes,
           "log that the slowest copy may be behind before it slows the program down: 256K to 1G "
           "(default 8M)");
  add_size(app, "--input-memory", &options->input_memory_bytes,
           "input that may wait for the program before clients do: 256K to 1G (default 32M)");
  add_size(app, "--orphan-memory", &options->orphan_memory_bytes,
           "output kept for clients of connections that the program has closed: 256K to 1G "
           "(default 64M)");
  app->add_option("--sender-lag", options->sender_lag,
                  "in a fan-out, whether whoever is to follow the sender stays behind it: on or "
                  "off (default)")
      ->check(CLI::IsMember({"on", "off"}));
}

void describe(CLI::App* app, RunOptions* options) {
  app->add_option("--unit", options->unit, "name of the unit (default: the program's name)");
  app->add_option("--replicas", options->replicas, "copies to run (default 2; 1 protects nothing)")
      ->check(CLI::Range(1, kReplicasMax));
  app->add_option("--topology", options->topology,
                  "how the log travels with three replicas and more: chain (default) from one to "
                  "the next, fanout from the primary to all others")
      ->check(CLI::IsMember({"chain", "fanout"}));
  app->add_option(
         "--logging", options->logging,
         "when the log travels: late (default), turn by turn; early, as it is made, so that "
         "the other copies compute beside the primary; independent is late with "
         "--input reference")
      ->check(CLI::IsMember({"late", "early", "independent"}));
  app->add_option("--input", options->input,
                  "how clients' input gets to the other copies where the log travels in frames: "
                  "reference (default) sends it to each of them and refers to it in the log, log "
                  "puts it there")
      ->check(CLI::IsMember({"reference", "log"}));
  app->add_option("--promote", options->promote,
                  "who follows a dead primary in a fan-out: most-advanced (default), or "
                  "designated: always the next in line")
      ->check(CLI::IsMember({"most-advanced", "designated"}));
  app->add_option("--tolerance", options->tolerance,
                  "copies that may die at once (default 1): so many besides one have what a "
                  "client is told")
      ->check(CLI::Range(1, kReplicasMax - 1));
  app->add_option("--state-dir", options->state_dirs,
                  "a directory that the program may write; each replica has a copy; repeatable")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  app->add_option("--run-dir", options->run_dir,
                  "where the unit's sockets and logs are (default: by name, under "
                  "$XDG_RUNTIME_DIR/ftrun or /tmp/ftrun-<uid>)");
  app->add_option("--time-out-ms", options->time_out_ms,
                  "silence after which a supervisor counts as failed (default 150)")
      ->check(CLI::Range(kTimeOutMsMin, kTimeOutMsMax));
  describe_queues(app, options);
  app->add_option("--on-crash", options->on_crash,
                  "when a request has crashed the primary: quarantine (default) resets the "
                  "connection that it came from, retry (default with --logging early) offers it to "
                  "the survivor too")
      ->check(CLI::IsMember({"quarantine", "retry"}));
  app->add_option("--quarantine-hold", options->quarantine_hold_ms,
                  "milliseconds for which new connections of that client's host wait then "
                  "(default 5000)")
      ->check(CLI::Range(0, kQuarantineHoldMsMax));
  app->add_option("--spin-limit", options->spin_limit_seconds,
                  "give up a copy whose program has computed for so many seconds without a "
                  "call (default: never)")
      ->check(CLI::Range(0.0, kSpinSecondsMax));
  app->add_option("--stop-grace", options->stop_grace_seconds,
                  "seconds for which such a program may let a signal to end wait (default 2)")
      ->check(CLI::Range(0.0, kSpinSecondsMax));
  app->add_option("--transport", options->transport,
                  "how input and log travel between the replicas: memory lets the sender's "
                  "supervisor read the primary's rings (default for two); unix (default for "
                  "more) and tcp send frames")
      ->check(CLI::IsMember({"memory", "unix", "tcp"}));
  app->add_flag("--no-filter", options->no_filter,
                "leave out the filter that refuses system calls beside the shim, too");
  app->add_flag("--recover", options->recover,
                "after an unclean end: go on with the newest copy of the state directories");
  app->add_option("--record-log", options->record_log, "also write the log to this file");
}

// Where the program starts: after "--", or at the first word that is no option and no option's
// value. CLI11 would take the program's own options for ours.
int find_command(const CLI::App& app, int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--" || !word.starts_with('-')) {
      return i;
    }
    // One with its value behind "=" is not found by this name.
    const CLI::Option* option = app.get_option_no_throw(word);
    i += option != nullptr && option->get_items_expected_max() > 0 ? 1 : 0;
  }
  return argc;
}

ParsedOptions misuse(const std::string& what) {
  ParsedOptions parsed;
  parsed.done = true;
  parsed.exit_code = kMisuse;
  parsed.text = fmt::format("ftrun: {}\nTry 'ftrun --help'.\n", what);
  return parsed;
}

// What does not go together; empty: all does.
std::string check_members(const RunOptions& options, bool tolerance_given) {
  if (tolerance_given && options.tolerance >= options.replicas) {
    return fmt::format("--tolerance {}: with {} cop{} at most {} may die", options.tolerance,
                       options.replicas, options.replicas == 1 ? "y" : "ies", options.replicas - 1);
  }
  if (options.promote == "designated" && options.topology == "chain") {
    return "--promote designated goes with --topology fanout: in a chain the next in line follows "
           "in any case";
  }
  if (options.logging == "independent" && options.input == "log") {
    return "--logging independent goes with --input reference: all copies get the input themselves";
  }
  if (options.logging == "early" && options.on_crash == "quarantine") {
    return "--on-crash quarantine does not go with --logging early: the other copies have run what "
           "crashes the primary before anybody knows that it does";
  }
  if (options.logging == "early" && options.sender_lag == "on") {
    return "--sender-lag on does not go with --logging early: the standby would have run what the "
           "sender has not";
  }
  if (options.sender_lag == "on" && options.topology != "fanout") {
    return "--sender-lag on goes with --topology fanout: in a chain whoever follows the sender has "
           "fed it, and is ahead of it";
  }
  if (options.sender_lag == "on" && options.replicas < 3) {
    return fmt::format(
        "--sender-lag on: with {} cop{} nobody stands by: the primary itself follows the sender",
        options.replicas, options.replicas == 1 ? "y" : "ies");
  }
  if (options.transport == "memory" && options.replicas > 2) {
    return fmt::format(
        "--transport memory is for two copies, not {}: with more of them, unix or tcp",
        options.replicas);
  }
  return "";
}

// What was not given and depends on what was. REQUIRES: a program was given.
void choose_defaults(const CLI::App& app, RunOptions* options) {
  if (options->logging == "early" && app.count("--on-crash") == 0) {
    options->on_crash = "retry";
  }
  if (options->transport.empty()) {
    options->transport = options->replicas <= 2 ? "memory" : "unix";
  }
  if (app.count("--unit") == 0) {
    const std::string& program = options->command[0];
    options->unit = program.substr(program.rfind('/') + 1);
  }
}

}  // namespace

ParsedOptions parse_run_options(int given_argc, const char* const* given_argv) {
  ParsedOptions parsed;
  CLI::App app("Runs copies of an unmodified server so that clients do not notice when one dies.",
               "ftrun");
  // For the help text only: what stands from the program on is never given to the parser.
  std::vector<std::string> program;
  app.add_option("program", program, "the server and its arguments, unchanged (best after --)");
  app.set_version_flag("--version", std::string("ftrun ") + FTRUN_VERSION);
  app.footer(
      "'ftrun check [--for SECONDS] -- PROGRAM' runs one copy while you put it under load, and "
      "says\n"
      "what would stand in the way of replicas: exit status 0 nothing, 1 something, 2 it was not "
      "run.\n"
      "'ftrun doctor' says what this host lacks, and what that costs.\n"
      "Exit status: the program's own; 2 misuse; 125 ftrun failed; 126 the program cannot "
      "run under ftrun; 127 it was not found.");
  RunOptions& options = parsed.options;
  describe(&app, &options);
  std::vector<const char*> words(given_argv, given_argv + given_argc);
  options.check = words.size() > 1 && std::string_view(words[1]) == "check";
  if (options.check) {
    app.add_option("--for", options.check_seconds, "end the program after so many seconds")
        ->check(CLI::Range(0.001, 1e6));
    words.erase(words.begin() + 1);
  }
  const auto argc = static_cast<int>(words.size());
  const char* const* const argv = words.data();
  const int command = find_command(app, argc, argv);
  try {
    app.parse(command, argv);
  } catch (const CLI::Success& success) {
    std::ostringstream out;
    parsed.exit_code = app.exit(success, out, out);
    parsed.text = out.str();
    parsed.done = true;
    return parsed;
  } catch (const CLI::ParseError& error) {
    return misuse(error.what());
  }
  int first = command;
  if (first < argc && std::string(argv[first]) == "--") {
    ++first;
  }
  parsed.options.command.assign(argv + first, argv + argc);
  if (parsed.options.command.empty()) {
    return misuse("no program is given");
  }
  if (!parsed.options.run_dir.empty() && parsed.options.run_dir[0] != '/') {
    return misuse(fmt::format("--run-dir must be absolute, not '{}'", parsed.options.run_dir));
  }
  if (options.check && app.count("--replicas") != 0) {
    return misuse("check runs one copy: --replicas makes no sense with it");
  }
  options.replicas = options.check ? 1 : options.replicas;
  choose_defaults(app, &options);
  const std::string wrong = check_members(options, app.count("--tolerance") != 0);
  if (!wrong.empty()) {
    return misuse(wrong);
  }
  const Result<void> named = check_unit_name(options.unit);
  return named.ok() ? parsed : misuse(named.error().message);
}

}  // namespace ftrun::cli
