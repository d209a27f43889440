// SPDX-License-Identifier: Apache-2.0
// What is collected of an application that has diverged, before anybody else hears of it: its call
// stacks, and how its output differs. Also of the application that goes on, once a takeover is
// done. Held here meanwhile: the news of the failure. Runs in the supervisor's event loop; another
// process reads the stacks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "supervisor/base/result.h"
#include "supervisor/process/call_stacks.h"
#include "supervisor/unit/frames.h"
#include "supervisor/unit/view.h"

namespace ftrun {

class Evidence {
 public:
  enum class Subject : uint8_t {
    kNone,
    kOfStopped,   // the shim has stopped our application
    kOfFailed,    // the core has found that it must not go on
    kOfSurvivor,  // a peer's application has diverged from ours, which goes on
  };
  struct Case {
    Subject subject = Subject::kNone;
    uint64_t epoch = 0;  // in which it happened
    std::string why;
    std::string difference;  // of the output, where both replicas' rings are at hand
  };
  // News that were held back until the evidence was there.
  struct News {
    std::vector<unit::ReplicaId> to;
    unit::Frame frame;
    std::vector<uint8_t> bytes;
  };

  const Case& now() const { return case_; }
  bool begun() const { return case_.subject != Subject::kNone; }
  // Of our own application's failure.
  bool collects() const { return begun() && case_.subject != Subject::kOfSurvivor; }
  // A peer has diverged: the evidence of the survivor can be begun when the takeover is done.
  void want(Case what) { wanted_ = std::move(what); }
  const std::optional<Case>& wanted() const { return wanted_; }
  // REQUIRES: !begun(). On an error there will be no stacks, and it is complete at once.
  Result<void> begin(Case what, pid_t application, int64_t now_ns);
  // Readable when there is more.
  int fd() const { return stacks_.fd(); }
  // Takes what there is. All of it has come, or nobody waits any longer. REQUIRES: begun().
  bool complete(int64_t now_ns);
  bool reading() const { return stacks_.running(); }
  // The report but for its first line.
  std::string text(pid_t application) const;
  void hold(unit::ReplicaId to, const unit::Frame& frame);
  // The end: what was held is to be sent now.
  News finish();

 private:
  Case case_;
  std::optional<Case> wanted_;
  int64_t deadline_ns_ = 0;
  process::StackReader stacks_;
  News news_;
};

}  // namespace ftrun
