// SPDX-License-Identifier: Apache-2.0
// Unit core: the end of the own application, and of the unit. Runs in the supervisor; pure.
#include <fmt/format.h>

#include "supervisor/unit/core_impl.h"

namespace ftrun::unit {

void UnitCore::Impl::fail_application(std::string_view kind, const std::string& why) {
  if (app_ended_) {
    return;
  }
  event(kind, why);
  const std::string text = fmt::format("{}: {}", kind, why);
  host_->stop_application(text);
  on_app_failed(text, 128 + 6, 0);
}

void UnitCore::Impl::on_app_failed(std::string_view why, int status, ConnectionId suspect) {
  app_ended_ = true;
  app_failed_ = true;
  stepping_down_ = false;
  app_status_ = status;
  event("app_failed", std::string(why));
  if (!working()) {
    return;
  }
  if (unit_exited_) {  // killed in its last moment: the sender has followed its exit already
    return finish(unit_status_);
  }
  if (alone()) {
    // In a change of view finish_change() ends the unit.
    return state_ == State::kRunning ? finish_change() : go_on();
  }
  state_ = State::kAppFailed;
  Frame frame;
  frame.kind = FrameKind::kAppFailed;
  frame.number = suspect;
  frame.bytes = {reinterpret_cast<const uint8_t*>(why.data()), why.size()};
  send_to_others(frame);
}

// Its last output may have to wait until enough members hold it.
void UnitCore::Impl::on_app_exited(int status) {
  if (exit_marked_ && !exit_released_ && outbox_.agreed() >= outbox_.marked()) {
    exit_waits_ = true;
    app_status_ = status;
    return;
  }
  exit_waits_ = false;
  if (!exit_issued_ || !exit_released_) {
    return on_app_failed("ended without an exit in its output", status, 0);
  }
  app_ended_ = true;
  stepping_down_ = false;
  app_status_ = status;
  if (state_ != State::kRunning) {
    return go_on();
  }
  event("exited", fmt::format("the application ended with status {}", status));
  if (streams_.has_edge()) {
    return begin_end();
  }
  finish_if_done();
}

// The edge writes what it has been given, then closes everything.
void UnitCore::Impl::begin_end() {
  ending_ = true;
  if (streams_.has_edge()) {
    streams_.close_all();
  }
  finish_if_done();
}

void UnitCore::Impl::finish_if_done() {
  if (state_ != State::kRunning || !app_ended_) {
    return;
  }
  if (streams_.has_edge() && ending_ && streams_.connections() == 0) {
    finish(app_status_);
  } else if (!streams_.has_edge() && unit_exited_) {
    finish(app_status_);
  }
}

// ORDER: whoever sees this member end must have been able to read why before.
void UnitCore::Impl::finish(int status) {
  if (unit_exited_ || (streams_.has_edge() && !app_failed_)) {
    Frame frame;
    frame.kind = FrameKind::kExited;
    frame.number = static_cast<uint64_t>(status & 255);
    send_to_others(frame);
  }
  state_ = State::kFinished;
  host_->finished(status);
}

}  // namespace ftrun::unit
