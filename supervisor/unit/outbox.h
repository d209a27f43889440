// SPDX-License-Identifier: Apache-2.0
// What the own application has put out and the world has not had yet, and the one rule for when it
// may: the digest at the end of its turns agrees with the primary's, and f + 1 members hold them
// (claims 1, 14). Runs in the unit core; pure. Bounded by its owner, which reads no more of the
// application's output while waits_for_holders(); and by kPendingOutputBytesMax in any case.
#pragma once

#include <cstdint>
#include <string>

#include "supervisor/unit/fifo.h"
#include "supervisor/unit/pending_output.h"

namespace ftrun::unit {

class Outbox {
 public:
  void push(const Output& entry) { pending_.push(entry); }
  size_t bytes() const { return pending_.bytes(); }

  // The log has turns up to `position`, and their primary's digest.
  void expect(uint64_t position, uint64_t lsn, uint64_t digest) {
    expected_.push({position, digest, lsn});
    expected_end_ = position;
  }
  // A mark of the own application: the end of a turn. Why it cannot be, or an empty text.
  // `replays`: the application only follows the log; else it adds to it.
  std::string mark(uint64_t position, uint64_t lsn, uint64_t digest, bool replays,
                   bool ignores_digests);
  // The own application is the primary, and these turns of it are in the log.
  void agree(uint64_t position) { agreed_ = std::max(agreed_, position); }

  // The first turn that has not left agrees, and fewer members hold it than must: other members
  // alone can let it go. Everything else that output waits for is found by reading on: the end of
  // its turn, and the digest at the end of a batch.
  bool waits_for_holders(uint64_t held) const {
    return pending_.has_turn(agreed_) && !pending_.has_turn(held);
  }

  uint64_t marked() const { return marked_; }  // the application is at this position of the log
  uint64_t marked_lsn() const { return marked_lsn_; }
  uint64_t agreed() const { return agreed_; }

  // Calls apply(entry) for the output of whole turns that agree and end at or before `held`.
  // Stops early when apply() returns false.
  template <typename Apply>
  void release(uint64_t held, Apply&& apply) {
    const uint64_t limit = std::min(held, agreed_);
    bool goes_on = true;
    while (goes_on && pending_.has_turn(limit)) {
      pending_.take_turn([&](const Output& entry) { goes_on = goes_on && apply(entry); });
    }
  }

 private:
  struct BatchEnd {
    uint64_t position;
    uint64_t digest;
    uint64_t lsn;
  };
  PendingOutput pending_;
  Fifo<BatchEnd> expected_;
  uint64_t expected_end_ = 0;  // of the last one ever expected
  uint64_t marked_ = 0;
  uint64_t marked_lsn_ = 0;
  uint64_t agreed_ = 0;
};

}  // namespace ftrun::unit
