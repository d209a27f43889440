// SPDX-License-Identifier: Apache-2.0
// Looking around for a moment before sleeping, and when not to: the one policy of both ends of the
// rings. Pure: the caller looks, yields its core, and says what time it is.
//
// Waking a sleeper costs more than all else that a small turn needs, above all in a virtual
// machine, where an idle core must first be started by the host (measured: 25 to 60 us, most of the
// time in which cores were idle under load). So whoever runs out of work goes on looking for a
// moment, and yields its core at every look: others go first. But where others always want the
// core, a yield costs one of their time slices, milliseconds, and a sleeper would have been woken
// sooner: then there is no spinning for a while. Nor is there where work is rare, or takes long.
#pragma once

#include <stdint.h>

namespace ftrun {

class Spinner {
 public:
  // `spin_ns`: how long to look around at most, not counting the time in which others had the core.
  explicit constexpr Spinner(int64_t spin_ns) : spin_ns_(spin_ns) {}

  // Before the first look. Returns false where there is to be no spinning.
  bool start(int64_t now_ns) {
    const bool rare = now_ns - start_ns_ > kRareNs;
    start_ns_ = last_ns_ = now_ns;
    looked_ns_ = 0;
    return !rare && !core_is_wanted(now_ns);
  }

  // After each look that found nothing, and a yield. Returns whether to look again.
  bool go_on(int64_t now_ns) {
    const int64_t round_ns = now_ns - last_ns_;
    last_ns_ = now_ns;
    if (round_ns < kOthersRanNs) {
      looked_ns_ += round_ns;
    } else if (round_ns >= kSliceNs) {
      note_slice(now_ns);
    }
    return looked_ns_ < spin_ns_ && !core_is_wanted(now_ns);
  }

  // Others have wanted this core all the time lately.
  bool core_is_wanted(int64_t now_ns) const { return now_ns < no_spin_until_ns_; }

 private:
  // Who had nothing to do that long ago the last time will hardly have something in a moment.
  static constexpr int64_t kRareNs = 800'000;
  // A round alone takes one or two microseconds.
  static constexpr int64_t kOthersRanNs = 10'000;
  // Who runs this long is computing; who only serves a batch of requests is done sooner.
  static constexpr int64_t kSliceNs = 1'500'000;
  // So many slices in such a time are no accident. (A virtual machine's core is taken away by its
  // host for as long about once a second.)
  static constexpr unsigned kSlicesMax = 4;
  static constexpr int64_t kSlicesWithinNs = 100'000'000;
  // Doubled each time that it is so again soon afterwards.
  static constexpr int64_t kNoSpinMinNs = 2'000'000'000;
  static constexpr int64_t kNoSpinMaxNs = 32'000'000'000;

  void note_slice(int64_t now_ns) {
    if (now_ns - first_slice_ns_ > kSlicesWithinNs) {
      first_slice_ns_ = now_ns;
      slices_ = 0;
    }
    if (++slices_ >= kSlicesMax) {
      slices_ = 0;
      const bool again = now_ns - no_spin_until_ns_ < kNoSpinMinNs;
      if (!again) {
        no_spin_ns_ = kNoSpinMinNs;
      } else if (no_spin_ns_ < kNoSpinMaxNs) {
        no_spin_ns_ *= 2;
      }
      no_spin_until_ns_ = now_ns + no_spin_ns_;
    }
  }

  int64_t spin_ns_;
  int64_t start_ns_ = 0;
  int64_t last_ns_ = 0;
  int64_t looked_ns_ = 0;
  int64_t first_slice_ns_ = 0;
  int64_t no_spin_until_ns_ = 0;
  int64_t no_spin_ns_ = kNoSpinMinNs;
  unsigned slices_ = 0;
};

}  // namespace ftrun
