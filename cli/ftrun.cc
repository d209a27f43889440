// SPDX-License-Identifier: Apache-2.0
// ftrun: starts a unit (checks, run directory, one supervisor per replica) and stays in the
// foreground as if it were the server. See ftrun(1).
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/check.h"
#include "cli/doctor.h"
#include "cli/foreground.h"
#include "cli/options.h"
#include "cli/outlet.h"
#include "cli/standard_streams.h"
#include "cli/supervisors.h"
#include "cli/unit_dir.h"
#include "fmt/format.h"
#include "supervisor/members/founding.h"
#include "supervisor/process/program_check.h"
#include "supervisor/process/state_dirs.h"

namespace {

using ftrun::Error;
using ftrun::Result;
namespace cli = ftrun::cli;
namespace process = ftrun::process;

int complain(const Error& error, int exit_status) {
  cli::say(error.message);
  return exit_status;
}

// Everything that can be known before anything is started. 0, or ftrun's exit status.
int check_first(cli::RunOptions* options) {
  const char* path = std::getenv("PATH");
  const auto program =
      process::find_program(options->command[0], path == nullptr ? "/bin:/usr/bin" : path);
  if (!program.ok()) {
    return complain(program.error(),
                    program.error().number == ENOENT ? cli::kExitNotFound : cli::kExitCannotRun);
  }
  const Result<void> runnable = process::check_program(*program);
  if (!runnable.ok()) {
    return complain(runnable.error(), cli::kExitCannotRun);
  }
  const auto preload = process::find_preload_library();
  if (!preload.ok()) {
    return complain(preload.error(), cli::kExitFailed);
  }
  const Result<void> kernel = process::check_kernel();
  if (!kernel.ok()) {
    return complain(kernel.error(), cli::kExitFailed);
  }
  return 0;
}

Result<void> settle_state(cli::RunOptions* options) {
  auto directories = process::check_state_dirs(options->state_dirs);
  FTRUN_TRY(directories);
  options->state_dirs = std::move(*directories);
  std::vector<std::string> report;
  const Result<void> settled =
      process::settle_copies(options->state_dirs, options->recover, &report);
  for (const std::string& line : report) {
    cli::say(line);
  }
  return settled;
}

// Claims the run directory; its canonical name.
Result<std::string> claim(const cli::RunOptions& options) {
  std::string run_dir = options.run_dir;
  if (run_dir.empty()) {
    FTRUN_TRY(cli::make_private_directory(cli::units_directory()));
    run_dir = fmt::format("{}/{}", cli::units_directory(), options.unit);
  }
  std::vector<std::string> notes;
  FTRUN_TRY(cli::claim_run_directory(run_dir, options.unit, &notes));
  for (const std::string& note : notes) {
    cli::say("note: " + note);
  }
  char* real = realpath(run_dir.c_str(), nullptr);
  if (real == nullptr) {
    return ftrun::system_error(run_dir, errno);
  }
  run_dir = real;
  free(real);
  FTRUN_TRY(cli::write_unit_file(run_dir,
                                 {options.unit, options.replicas, options.command[0], getpid()}));
  if (!options.run_dir.empty()) {
    auto published = cli::publish_name(run_dir, options.unit);
    FTRUN_TRY(published);
    if (!*published) {
      cli::say(
          fmt::format("note: another running unit is called {}: reach this one with ftctl "
                      "--run-dir {}",
                      options.unit, run_dir));
    }
  }
  return run_dir;
}

// What was asked for, on standard output; `exit_code`, or `failed` if it cannot be written.
int show(const std::string& text, int exit_code, int failed) {
  cli::print(text);
  return cli::flush_output("ftrun") ? exit_code : failed;
}

// After the run of `ftrun check`: its report, and ftrun's exit status.
int conclude(cli::Check* check, int asked_by) {
  const cli::CheckReport report = check->finish(asked_by);
  cli::settle_outlets();
  return show(report.text, report.exit_code, cli::kCheckImpossible);
}

Result<int> run_unit(const cli::RunOptions& options, const std::string& run_dir) {
  auto path = cli::find_supervisor();
  FTRUN_TRY(path);
  auto founding = ftrun::Founding::create(static_cast<unsigned>(options.replicas),
                                          options.transport == "tcp", options.command);
  FTRUN_TRY(founding);
  auto foreground = cli::Foreground::create(options.unit, run_dir, options.replicas);
  FTRUN_TRY(foreground);
  for (int replica = 0; replica < options.replicas; ++replica) {
    const std::string id(1, static_cast<char>('a' + replica));
    auto supervisor = cli::start_supervisor(*path, options, run_dir, id, *founding);
    FTRUN_TRY(supervisor);
    (*foreground)->add(std::move(*supervisor));
  }
  (*foreground)->follow(founding->take_memory(), founding->take_consoles());
  if (!options.check) {
    return (*foreground)->run();
  }
  cli::Check check(options, run_dir);
  (*foreground)->every_round([&check] { check.look(); });
  const int status = (*foreground)->run();
  return status == cli::kExitCannotRun ? cli::kCheckImpossible
                                       : conclude(&check, (*foreground)->ended_by());
}

int start(cli::RunOptions* options) {
  signal(SIGPIPE, SIG_IGN);  // whoever reads what we say may leave
  const int refused = check_first(options);
  if (refused != 0) {
    return options->check ? cli::kCheckImpossible : refused;
  }
  const int failed = options->check ? cli::kCheckImpossible : cli::kExitFailed;
  // ORDER: the unit's name first; then nobody else of that name touches the state directories.
  const auto run_dir = claim(*options);
  if (!run_dir.ok()) {
    return complain(run_dir.error(), failed);
  }
  const Result<void> settled = settle_state(options);
  if (!settled.ok()) {
    return complain(settled.error(), failed);
  }
  const auto status = run_unit(*options, *run_dir);
  return status.ok() ? *status : complain(status.error(), failed);
}

}  // namespace

int main(int argc, char** argv) {
  cli::fill_standard_descriptors();
  signal(SIGXFSZ, SIG_IGN);  // EFBIG says it too, and ends nobody
  ftrun::hide_environment();
  // A program of that name is started by `ftrun -- doctor`.
  if (argc == 2 && std::strcmp(argv[1], "doctor") == 0) {
    const cli::Diagnosis diagnosis = cli::diagnose_host();
    return show(diagnosis.text, diagnosis.able ? 0 : 1, 1);
  }
  cli::ParsedOptions parsed = cli::parse_run_options(argc, argv);
  if (parsed.done && parsed.exit_code == 0) {
    return show(parsed.text, 0, cli::kExitFailed);
  }
  if (parsed.done) {
    cli::print_error(parsed.text);
    return parsed.exit_code;
  }
  // What follows the program's name may be a password, and ps shows it to everybody.
  const int words = static_cast<int>(parsed.options.command.size()) - 1;
  ftrun::hide_words(argv + argc - words, words);
  const int exit_status = start(&parsed.options);
  cli::settle_outlets();
  return exit_status;
}
