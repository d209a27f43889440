// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/init_message.h"

#include <signal.h>

#include <cstring>

#include "fmt/format.h"

namespace ftrun::process {
namespace {

bool is_known(const InitMessage& message) {
  const bool about_signal =
      message.kind == InitMessageKind::kStopped || message.kind == InitMessageKind::kContinued;
  return message.version == kInitMessageVersion && message.kind >= InitMessageKind::kHello &&
         message.kind <= InitMessageKind::kHostProc && message.step <= InitStep::kWall &&
         (!about_signal || (message.value >= 1 && message.value < NSIG));
}

}  // namespace

Result<InitMessage> decode_init_message(std::span<const uint8_t> bytes) {
  InitMessage message;
  if (bytes.size() == sizeof message) {
    std::memcpy(&message, bytes.data(), sizeof message);
  }
  if (bytes.size() != sizeof message || !is_known(message)) {
    return Error{
        fmt::format("the application's init sent {} bytes that are no message", bytes.size())};
  }
  return message;
}

Result<StatusEvent> status_event(const InitMessage& message) {
  if (message.kind == InitMessageKind::kFailed && message.step == InitStep::kSecureExec) {
    return Error{
        "the application executed a program with raised privileges, whose loader ignores "
        "LD_PRELOAD"};
  }
  if (message.kind == InitMessageKind::kFailed && message.step == InitStep::kStaticExec) {
    return Error{"the application executed a program without a loader that could preload the shim"};
  }
  switch (message.kind) {
    case InitMessageKind::kStopped:
      return StatusEvent{StatusKind::kStopped, message.value};
    case InitMessageKind::kContinued:
      return StatusEvent{StatusKind::kContinued, message.value};
    case InitMessageKind::kExited:
      return StatusEvent{StatusKind::kExited, message.value};
    default:
      return Error{fmt::format("the application's init failed (step {}): {}",
                               static_cast<unsigned>(message.step), std::strerror(message.value))};
  }
}

}  // namespace ftrun::process
