// SPDX-License-Identifier: Apache-2.0
// See check_grades.h.
#include "cli/check_grades.h"

#include <algorithm>
#include <array>

namespace ftrun::cli {
namespace {

struct Rule {
  std::string_view has;       // all of these stand in the notice
  std::string_view has_also;  // (empty: no matter)
  Verdict verdict;
};

// The first that fits. What libc does by itself is told by the caller.
constexpr std::array kRules = {
    Rule{"socket(AF_UNIX, SOCK_STREAM",
         "libc.so",
         {Grade::kHarmless, "libc looks for nscd, and then reads the files itself"}},
    Rule{"socket(AF_UNIX, SOCK_DGRAM",
         "libc.so",
         {Grade::kLoses, "what it logs by syslog(); let it log to standard error"}},
    Rule{"socket(AF_NETLINK",
         "libc.so",
         {Grade::kHarmless, "libc asks for the interfaces, and does without"}},
    Rule{"fork", "", {Grade::kLoses, "what it does in child processes"}},
    Rule{"exec", "", {Grade::kLoses, "what the other program was to do"}},
    Rule{"inotify", "", {Grade::kLoses, "it does not notice that files change"}},
    Rule{"setsockopt", "", {Grade::kHarmless, "the option has no effect"}},
    Rule{"getsockopt", "", {Grade::kHarmless, "programs do without"}},
    Rule{"job control", "", {Grade::kHarmless, "a server is not stopped from a terminal"}},
    Rule{"write", " /proc/", {Grade::kHarmless, "a setting of the process, which stays as it is"}},
    Rule{"write", " /sys/", {Grade::kHarmless, "a setting of the host, which stays as it is"}},
    Rule{"write", "", {Grade::kLoses, "what it writes there"}},
    Rule{"connect", "", {Grade::kLoses, "what it wanted from there"}},
};

// System calls that older kernels and other systems lack: who makes them has another way.
constexpr std::array<std::string_view, 14> kNewerCalls = {
    "io_uring_setup",  "memfd_create", "sendmmsg",   "recvmmsg", "seccomp",
    "copy_file_range", "splice",       "pidfd_open", "openat2",  "userfaultfd",
    "perf_event_open", "bpf",          "landlock",   "clone3"};

bool is_newer_call(std::string_view text) {
  static constexpr std::string_view kPrefix = "system call ";
  return text.starts_with(kPrefix) &&
         std::any_of(kNewerCalls.begin(), kNewerCalls.end(), [text](std::string_view call) {
           return text.substr(kPrefix.size()).starts_with(call);
         });
}

}  // namespace

const char* grade_name(Grade grade) {
  switch (grade) {
    case Grade::kStops:
      return "stops";
    case Grade::kLoses:
      return "loses";
    case Grade::kHarmless:
      return "harmless";
  }
  return "loses";
}

Verdict verdict_of_notice(std::string_view text) {
  if (is_newer_call(text)) {
    return {Grade::kHarmless, "an older kernel answers so: programs have another way"};
  }
  for (const Rule& rule : kRules) {
    if (text.find(rule.has) != text.npos && text.find(rule.has_also) != text.npos) {
      return rule.verdict;
    }
  }
  return {};
}

}  // namespace ftrun::cli
