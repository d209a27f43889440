// SPDX-License-Identifier: Apache-2.0
// A replica whose application has diverged (or broken another rule of the log): call stacks are
// collected before it ends, and a report is kept. Also the report of the replica that goes on. See
// replica.h, evidence.h and reports.h. Runs in the supervisor's event loop, which goes on
// meanwhile.
//
// ORDER: stacks first, for a bounded time; then the peer is told. Whoever hears of it excludes us,
// and kills the application with all that there is to see. The survivor looks at its own
// application only when the takeover is done.
#include <fmt/format.h>
#include <poll.h>

#include "supervisor/base/tags.h"
#include "supervisor/members/peers.h"
#include "supervisor/operator/reports.h"
#include "supervisor/replica/replica.h"
#include "supervisor/rings/output_difference.h"

namespace ftrun {

namespace {

constexpr int kAbortStatus = 128 + 6;
constexpr std::string_view kDiverged = "diverged";  // how texts about divergence begin

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

// The shim stands still once it has said what is wrong (preload/failure.h).
void Replica::check_shim_failure() {
  const Control* shared = port_->control();
  const ShimFailure failure = shared->failure.load(std::memory_order_acquire);
  if (failure == ShimFailure::kNone || app_gone_ || app_end_delivered_ || evidence_.collects()) {
    return;
  }
  const char* text = shared->failure_text;
  const std::string why(text, strnlen(text, kFailureTextBytes));
  if (failure == ShimFailure::kDiverged) {
    event(kDiverged, why);
  }
  begin_evidence(
      {Evidence::Subject::kOfStopped, core_->status().view.epoch, why, /*difference=*/""});
}

// The core has found that our application must not go on.
void Replica::collect_failed(const std::string& why) {
  std::string difference;
  // The digests that differ are those of the last mark; the primary may have gone on meanwhile.
  if (primary_rings_ != nullptr && why.starts_with(kDiverged)) {
    difference = describe_output_difference(region_, primary_rings_->region(),
                                            port_->oldest_mark_end(), port_->last_mark_end());
  }
  begin_evidence(
      {Evidence::Subject::kOfFailed, core_->status().view.epoch, why, std::move(difference)});
}

void Replica::begin_evidence(Evidence::Case what) {
  if (evidence_.begun()) {
    finish_evidence();
  }
  computation_.stop_reading();
  const Result<void> begun =
      evidence_.begin(std::move(what), application_.application_pid, link::monotonic_ns());
  if (!begun.ok()) {
    event("trouble", "no call stacks: " + begun.error().message);
    return;
  }
  [[maybe_unused]] const bool watched = watch(evidence_.fd(), kTagEvidence, EPOLLIN).ok();
}

// A peer says that its application is lost. If it has diverged, ours is the other side of it.
void Replica::note_peer_failure(unit::ReplicaId replica, const unit::Frame& frame) {
  const std::string_view why(reinterpret_cast<const char*>(frame.bytes.data()), frame.bytes.size());
  if (frame.kind == unit::FrameKind::kAppFailed && why.starts_with(kDiverged) &&
      !evidence_.begun()) {
    evidence_.want({Evidence::Subject::kOfSurvivor, core_->status().view.epoch,
                    fmt::format("replica {}: {}", arbiter::replica_name(replica), why),
                    /*difference=*/""});
  }
}

void Replica::check_evidence() {
  check_shim_failure();
  if (evidence_.wanted().has_value() && core_->state() == unit::State::kRunning && !app_gone_) {
    begin_evidence(*evidence_.wanted());
  }
  if (evidence_.begun() && evidence_.complete(link::monotonic_ns())) {
    finish_evidence();
  }
}

// As check_evidence(), when the loop runs no more.
void Replica::settle_evidence() {
  while (evidence_.begun()) {
    pollfd readable{evidence_.fd(), POLLIN, 0};
    poll(&readable, evidence_.reading() ? 1 : 0, 1);
    check_evidence();
  }
}

// `what` comes before its file's name in the event.
void Replica::keep_report(uint64_t epoch, const std::string& text, const std::string& what) {
  const std::string replica = arbiter::replica_name(options_.replica);
  const Result<std::string> written =
      reports::write(options_.run_dir, epoch, replica,
                     fmt::format("unit {}, replica {}, epoch {}, program {}\n{}", options_.unit,
                                 replica, epoch, options_.program, text));
  event("report", written.ok() ? what + *written : "cannot be kept: " + written.error().message);
}

void Replica::finish_evidence() {
  const Evidence::Case found = evidence_.now();
  keep_report(found.epoch, evidence_.text(application_.application_pid),
              first_line(found.why) + ": ");
  Evidence::News news = evidence_.finish();
  if (found.subject == Evidence::Subject::kOfStopped) {
    application_lost(found.why, kAbortStatus);
  } else if (found.subject == Evidence::Subject::kOfFailed) {
    process::end(&application_);
  }
  news.frame.bytes = news.bytes;
  for (const unit::ReplicaId replica : news.to) {
    send(replica, news.frame);
  }
}

}  // namespace ftrun
