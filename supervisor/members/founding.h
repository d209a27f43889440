// SPDX-License-Identifier: Apache-2.0
// What whoever starts a unit's supervisors (ftrun) makes for them and they inherit, each as an open
// descriptor whose number stands on its command line: a link to each other supervisor, the unit's
// memory, the console's, and the program with its arguments.
//
// Links are inherited, connected: no process that was not given an end can be a supervisor of this
// unit, nothing listens, and no secret has to travel. --transport=tcp has both ends of a TCP
// connection over loopback instead of a pair of Unix sockets; they were compared before anybody
// got one. The program's arguments travel so because a command line is everybody's to read (a
// server may wipe a password out of its own, nobody would wipe ours).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "supervisor/arbiter/unit_memory.h"
#include "supervisor/base/result.h"
#include "supervisor/operator/console_spool.h"
#include "supervisor/process/launch.h"
#include "supervisor/unit/core.h"

namespace ftrun {

// A file that holds these words, for --program.
Result<process::Descriptor> program_file(const std::vector<std::string>& program);

class Founding {
 public:
  // REQUIRES: 1 to kViewReplicasMax replicas; a program.
  static Result<Founding> create(unsigned replicas, bool tcp,
                                 const std::vector<std::string>& program);
  // What stands on the command line of this replica's supervisor for it.
  std::vector<std::string> options(unit::ReplicaId replica) const;
  // In the child that is to become it: lets those descriptors pass through execve. SIGNAL-SAFE.
  void pass_on(unit::ReplicaId replica) const;
  // Once all supervisors are started, only the memory is kept, and what they write to the consoles.
  UnitMemory take_memory() { return std::move(memory_); }
  std::vector<ConsoleSpool> take_consoles() { return std::move(consoles_); }

 private:
  struct LinkEnd {
    unit::ReplicaId of, to;
    process::Descriptor socket;
  };
  Result<void> connect(unit::ReplicaId one, unit::ReplicaId other, bool tcp);

  std::vector<LinkEnd> links_;
  UnitMemory memory_;
  std::vector<ConsoleSpool> consoles_;  // by replica
  process::Descriptor program_;
};

// The supervisor's side of it.
struct Inherited {
  struct Link {
    unit::ReplicaId to = unit::kNoReplica;
    process::Descriptor socket;
  };
  std::vector<Link> links;
  UnitMemory memory;
  ConsoleSpool console;
  std::vector<std::string> program;
};
// The options' values: "b=7" for each link, and descriptors.
struct InheritedNumbers {
  std::vector<std::string> links;
  int memory = -1;
  int console = -1;
  int program = -1;
};
// Checks what they are, and that there is a link to each other of `replicas`; none passes on to the
// application.
Result<Inherited> take_inherited(unit::ReplicaId self, unsigned replicas,
                                 const InheritedNumbers& numbers);

// Wipes what a process was started with out of what others may read of it: `words` (of argv), and
// the environment, of which the process keeps a copy. REQUIRES: one thread; no pointer into either
// is used afterwards.
void hide_words(char** words, int count);
void hide_environment();

}  // namespace ftrun
