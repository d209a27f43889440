// SPDX-License-Identifier: Apache-2.0
// Collects what a divergence leaves to be seen: see evidence.h. Runs in the supervisor's event
// loop.
#include "supervisor/replica/evidence.h"

#include <fmt/format.h>

#include <string_view>

namespace ftrun {

namespace {

constexpr int kEvidenceMs = 100;  // below every time-out, far below the shim's standing still

std::string with_newline(std::string text) {
  if (!text.ends_with('\n')) {
    text += '\n';
  }
  return text;
}

std::string_view moment(Evidence::Subject subject) {
  switch (subject) {
    case Evidence::Subject::kOfSurvivor:
      return "which was right to go on and has done so since";
    case Evidence::Subject::kOfStopped:
      return "as it stands at the call";
    default:
      return "soon after the output in question; it may have moved on since";
  }
}

}  // namespace

Result<void> Evidence::begin(Case what, pid_t application, int64_t now_ns) {
  FTRUN_ASSERT(!begun());
  case_ = std::move(what);
  wanted_.reset();
  deadline_ns_ = now_ns + int64_t{kEvidenceMs} * 1'000'000;
  return stacks_.start(application);
}

bool Evidence::complete(int64_t now_ns) {
  FTRUN_ASSERT(begun());
  stacks_.read();
  return !stacks_.running() || now_ns >= deadline_ns_;
}

std::string Evidence::text(pid_t application) const {
  std::string text = with_newline(case_.why);
  if (!case_.difference.empty()) {
    text += with_newline(case_.difference);
  }
  text += fmt::format("\nCall stacks of this replica's application (pid {}), {}:\n", application,
                      moment(case_.subject));
  text += with_newline(stacks_.text());
  if (stacks_.running()) {
    text += fmt::format("(not complete within {} ms)\n", kEvidenceMs);
  }
  return text;
}

void Evidence::hold(unit::ReplicaId to, const unit::Frame& frame) {
  news_.to.push_back(to);
  news_.frame = frame;
  news_.bytes.assign(frame.bytes.begin(), frame.bytes.end());
}

Evidence::News Evidence::finish() {
  stacks_.stop();
  case_.subject = Subject::kNone;
  return std::exchange(news_, {});
}

}  // namespace ftrun
