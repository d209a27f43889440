// SPDX-License-Identifier: Apache-2.0
// One replica of a test of the shim: region, process and port, without a supervisor. Trouble ends
// the test.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "supervisor/process/launch.h"
#include "supervisor/rings/app_port.h"
#include "supervisor/rings/region.h"
#include "tests/replay/memory_compare.h"

namespace ftrun::replay {

[[noreturn]] void die(const std::string& what);

// Of a command line "[--OPTION N]... -- program args...": the program and its arguments; numbers go
// where `known` says.
std::vector<std::string> parse_command(int argc, char** argv,
                                       const std::map<std::string, uint64_t*>& known,
                                       const std::string& usage);

// Output digests by log position: as many here as there, and none that differs. Says which does.
using Digests = std::map<uint64_t, uint64_t>;
bool same_digests(const Digests& here, const Digests& there);

enum class Logging : uint32_t { kLate = 0, kEarly = 1 };

struct Replica {
  Region region;
  process::Application application;
  std::unique_ptr<AppPort> port;
  int doorbell = -1;
  bool exited = false;
  int wait_status = 0;
  uint64_t loader_begin = 0, loader_end = 0;

  // Starts it and waits until its shim is there.
  Replica(Role role, const std::vector<std::string>& program, Logging logging = Logging::kLate,
          AppPort::Part part = AppPort::Part::kServes);

  // Looks how it is: `exited`; a failure of the shim ends the test.
  void check();
  MemoryImage memory() const;
  void drain(AppPort::Sink* sink);
  bool is_idle() const { return region.control()->app_asleep.load() != 0 && !port->staged(); }
  // Stops it where it waits for its supervisor, with everything published and drained.
  void freeze(AppPort::Sink* sink);
};

}  // namespace ftrun::replay
