// SPDX-License-Identifier: Apache-2.0
// A unit's run directory: the files by which supervisors, ftrun and ftctl find each other.
//
//   view.<epoch>     who is in the unit, for the tools (arbiter/views.h)
//   sup.<id>.json    {"supervisor","keeper","init","application"}: process ids
//   sup.<id>.sock    control socket, JSON lines (control.h)
//   console.<id>     at the end: what the application wrote to stdout and stderr (console_spool.h)
//   last_words.<id>  what an application that has crashed wrote in the turn that it died in
//   report.<epoch>.<id>  why an application was given up, with call stacks (reports.h)
//   events.jsonl     one JSON object per line, appended by everybody
//   exit_status      decimal exit status of the application, once it has ended
//
// Runs in the supervisor. The directory is 0700 and made by ftrun.
#pragma once

#include <string>
#include <string_view>

#include "supervisor/base/result.h"
#include "supervisor/operator/event_log.h"

namespace ftrun {

class RunDir {
 public:
  RunDir(std::string path, std::string replica)
      : path_(std::move(path)),
        replica_(std::move(replica)),
        events_(file("events.jsonl"), replica_) {}

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  // "sup" -> <dir>/sup.<id>.json and the like.
  std::string own(std::string_view prefix, std::string_view suffix = "") const;

  // Replaces a file in one step (rename), so that a reader sees old or new.
  Result<void> write(const std::string& path, std::string_view text) const;
  Result<std::string> read(const std::string& path) const;
  EventLog& events() { return events_; }

 private:
  std::string path_;
  std::string replica_;
  EventLog events_;
};

}  // namespace ftrun
