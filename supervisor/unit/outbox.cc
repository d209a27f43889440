// SPDX-License-Identifier: Apache-2.0
// The output rule: see outbox.h. Pure.
#include "supervisor/unit/outbox.h"

#include <fmt/format.h>

namespace ftrun::unit {

std::string Outbox::mark(uint64_t position, uint64_t lsn, uint64_t digest, bool replays,
                         bool ignores_digests) {
  marked_ = position;
  marked_lsn_ = lsn;
  pending_.push_mark(position);
  if (position > expected_end_) {
    return replays ? fmt::format(
                         "the replay ended a turn at log position {}, but the log goes to "
                         "{} only",
                         position, expected_end_)
                   : "";
  }
  const BatchEnd& expected = expected_.front();
  if (position < expected.position) {
    return "";  // inside a batch: only the digest of its end is known
  }
  if (position > expected.position) {
    return fmt::format(
        "the replay ended no turn at log position {} (record {}), the next one at "
        "{}",
        expected.position, expected.lsn, position);
  }
  if (digest != expected.digest && !ignores_digests) {
    return fmt::format(
        "output differs in the turns before log position {} (record {}): digest "
        "{:016x} here, {:016x} there",
        position, expected.lsn, digest, expected.digest);
  }
  expected_.pop();
  agreed_ = std::max(agreed_, position);
  return "";
}

}  // namespace ftrun::unit
