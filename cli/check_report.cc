// SPDX-License-Identifier: Apache-2.0
// See check_report.h. Lines look like the doctor's: a word, what, and what it means.
#include "cli/check_report.h"

#include <signal.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "supervisor/process/launch.h"

namespace ftrun::cli {
namespace {

constexpr size_t kFunctionsShownMax = 12;  // of one object

struct Lines {
  CheckReport report;
  void add(const char* word, const std::string& what, const std::string& text) {
    report.text += fmt::format("{:8}{:14}{}\n", word, what, text);
  }
  // What forbids or endangers replication.
  void danger(const std::string& what, const std::string& text) {
    add("danger", what, text);
    report.exit_code = kCheckFound;
  }
};

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::string times(int count, const char* what) {
  return count == 1 ? "" : fmt::format(" ({} {})", count, what);
}

CallOutcome outcome_of_notice(const std::string& text) {
  const bool older_kernel = text.starts_with("system call ") && text.find("ENOSYS") != text.npos;
  const bool option = text.starts_with("refused: setsockopt") ||
                      text.starts_with("refused: getsockopt") || text.starts_with("job control");
  return older_kernel || option ? CallOutcome::kFallback : CallOutcome::kFailed;
}

void say_end(const CheckFindings& findings, Lines* lines) {
  const bool refused =
      std::any_of(findings.calls.begin(), findings.calls.end(),
                  [](const CallFinding& call) { return call.outcome == CallOutcome::kEnded; });
  const int status = findings.exit_status.value_or(0);
  const char* signal_name = findings.stop_signal > 0 ? sigabbrev_np(findings.stop_signal) : nullptr;
  const std::string asked = signal_name == nullptr ? "" : fmt::format("SIG{}", signal_name);
  if (refused) {
    lines->danger("end", "ftrun ended the server at a call that it refuses");
  } else if (!findings.failure.empty()) {
    lines->danger("end", "the server failed: " + first_line(findings.failure));
  } else if (findings.ended_by_force) {
    lines->danger("end",
                  fmt::format("the server did not end after {}: it was ended by force", asked));
  } else if (!findings.exit_status) {
    lines->danger("end", "the server was lost: no exit status is known");
  } else if (findings.stop_signal != 0 && status == 128 + findings.stop_signal) {
    lines->add("ok", "end", fmt::format("the server was ended by {}, as asked", asked));
  } else if (status != 0) {
    lines->danger("end", fmt::format("the server ended with status {}{}", status,
                                     asked.empty() ? "" : " after " + asked));
  } else {
    lines->add("ok", "end",
               fmt::format("the server ended with status 0{}",
                           asked.empty() ? "" : " after " + asked + ", as asked"));
  }
}

void say_calls(const CheckFindings& findings, Lines* lines) {
  for (const CallFinding& call : findings.calls) {
    const std::string text = first_line(call.text) + times(call.count, "times");
    switch (call.outcome) {
      case CallOutcome::kEnded:
        lines->danger("refused call", text);
        break;
      case CallOutcome::kFailed:
        lines->danger("failed call", text);
        break;
      case CallOutcome::kFallback:
        lines->add("note", "denied call", text);
        break;
    }
  }
  if (findings.calls.empty()) {
    lines->add("ok", "calls", "none was refused or denied");
  }
}

void say_spins(const CheckFindings& findings, Lines* lines) {
  if (findings.spins == 0) {
    lines->add("ok", "progress", "never 100 ms of CPU time without a record");
    return;
  }
  lines->add("warning", "progress",
             fmt::format("possible spin loop or long computation: {} intervals of 100 ms of CPU "
                         "time or more without a record, longest {} ms",
                         findings.spins, findings.longest_spin_ms));
  for (const auto& [place, count] : findings.spin_places) {
    lines->add("", "", fmt::format("in {}{}", place, times(count, "times")));
  }
}

void say_uses(const ObjectScan& object, bool is_program, const std::string& harmless,
              Lines* lines) {
  size_t shown = 0;
  size_t hidden = 0;
  for (const FunctionUse& use : object.uses) {
    const bool escapes = escapes_log(use.instruction);
    const char* word = escapes && is_program ? "danger" : escapes ? "warning" : "note";
    if (escapes && is_program) {
      lines->report.exit_code = kCheckFound;
    }
    if (++shown > kFunctionsShownMax && !(escapes && is_program)) {
      ++hidden;
      continue;
    }
    lines->add(harmless.empty() ? word : "note", instruction_name(use.instruction),
               fmt::format("possible, in {}, {}{}", object.path, use.function,
                           times(use.places, "places")));
  }
  if (hidden > 0) {
    lines->add("", "", fmt::format("and {} more functions of {}", hidden, object.path));
  }
}

// One line for an object about which something is known.
void say_harmless(const ObjectScan& object, const std::string& why, Lines* lines) {
  std::map<std::string, int> places;
  for (const FunctionUse& use : object.uses) {
    places[instruction_name(use.instruction)] += use.places;
  }
  std::string names;
  for (const auto& [name, count] : places) {
    names += fmt::format("{}{}{}", names.empty() ? "" : ", ", name, times(count, "places"));
  }
  lines->add("note", "known", fmt::format("{} in {}: {}", names, object.path, why));
}

void say_instructions(const CheckFindings& findings, Lines* lines) {
  bool own = false;
  for (const ObjectScan& object : findings.objects) {
    const bool is_program = object.path == findings.program;
    if (is_program) {
      say_uses(object, true, "", lines);
      own = own || std::any_of(object.uses.begin(), object.uses.end(),
                               [](const FunctionUse& use) { return escapes_log(use.instruction); });
    }
    if (is_program && object.undecoded > 0) {
      lines->add("note", "bytes",
                 fmt::format("{} patterns of such instructions inside other instructions, or in "
                             "data, are not counted",
                             object.undecoded));
    }
  }
  if (!own) {
    lines->add("ok", "instructions", "no RDRAND, RDSEED or RDPID in the program itself");
  }
  for (const ObjectScan& object : findings.objects) {
    if (object.path != findings.program && !object.uses.empty()) {
      const std::string why = harmless_because(object.path);
      why.empty() ? say_uses(object, false, why, lines) : say_harmless(object, why, lines);
    }
  }
  for (const std::string& object : findings.unread_objects) {
    lines->add("warning", "not scanned", object);
  }
}

void say_volume(const LogVolume& volume, Lines* lines) {
  if (volume.seconds <= 0) {
    lines->add("note", "log", "the server ended before its log could be measured");
    return;
  }
  lines->add("note", "log",
             fmt::format("{} records ({:.0f} a second), {} bytes ({:.0f} a second)", volume.records,
                         static_cast<double>(volume.records) / volume.seconds, volume.log_bytes,
                         static_cast<double>(volume.log_bytes) / volume.seconds));
  lines->add(
      "note", "input",
      volume.input_bytes == 0
          ? std::string("none: the server was not under load, so most of it was not seen")
          : fmt::format(
                "{} bytes of client input ({:.0f} a second); {:.2f} bytes of log for "
                "each, input included",
                volume.input_bytes, static_cast<double>(volume.input_bytes) / volume.seconds,
                static_cast<double>(volume.log_bytes) / static_cast<double>(volume.input_bytes)));
}

}  // namespace

std::vector<CallFinding> find_calls(const std::vector<std::string>& event_lines,
                                    std::string* failure) {
  std::vector<CallFinding> calls;
  for (const std::string& line : event_lines) {
    const nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
    if (!event.is_object()) {
      continue;
    }
    const std::string kind = event.value("kind", "");
    CallFinding found;
    found.text = first_line(event.value("text", ""));
    if (kind == "app_failed" && found.text.starts_with("system call ") &&
        found.text.find(" is not supported") != std::string::npos) {
      found.outcome = CallOutcome::kEnded;
    } else if (kind == "app_failed") {
      *failure = event.value("text", "");
      continue;
    } else if (kind == "notice") {
      found.outcome = outcome_of_notice(found.text);
    } else {
      continue;
    }
    const auto same = std::find_if(calls.begin(), calls.end(), [&found](const CallFinding& call) {
      return call.text == found.text;
    });
    if (same == calls.end()) {
      calls.push_back(found);
    } else {
      ++same->count;
    }
  }
  std::stable_sort(calls.begin(), calls.end(), [](const CallFinding& a, const CallFinding& b) {
    return a.outcome < b.outcome;
  });
  return calls;
}

std::vector<CallFinding> read_call_findings(const std::string& run_dir, std::string* failure) {
  std::ifstream file(run_dir + "/events.jsonl");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
  }
  return find_calls(lines, failure);
}

CheckReport check_report(const CheckFindings& findings) {
  Lines lines;
  lines.report.text =
      fmt::format("ftrun check of {}, {:.1f} s:\n", findings.program, findings.volume.seconds);
  say_end(findings, &lines);
  say_calls(findings, &lines);
  say_spins(findings, &lines);
  say_instructions(findings, &lines);
  say_volume(findings.volume, &lines);
  lines.report.text += lines.report.exit_code == kCheckClean
                           ? "Nothing was found that forbids or endangers replication.\n"
                           : "Something was found that forbids or endangers replication.\n";
  return lines.report;
}

}  // namespace ftrun::cli
