// SPDX-License-Identifier: Apache-2.0
// Operator signals that no logged turn has yet. Every supervisor is told of each; the sender passes
// it on. Runs in the unit core; pure.
#pragma once

#include <signal.h>

#include <cstdint>
#include <vector>

#include "supervisor/unit/arrival_batch.h"
#include "supervisor/unit/signal_sequences.h"

namespace ftrun::unit {

class Signals {
 public:
  // `late`: a later one was heard of before.
  bool is_new(uint32_t sequence, bool* late) {
    *late = sequence < seen_.highest();
    return seen_.note(sequence);
  }
  size_t waiting() const { return pending_.size(); }
  void add(uint32_t sequence, int number, bool fed) { pending_.push_back({sequence, number, fed}); }

  // The primary was fed it: it need not be told again.
  void note_fed(uint32_t sequence, int number) {
    for (Signal& signal : pending_) {
      if (signal.sequence == sequence) {
        signal.fed = true;
        return;
      }
    }
    if (seen_.note(sequence)) {
      add(sequence, number, true);
    }
  }
  void note_logged(uint32_t sequence) {
    std::erase_if(pending_, [sequence](const Signal& each) { return each.sequence == sequence; });
    seen_.note(sequence);
  }
  // A primary that starts anew has been fed none.
  void restart() {
    for (Signal& signal : pending_) {
      signal.fed = false;
    }
  }
  void offer(ArrivalBatch* batch) {
    for (Signal& signal : pending_) {
      if (!signal.fed) {
        batch->put(ArrivalKind::kSignal, signal.sequence, static_cast<uint64_t>(signal.number));
      }
      signal.fed = true;
    }
  }
  // One that ends the program, and waits; 0: none does.
  int ending() const {
    for (const Signal& signal : pending_) {
      if (signal.number == SIGTERM || signal.number == SIGINT || signal.number == SIGQUIT) {
        return signal.number;
      }
    }
    return 0;
  }

 private:
  struct Signal {
    uint32_t sequence;
    int number;
    bool fed;  // passed on to the primary
  };
  std::vector<Signal> pending_;
  SignalSequences seen_;  // told, fed or logged
};

}  // namespace ftrun::unit
