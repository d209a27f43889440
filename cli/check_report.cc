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
constexpr uint64_t kForEverMs = 1'000;     // of a spin in whose midst the run ended

// The C library and what belongs to it call what they import for others only.
bool is_of_the_system(const std::string& path) {
  return !harmless_because(path).empty();
}

struct Lines {
  CheckReport report;
  void add(const char* word, const std::string& what, const std::string& text) {
    report.text += fmt::format("{:10}{:14}{}\n", word, what, text);
  }
  void add(Grade grade, const std::string& what, const std::string& text) {
    add(grade_name(grade), what, text);
    ++found[static_cast<size_t>(grade)];
    report.exit_code = grade == Grade::kStops ? kCheckFound : report.exit_code;
  }
  void stops(const std::string& what, const std::string& text) { add(Grade::kStops, what, text); }
  int found[3] = {};
};

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::string times(int count, const char* what) {
  return count == 1 ? "" : fmt::format(" ({} {})", count, what);
}

void say_end(const CheckFindings& findings, Lines* lines) {
  const bool refused =
      std::any_of(findings.calls.begin(), findings.calls.end(),
                  [](const CallFinding& call) { return call.grade == Grade::kStops; });
  const int status = findings.exit_status.value_or(0);
  const char* signal_name = findings.stop_signal > 0 ? sigabbrev_np(findings.stop_signal) : nullptr;
  const std::string asked = signal_name == nullptr ? "" : fmt::format("SIG{}", signal_name);
  if (refused) {
    lines->stops("end", "ftrun ended the server at a call that it refuses");
  } else if (findings.ended_by_force) {
    // What the events say of this end is of our making.
    lines->add(Grade::kLoses, "end",
               fmt::format("the server did not end after {}: it was ended by force", asked));
  } else if (!findings.failure.empty()) {
    lines->stops("end", "the server failed: " + first_line(findings.failure));
  } else if (!findings.exit_status) {
    lines->stops("end", "the server was lost: no exit status is known");
  } else if (findings.stop_signal != 0 && status == 128 + findings.stop_signal) {
    lines->add("ok", "end", fmt::format("the server was ended by {}, as asked", asked));
  } else if (status != 0) {
    lines->stops("end", fmt::format("the server ended with status {}{}", status,
                                    asked.empty() ? "" : " after " + asked));
  } else {
    lines->add("ok", "end",
               fmt::format("the server ended with status 0{}",
                           asked.empty() ? "" : " after " + asked + ", as asked"));
  }
}

void say_calls(const CheckFindings& findings, Lines* lines) {
  for (const CallFinding& call : findings.calls) {
    lines->add(call.grade, call.grade == Grade::kStops ? "refused call" : "failed call",
               first_line(call.text) + times(call.count, "times") +
                   (call.meaning.empty() ? "" : "; " + call.meaning));
  }
  if (findings.calls.empty()) {
    lines->add("ok", "calls", "none was refused or denied");
  }
}

// What the program can call, and did not in this run.
void say_unseen(const CheckFindings& findings, Lines* lines) {
  for (const ObjectScan& object : findings.objects) {
    std::string names;
    for (const std::string& name : object.doubtful) {
      const bool seen = std::any_of(
          findings.calls.begin(), findings.calls.end(),
          [&name](const CallFinding& call) { return call.text.find(name) != std::string::npos; });
      names += seen ? "" : (names.empty() ? "" : ", ") + name;
    }
    if (!names.empty() && (object.path == findings.program || !is_of_the_system(object.path))) {
      lines->add("unseen", "calls",
                 fmt::format("{} can call {}; this run did not", object.path, names));
    }
  }
}

void say_spins(const CheckFindings& findings, Lines* lines) {
  if (findings.spins == 0) {
    lines->add("ok", "progress", "never 100 ms of CPU time without a record");
    return;
  }
  // On a full machine the looks see pieces of one spin; its supervisor has seen the whole.
  const bool for_ever = findings.spin_at_end_ms >= kForEverMs ||
                        findings.failure.find("has made no call") != std::string::npos;
  lines->add(
      for_ever ? Grade::kStops : Grade::kHarmless, "progress",
      fmt::format("{}: {} intervals of 100 ms of CPU time or more without a record, longest "
                  "{} ms{}",
                  for_ever ? "a spin loop, or a computation that did not end" : "long computation",
                  findings.spins, findings.longest_spin_ms,
                  for_ever ? "; a thread that waits for another by spinning never gets on" : ""));
  for (const auto& [place, count] : findings.spin_places) {
    lines->add("", "", fmt::format("in {}{}", place, times(count, "times")));
  }
}

// In the program itself what escapes the log stops it, as soon as it is used; in a library nobody
// knows whether it is.
Grade grade_of_use(const ObjectScan& object, const FunctionUse& use, bool is_program) {
  if (!escapes_log(use.instruction)) {
    return Grade::kHarmless;
  }
  const bool named = !use.function.starts_with("offset ");
  if (object.has_openssl && (!named || use.function.starts_with("OPENSSL_ia32"))) {
    return Grade::kHarmless;
  }
  return is_program ? Grade::kStops : Grade::kLoses;
}

void say_uses(const ObjectScan& object, bool is_program, Lines* lines) {
  size_t shown = 0;
  size_t hidden = 0;
  for (const FunctionUse& use : object.uses) {
    const Grade grade = grade_of_use(object, use, is_program);
    if (++shown > kFunctionsShownMax && grade != Grade::kStops) {
      ++hidden;
      continue;
    }
    const bool disarmed = grade == Grade::kHarmless && escapes_log(use.instruction);
    lines->add(grade, instruction_name(use.instruction),
               fmt::format("possible, in {}, {}{}{}", object.path, use.function,
                           times(use.places, "places"),
                           disarmed ? "; OpenSSL's, which is told not to use it" : ""));
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
      say_uses(object, true, lines);
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
      why.empty() ? say_uses(object, false, lines) : say_harmless(object, why, lines);
    }
  }
  for (const std::string& object : findings.unread_objects) {
    lines->add("unseen", "not scanned", object);
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

std::string conclusion(const Lines& lines) {
  const int stops = lines.found[static_cast<size_t>(Grade::kStops)];
  const int loses = lines.found[static_cast<size_t>(Grade::kLoses)];
  if (stops > 0) {
    return "Something was found that stops it in replicas.\n";
  }
  return loses > 0 ? "Nothing was found that stops it; something is lost.\n"
                   : "Nothing was found that forbids or endangers replication.\n";
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
      found.grade = Grade::kStops;
    } else if (kind == "app_failed") {
      *failure = event.value("text", "");
      continue;
    } else if (kind == "notice") {
      const Verdict verdict = verdict_of_notice(found.text);
      found.grade = verdict.grade;
      found.meaning = verdict.meaning;
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
  std::stable_sort(calls.begin(), calls.end(),
                   [](const CallFinding& a, const CallFinding& b) { return a.grade < b.grade; });
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
  say_unseen(findings, &lines);
  say_spins(findings, &lines);
  say_instructions(findings, &lines);
  say_volume(findings.volume, &lines);
  lines.report.text += conclusion(lines);
  return lines.report;
}

}  // namespace ftrun::cli
