// SPDX-License-Identifier: Apache-2.0
// The toy server's listeners, and its lock on a file that strangers lock too. Test program only.
#include <algorithm>

#include "eventlog/locks.h"
#include "supervisor/base/result.h"
#include "tests/simulation/toy_app.h"

namespace ftrun::sim {

void ToyApp::bind(uint32_t socket, uint16_t port) {
  Output bind;
  bind.kind = OutputKind::kBind;
  bind.id = socket;
  bind.address.length = 16;
  bind.address.bytes[0] = 2;
  bind.address.bytes[2] = static_cast<uint8_t>(port >> 8);
  bind.address.bytes[3] = static_cast<uint8_t>(port);
  emit(bind);
}

void ToyApp::answer_bound(const Arrival& item) {
  int& stage = item.id == kToySocket ? state_.bind_stage : state_.extra_stage;
  FTRUN_ASSERT(stage == 1 || stage == 2);  // an answer is told once
  if (stage == 1) {
    Output listen;
    listen.kind = OutputKind::kListen;
    listen.id = item.id;
    listen.value = static_cast<uint64_t>(backlog_);
    emit(listen);
  }
  ++stage;
}

// One in a turn: others wait meanwhile.
void ToyApp::accept_one() {
  const auto next = std::find_if(state_.conns.begin(), state_.conns.end(),
                                 [](const ToyState::Conn& conn) { return !conn.accepted; });
  if (next == state_.conns.end()) {
    return;
  }
  next->accepted = true;
  Output accepted;
  accepted.kind = OutputKind::kAccepted;
  accepted.id = next->id;
  emit(accepted);
  Output option;  // TCP_NODELAY
  option.kind = OutputKind::kOption;
  option.id = next->id;
  option.value = 6;
  option.value2 = 1;
  const uint8_t on = 1;
  emit(option, &on, 1);
}

void ToyApp::configure() {
  if (state_.extra_stage == 0) {
    bind(++state_.extra_socket, kToyExtraPort);
    state_.extra_stage = 1;
  } else if (state_.extra_stage == 3) {
    Output unlisten;
    unlisten.kind = OutputKind::kUnlisten;
    unlisten.id = state_.extra_socket;
    emit(unlisten);
    state_.extra_stage = 0;
  }
}

// Takes the lock, waiting or not; gives it back, or closes it as a descriptor is closed: what is
// locked next is another lock of the same file then.
void ToyApp::lock() {
  if (state_.lock == ToyLock::kAsked || state_.lock == ToyLock::kAskedBack) {
    return;
  }
  Output ask;
  ask.id = state_.lock_socket;
  if (state_.lock == ToyLock::kHeld && state_.counter % 2 == 0) {
    ask.kind = OutputKind::kUnlisten;
    state_.lock = ToyLock::kClosed;
    ++state_.lock_socket;
    return emit(ask);
  }
  const bool back = state_.lock == ToyLock::kHeld;
  const auto operation = back ? LockOperation::kUnlock : LockOperation::kExclusive;
  ask.kind = OutputKind::kBind;
  ask.value = kBindLock | static_cast<uint32_t>(operation) << kLockOperationShift;
  ask.value |= !back && state_.counter % 3 == 0 ? kBindLockWait : 0;
  ask.address = put_lock_target({});
  emit(ask);
  state_.lock = back ? ToyLock::kAskedBack : ToyLock::kAsked;
}

void ToyApp::answer_lock(const Arrival& item) {
  if (item.id != state_.lock_socket) {
    return;
  }
  if (state_.lock == ToyLock::kAskedBack) {
    state_.lock = ToyLock::kFree;
  } else if (state_.lock == ToyLock::kAsked) {
    state_.lock = item.value == 0 ? ToyLock::kHeld : ToyLock::kFree;
  }
}

void ToyApp::exit_all() {
  for (const ToyState::Conn& conn : state_.conns) {
    emit_close(conn);
  }
  state_.conns.clear();
  state_.lock = ToyLock::kClosed;
  Output exit;
  exit.kind = OutputKind::kExit;
  emit(exit);
}

}  // namespace ftrun::sim
