// SPDX-License-Identifier: Apache-2.0
// See failure.h. Runs in the application; calls only the gate and this folder.
#include "preload/failure.h"

#include <time.h>

#include "preload/doors.h"
#include "preload/raw.h"
#include "preload/record_text.h"

namespace ftrun::shim {
namespace {

// Longer than the supervisor looks at stacks (supervisor/replica/evidence.cc); it kills us after.
constexpr time_t kStandStillSeconds = 2;

struct FailureText {
  Control* control;
  size_t length = 0;
  void add(const char* text) {
    for (; *text != '\0' && length + 1 < kFailureTextBytes; ++text) {
      control->failure_text[length++] = *text;
    }
    control->failure_text[length] = '\0';
  }
};

bool starts_with(const char* text, const char* prefix) {
  while (*prefix != '\0' && *text == *prefix) {
    ++text;
    ++prefix;
  }
  return *prefix == '\0';
}

void describe_thread(FailureText* report) {
  const Thread* thread = self();
  if (thread == nullptr) {
    return;
  }
  Text text;
  text.add("  thread ").add(int64_t{thread->index}).add(" (tid ").add(int64_t{thread->tid});
  text.add(" in its namespace), call ").add(static_cast<int64_t>(thread->calls));
  if (thread->last_connection != 0) {
    text.add(", last read from connection ").add(int64_t{thread->last_connection});
  }
  report->add(text.add("\n").c_str());
}

}  // namespace

void doors_fail(ShimFailure kind, const char* text) {
  Control* control = doors_control();
  if (control != nullptr) {
    FailureText report = {control};
    if (kind == ShimFailure::kDiverged && !starts_with(text, "diverged")) {
      report.add("diverged: ");
    }
    report.add(text);
    describe_thread(&report);
    // ORDER: the text is complete before the supervisor may see that there is one.
    control->failure.store(kind, std::memory_order_release);
    const uint64_t one = 1;
    raw(__NR_write, control->doorbell_fd, &one, sizeof(one));
    const struct timespec still = {kStandStillSeconds, 0};
    raw(__NR_nanosleep, &still, nullptr);
  }
  for (;;) {
    raw(__NR_exit_group, 125);
  }
}

void fail_diverged(uint64_t lsn, const Record& logged, const Record& here) {
  Text text;
  text.add("diverged at record ").add(static_cast<int64_t>(lsn)).add("\n");
  describe_record(text, logged, RecordOrigin::kLog);
  describe_record(text, here, RecordOrigin::kReplica);
  doors_fail(ShimFailure::kDiverged, text.c_str());
}

void shim_fail(const char* what, int64_t value1, int64_t value2) {
  Text text;
  text.add("internal: ").add(what).add(" (").add(value1).add(", ").add(value2).add(")\n");
  doors_fail(ShimFailure::kInternal, text.c_str());
}

}  // namespace ftrun::shim
