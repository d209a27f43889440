// SPDX-License-Identifier: Apache-2.0
// A replica whose application has diverged (or broken another rule of the log): call stacks are
// collected before it ends, and a report is kept. Also the report of the replica that goes on. See
// replica.h and reports.h. Runs in the supervisor's event loop, which goes on meanwhile.
//
// ORDER: stacks first, and for kEvidenceMs at most; then the peer is told. Whoever hears of it
// excludes us, and kills the application with all that there is to see. The survivor looks at its
// own application only when the takeover is done.
#include <fmt/format.h>
#include <poll.h>

#include "supervisor/link/peers.h"
#include "supervisor/output_difference.h"
#include "supervisor/replica.h"
#include "supervisor/reports.h"
#include "supervisor/tags.h"

namespace ftrun {

namespace {

constexpr int kEvidenceMs = 100;  // below every time-out, far below the shim's standing still
constexpr int kAbortStatus = 128 + 6;
constexpr std::string_view kDiverged = "diverged";  // how texts about divergence begin

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::string with_newline(std::string text) {
  if (!text.ends_with('\n')) {
    text += '\n';
  }
  return text;
}

}  // namespace

// The shim stands still once it has said what is wrong (preload/failure.h).
void Replica::check_shim_failure() {
  const Control* shared = port_->control();
  const ShimFailure failure = shared->failure.load(std::memory_order_acquire);
  if (failure == ShimFailure::kNone || app_gone_ || app_end_delivered_ ||
      evidence_.subject == Evidence::kOfStopped || evidence_.subject == Evidence::kOfFailed) {
    return;
  }
  const char* text = shared->failure_text;
  const std::string why(text, strnlen(text, kFailureTextBytes));
  if (failure == ShimFailure::kDiverged) {
    event(kDiverged, why);
  }
  begin_evidence(why, Evidence::kOfStopped);
}

void Replica::begin_evidence(const std::string& why, Evidence::Subject subject) {
  if (evidence_.subject != Evidence::kNone) {
    finish_evidence();
  }
  computing_.stop();  // a process has one tracer
  evidence_.subject = subject;
  evidence_.wanted = false;
  evidence_.why = why;
  evidence_.difference.clear();
  // The digests that differ are those of the last mark; the primary may have gone on meanwhile.
  if (subject == Evidence::kOfFailed && primary_rings_ != nullptr && why.starts_with(kDiverged)) {
    evidence_.difference = describe_output_difference(
        region_, primary_rings_->region(), port_->oldest_mark_end(), port_->last_mark_end());
  }
  evidence_.deadline_ns = link::monotonic_ns() + int64_t{kEvidenceMs} * 1'000'000;
  if (subject != Evidence::kOfSurvivor) {
    evidence_.epoch = core_->status().view.epoch;
  }
  const Result<void> started = evidence_.stacks.start(application_.application_pid);
  if (!started.ok()) {
    event("trouble", "no call stacks: " + started.error().message);
    return;
  }
  [[maybe_unused]] const bool watched = watch(evidence_.stacks.fd(), kTagEvidence, EPOLLIN).ok();
}

// A peer says that its application is lost. If it has diverged, ours is the other side of it.
void Replica::note_peer_failure(unit::ReplicaId replica, const unit::Frame& frame) {
  const std::string_view why(reinterpret_cast<const char*>(frame.bytes.data()), frame.bytes.size());
  if (frame.kind != unit::FrameKind::kAppFailed || !why.starts_with(kDiverged) ||
      evidence_.subject != Evidence::kNone) {
    return;
  }
  evidence_.wanted = true;
  evidence_.epoch = core_->status().view.epoch;
  evidence_.why = fmt::format("replica {}: {}", arbiter::replica_name(replica), why);
}

// The news of our application's end waits for its evidence.
void Replica::hold_failure(unit::ReplicaId to, const unit::Frame& frame) {
  evidence_.to.push_back(to);
  evidence_.frame = frame;
  evidence_.frame_bytes.assign(frame.bytes.begin(), frame.bytes.end());
}

void Replica::check_evidence() {
  check_shim_failure();
  if (evidence_.wanted && core_->state() == unit::State::kRunning && !app_gone_) {
    begin_evidence(evidence_.why, Evidence::kOfSurvivor);
  }
  if (evidence_.subject == Evidence::kNone) {
    return;
  }
  evidence_.stacks.read();
  if (!evidence_.stacks.running() || link::monotonic_ns() >= evidence_.deadline_ns) {
    finish_evidence();
  }
}

// As check_evidence(), when the loop runs no more.
void Replica::settle_evidence() {
  while (evidence_.subject != Evidence::kNone) {
    pollfd readable{evidence_.stacks.fd(), POLLIN, 0};
    poll(&readable, evidence_.stacks.running() ? 1 : 0, 1);
    check_evidence();
  }
}

// The first line of every report.
std::string Replica::report_head(uint64_t epoch) const {
  return fmt::format("unit {}, replica {}, epoch {}, program {}\n", options_.unit,
                     arbiter::replica_name(options_.replica), epoch, options_.program);
}

std::string Replica::evidence_text() const {
  const bool survivor = evidence_.subject == Evidence::kOfSurvivor;
  std::string text = report_head(evidence_.epoch) + with_newline(evidence_.why);
  if (!evidence_.difference.empty()) {
    text += with_newline(evidence_.difference);
  }
  text += fmt::format("\nCall stacks of this replica's application (pid {}), {}:\n",
                      application_.application_pid,
                      survivor ? "which was right to go on and has done so since"
                      : evidence_.subject == Evidence::kOfStopped
                          ? "as it stands at the call"
                          : "soon after the output in question; it may have moved on since");
  text += with_newline(evidence_.stacks.text());
  if (evidence_.stacks.running()) {
    text += fmt::format("(not complete within {} ms)\n", kEvidenceMs);
  }
  return text;
}

void Replica::finish_evidence() {
  const Result<std::string> written = reports::write(
      options_.run_dir, evidence_.epoch, arbiter::replica_name(options_.replica), evidence_text());
  event("report", written.ok() ? first_line(evidence_.why) + ": " + *written
                               : "cannot be kept: " + written.error().message);
  evidence_.stacks.stop();
  const Evidence::Subject subject = evidence_.subject;
  evidence_.subject = Evidence::kNone;
  if (subject == Evidence::kOfStopped) {
    application_lost(evidence_.why, kAbortStatus);
  } else if (subject == Evidence::kOfFailed) {
    process::end(&application_);
  }
  unit::Frame frame = evidence_.frame;
  frame.bytes = evidence_.frame_bytes;
  std::vector<unit::ReplicaId> to;
  to.swap(evidence_.to);
  for (const unit::ReplicaId replica : to) {
    send(replica, frame);
  }
}

}  // namespace ftrun
